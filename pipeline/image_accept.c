/*
 * An Accept field is a list of media ranges, each with a weight. For a type the most specific range
 * that matches it decides, wherever it stands: "image/webp" before "image/" "*" before "*" "/" "*".
 * A range with parameters of its own ("image/webp;level=1") matches none of ours, which have none.
 */
#include "pipeline/image_accept.h"
#include "base/chk.h"

#define WEIGHT_MAX 1000

enum specificity { MATCH_NONE, MATCH_ANY, MATCH_ANY_IMAGE, MATCH_NAMED };

/* What the request says of one type so far. */
struct opinion {
    enum specificity match;
    int weight; /* thousandths */
};

/* The part before the first `separator` outside quotes; `*rest` as slice_cut() has it. */
static struct slice
cut_unquoted(struct slice s, char separator, struct slice *rest)
{
    bool quoted = false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"')
            quoted = !quoted;
        else if (quoted && s.p[i] == '\\')
            i++;
        else if (!quoted && s.p[i] == separator) {
            *rest = slice_skip(s, i + 1);
            return slice_of(s.p, i);
        }
    }
    *rest = SLICE_NONE;
    return s;
}

/* qvalue = "0" [ "." 0*3DIGIT ] / "1" [ "." 0*3("0") ]. -1: none. */
static int
weight_read(struct slice s)
{
    int value = 0, unit = WEIGHT_MAX;
    if (s.n == 0 || s.n > 5 || (s.n > 1 && s.p[1] != '.'))
        return -1;
    for (size_t i = 0; i < s.n; i++) {
        if (i == 1)
            continue;
        if (s.p[i] < '0' || s.p[i] > '9')
            return -1;
        value += (s.p[i] - '0') * unit;
        unit /= 10;
    }
    return value <= WEIGHT_MAX ? value : -1;
}

/* The weight among a range's parameters; -1: others come before it, or it is none. */
static int
weight_of(struct slice params)
{
    while (params.p != NULL) {
        struct slice value, param = slice_trim(cut_unquoted(params, ';', &params));
        struct slice name = slice_trim(slice_cut(param, '=', &value));
        if (param.n == 0)
            continue;
        return slice_ieqs(name, "q") ? weight_read(slice_trim(value)) : -1;
    }
    return WEIGHT_MAX;
}

static enum specificity
match_of(struct slice range, const char *type)
{
    if (slice_ieqs(range, type))
        return MATCH_NAMED;
    if (slice_ieqs(range, "image/*"))
        return MATCH_ANY_IMAGE;
    return slice_eqs(range, "*/*") ? MATCH_ANY : MATCH_NONE;
}

static struct opinion
opinion_of(const struct http_request *r, const char *type)
{
    struct opinion o = {MATCH_NONE, 0};
    bool said = false;
    for (size_t i = 0; i < r->field_count; i++) {
        struct slice rest = r->fields[i].value;
        if (!slice_ieqs(r->fields[i].name, "accept"))
            continue;
        said = said || slice_trim(rest).n > 0;
        while (rest.p != NULL) {
            struct slice params, range = cut_unquoted(rest, ',', &rest);
            enum specificity match = match_of(slice_trim(cut_unquoted(range, ';', &params)), type);
            int weight = weight_of(params);
            if (match > o.match && weight >= 0)
                o = (struct opinion){match, weight};
        }
    }
    return said ? o : (struct opinion){MATCH_ANY, WEIGHT_MAX};
}

/* Newer than many that say they take any image. */
static bool
is_guess(enum preset_format f, const struct opinion *o)
{
    return (f == PRESET_WEBP || f == PRESET_AVIF) && o->match != MATCH_NAMED;
}

/* Of two that are equally welcome. */
static int
rank(enum preset_format f)
{
    static const int ranks[] = {
        [PRESET_AVIF] = 3, [PRESET_WEBP] = 2, [PRESET_JPEG] = 1, [PRESET_PNG] = 0};
    return ranks[f];
}

static bool
is_better(enum preset_format a, const struct opinion *of_a, enum preset_format b,
          const struct opinion *of_b)
{
    if (of_a->weight != of_b->weight)
        return of_a->weight > of_b->weight;
    return rank(a) > rank(b);
}

int
image_accept_choose(const struct http_request *r, const enum preset_format *formats, size_t count)
{
    struct opinion of[PRESETS_MAX];
    bool sure = false; /* there is one that can be shown for sure */
    int best = -1;
    CHK(count <= ARRAY_LEN(of));
    for (size_t i = 0; i < count; i++) {
        of[i] = opinion_of(r, preset_content_type(formats[i]));
        sure = sure || (of[i].weight > 0 && !is_guess(formats[i], &of[i]));
    }
    for (size_t i = 0; i < count; i++) {
        if (of[i].weight > 0 && !(sure && is_guess(formats[i], &of[i])) &&
            (best < 0 || is_better(formats[i], &of[i], formats[best], &of[best])))
            best = (int)i;
    }
    return best;
}
