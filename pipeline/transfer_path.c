#include "pipeline/transfer_path.h"
#include "pipeline/transfer_join.h"

const char *
transfer_path_refusal(struct slice key)
{
    struct slice rest = key;
    if (key.n == 0)
        return "an empty name";
    if (memchr(key.p, '\0', key.n) != NULL)
        return "a NUL in the name";
    if (key.p[0] == '/')
        return "an absolute path";
    if (key.p[key.n - 1] == '/')
        return "a '/' at its end: a folder's name";
    while (rest.p != NULL) {
        struct slice part = slice_cut(rest, '/', &rest);
        if (part.n == 0)
            return "nothing between two '/'";
        if (slice_eqs(part, ".") || slice_eqs(part, ".."))
            return "\".\" or \"..\" as a part of the path";
        if (part.n > TRANSFER_COMPONENT_MAX)
            return "a part of the path is over 255 bytes";
        if (slice_starts(part, SLICE_LIT(TRANSFER_PART_PREFIX)))
            return "the name of a file that is being written";
    }
    return NULL;
}

void
transfer_above_init(struct transfer_above *a)
{
    buf_init(&a->text, TRANSFER_NAME_MAX);
    buf_init(&a->ends, TRANSFER_NAME_MAX * sizeof(size_t));
}

void
transfer_above_fini(struct transfer_above *a)
{
    buf_fini(&a->text);
    buf_fini(&a->ends);
}

bool
transfer_above_conflict(struct transfer_above *a, struct slice key, struct slice *file)
{
    size_t count = a->ends.n / sizeof(size_t);
    const size_t *ends = (const size_t *)(const void *)a->ends.p;
    while (count > 0 && !slice_starts(key, slice_of(a->text.p, ends[count - 1])))
        count--;
    a->ends.n = count * sizeof(size_t);
    for (size_t i = 0; i < count; i++) {
        if (key.n > ends[i] && key.p[ends[i]] == '/') {
            *file = slice_of(a->text.p, ends[i]);
            return true;
        }
    }
    buf_reset(&a->text);
    buf_put_slice(&a->text, key);
    buf_put(&a->ends, &key.n, sizeof key.n);
    return false;
}
