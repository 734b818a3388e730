#include "functions/hint.h"

/* "0", "1", "0.25", "1.000": nothing else of what strtod() knows, and no locale. */
static bool
read_unit(struct slice text, double *out)
{
    struct slice fraction, whole = slice_cut(slice_trim(text), '.', &fraction);
    bool pointed = slice_trim(text).n > whole.n;
    if (whole.n != 1 || (whole.p[0] != '0' && whole.p[0] != '1') || (pointed && fraction.n == 0))
        return false;
    double v = whole.p[0] - '0', place = 1;
    for (size_t i = 0; i < fraction.n; i++) {
        char c = fraction.p[i];
        if (c < '0' || c > '9')
            return false;
        place /= 10;
        v += (c - '0') * place;
    }
    *out = v;
    return v <= 1;
}

bool
hint_focal(struct slice hints, double *x, double *y)
{
    while (hints.n > 0) {
        struct slice name = slice_cut(hints, '\0', &hints);
        struct slice value = slice_cut(hints, '\0', &hints);
        if (!slice_eqs(name, "x-amz-meta-focal"))
            continue;
        struct slice down, across = slice_cut(value, ',', &down);
        return read_unit(across, x) && read_unit(down, y);
    }
    return false;
}
