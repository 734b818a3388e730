/*
 * Text -> digits and exponent -> text. Zeros at both ends are dropped while reading, so two equal
 * numbers have equal structs, equal texts and equal key bytes.
 */
#include "metadata/number.h"
#include "base/err.h"

#define EXP_CLAMP 100000 /* far outside the valid range, far inside an int */

/* Reads an exponent with sign; false when there is no digit. Saturates. */
static bool
read_exponent(struct slice s, int *out)
{
    bool negative = s.n > 0 && s.p[0] == '-';
    if (s.n > 0 && (s.p[0] == '-' || s.p[0] == '+'))
        s = slice_skip(s, 1);
    if (s.n == 0)
        return false;
    int v = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        v = v >= EXP_CLAMP ? EXP_CLAMP : v * 10 + (s.p[i] - '0');
    }
    *out = negative ? -v : v;
    return true;
}

/* What is known while the digits go by. */
struct reading {
    struct number *out;
    bool seen_digit;
    bool seen_point;
    int point;         /* digits since the first non-zero one that stand before the point */
    int leading_zeros; /* zeros between the point and the first non-zero digit */
    int zeros;         /* zeros not yet known to be inside the number */
};

/* Takes one digit; ERR_TOOBIG when it does not fit any more. */
static int
take_digit(struct reading *r, uint8_t digit)
{
    struct number *v = r->out;
    r->seen_digit = true;
    if (v->n == 0 && digit == 0) {
        r->leading_zeros += r->seen_point;
        return ERR_NONE;
    }
    r->point += !r->seen_point;
    if (digit == 0) {
        r->zeros++;
        return ERR_NONE;
    }
    if (v->n + r->zeros + 1 > ITEM_NUMBER_DIGITS_MAX)
        return ERR_TOOBIG;
    for (; r->zeros > 0; r->zeros--)
        v->digits[v->n++] = 0;
    v->digits[v->n++] = digit;
    return ERR_NONE;
}

static int
check_range(struct number *v)
{
    return v->n > 0 && (v->exp < NUMBER_EXP_MIN || v->exp > NUMBER_EXP_MAX) ? ERR_RANGE : ERR_NONE;
}

int
number_parse(struct slice s, struct number *out)
{
    *out = (struct number){0};
    if (s.n == 0 || s.n > NUMBER_INPUT_MAX)
        return ERR_INVALID;
    bool negative = s.p[0] == '-';
    if (s.p[0] == '-' || s.p[0] == '+')
        s = slice_skip(s, 1);
    struct reading r = {.out = out};
    int exponent = 0, err = ERR_NONE;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c >= '0' && c <= '9') {
            int e = take_digit(&r, (uint8_t)(c - '0'));
            err = err == ERR_NONE ? e : err;
        } else if (c == '.' && !r.seen_point) {
            r.seen_point = true;
        } else if (c == 'e' || c == 'E') {
            if (!read_exponent(slice_skip(s, i + 1), &exponent))
                return ERR_INVALID;
            break;
        } else {
            return ERR_INVALID;
        }
    }
    if (!r.seen_digit)
        return ERR_INVALID;
    if (out->n == 0)
        return ERR_NONE;
    out->negative = negative;
    out->exp = (r.point > 0 ? r.point - 1 : -1 - r.leading_zeros) + exponent;
    return err != ERR_NONE ? err : check_range(out);
}

size_t
number_text(const struct number *v, char out[NUMBER_TEXT_MAX])
{
    char *p = out;
    if (v->n == 0)
        *p++ = '0';
    else if (v->negative)
        *p++ = '-';
    if (v->n > 0 && v->exp < 0) {
        *p++ = '0';
        *p++ = '.';
        for (int i = -1; i > v->exp; i--)
            *p++ = '0';
        for (int i = 0; i < v->n; i++)
            *p++ = (char)('0' + v->digits[i]);
    } else if (v->n > 0) {
        int places = v->n > v->exp + 1 ? v->n : v->exp + 1;
        for (int i = 0; i < places; i++) {
            if (i == v->exp + 1)
                *p++ = '.';
            *p++ = (char)('0' + (i < v->n ? v->digits[i] : 0));
        }
    }
    *p = '\0';
    return (size_t)(p - out);
}

static int
order_magnitude(const struct number *a, const struct number *b)
{
    if (a->exp != b->exp)
        return a->exp < b->exp ? -1 : 1;
    int n = a->n < b->n ? a->n : b->n;
    int c = memcmp(a->digits, b->digits, (size_t)n);
    return c != 0 ? c : (a->n > b->n) - (a->n < b->n);
}

int
number_order(const struct number *a, const struct number *b)
{
    int sign_a = a->n == 0 ? 0 : a->negative ? -1 : 1;
    int sign_b = b->n == 0 ? 0 : b->negative ? -1 : 1;
    if (sign_a != sign_b)
        return sign_a < sign_b ? -1 : 1;
    int c = sign_a == 0 ? 0 : order_magnitude(a, b);
    return sign_a < 0 ? -c : c;
}

/* Place i of the sum counts 10^(NUMBER_EXP_MIN - 38 + i); room for a carry at the top. */
#define SUM_LOW (NUMBER_EXP_MIN - ITEM_NUMBER_DIGITS_MAX)
#define SUM_PLACES (NUMBER_EXP_MAX - SUM_LOW + 2)

static void
accumulate(int places[SUM_PLACES], const struct number *v, int sign)
{
    for (int i = 0; i < v->n; i++)
        places[v->exp - i - SUM_LOW] += sign * v->digits[i];
}

int
number_add(const struct number *a, const struct number *b, struct number *out)
{
    /* The larger magnitude decides the sign, so the difference of the places never is negative. */
    const struct number *big = a->n > 0 && (b->n == 0 || order_magnitude(a, b) >= 0) ? a : b;
    const struct number *small = big == a ? b : a;
    int places[SUM_PLACES] = {0};
    accumulate(places, big, 1);
    accumulate(places, small, small->negative == big->negative ? 1 : -1);
    int first = -1, last = -1;
    for (int i = 0, carry = 0; i < SUM_PLACES; i++) {
        int v = places[i] + carry;
        carry = v < 0 ? -1 : v / 10;
        places[i] = v < 0 ? v + 10 : v % 10;
        if (places[i] != 0) {
            first = i;
            last = last < 0 ? i : last;
        }
    }
    *out = (struct number){0};
    if (first < 0)
        return ERR_NONE;
    if (first - last + 1 > ITEM_NUMBER_DIGITS_MAX)
        return ERR_TOOBIG;
    out->negative = big->negative;
    out->exp = first + SUM_LOW;
    for (int i = first; i >= last; i--)
        out->digits[out->n++] = (uint8_t)places[i];
    return check_range(out);
}

int
number_canonical(struct arena *a, struct slice text, struct slice *out)
{
    struct number v;
    char canonical[NUMBER_TEXT_MAX];
    if (number_parse(text, &v) != ERR_NONE)
        return ERR_INVALID;
    *out = arena_dup(a, slice_of(canonical, number_text(&v, canonical)));
    return out->p == NULL ? ERR_NOMEM : ERR_NONE;
}

int
number_compare(struct slice a, struct slice b)
{
    struct number x, y;
    /* Stored text may be damaged: order it somehow, never crash. */
    if (number_parse(a, &x) != ERR_NONE || number_parse(b, &y) != ERR_NONE)
        return slice_cmp(a, b);
    return number_order(&x, &y);
}
