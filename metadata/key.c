/*
 * Numbers as key bytes: class (1 negative, 2 zero, 3 positive), exponent + 130, then two digits a
 * byte as 1..100. A longer run of digits with the same beginning is the larger number, which is
 * what comparing bytes says too. Negatives complement exponent and digits and end in 0xff, above
 * every complemented digit, so that the longer run comes first.
 */
#include "metadata/key.h"
#include "base/err.h"
#include "metadata/number.h"

enum { CLASS_NEGATIVE = 1, CLASS_ZERO, CLASS_POSITIVE };

static int
encode_number(struct buf *out, struct slice text)
{
    struct number v;
    if (number_parse(text, &v) != ERR_NONE)
        return ERR_INVALID;
    if (v.n == 0) {
        buf_putc(out, CLASS_ZERO);
        return out->err;
    }
    uint8_t flip = v.negative ? 0xff : 0;
    buf_putc(out, v.negative ? CLASS_NEGATIVE : CLASS_POSITIVE);
    buf_putc(out, (char)((uint8_t)(v.exp - NUMBER_EXP_MIN) ^ flip));
    for (int i = 0; i < v.n; i += 2) {
        int pair = v.digits[i] * 10 + (i + 1 < v.n ? v.digits[i + 1] : 0) + 1;
        buf_putc(out, (char)((uint8_t)pair ^ flip));
    }
    if (v.negative)
        buf_putc(out, (char)0xff);
    return out->err;
}

int
key_encode(struct buf *out, const struct attr_value *v)
{
    if (v->type == ATTR_N)
        return encode_number(out, v->bytes);
    if ((v->type != ATTR_S && v->type != ATTR_B) || v->bytes.n == 0)
        return ERR_INVALID;
    buf_put_slice(out, v->bytes);
    return out->err;
}
