/*
 * What a bucket is told to do by itself. The first byte says what the rest is: 'r' lifecycle rules,
 * 'l' an object lock configuration. What was understood and written again is the same once more,
 * and judges the same.
 */
#include "objectstore/lifecycle.h"
#include "objectstore/lock_config.h"
#include "tests/fuzz/fuzz.h"

#define OUT_MAX (8u << 20)

static struct lifecycle *
rules_of(struct slice xml)
{
    struct lifecycle *l = NULL;
    struct buf why;
    buf_init(&why, 1024);
    int err = lifecycle_parse(xml, &l, &why);
    CHK((err == ERR_NONE) == (l != NULL));
    CHK(err != ERR_INVALID || why.n == 0);
    buf_fini(&why);
    return l;
}

static void
check_due(const struct lifecycle *a, const struct lifecycle *b)
{
    const struct lifecycle_scope scope = lifecycle_scope(a);
    for (int kind = LIFECYCLE_CURRENT; kind <= LIFECYCLE_UPLOAD; kind++) {
        const struct lifecycle_subject s = {.kind = (enum lifecycle_kind)kind,
                                            .is_marker = kind == LIFECYCLE_LONE_MARKER,
                                            .key = SLICE_LIT("logs/a"),
                                            .size = 10,
                                            .tags = SLICE_LIT("k\tv\n"),
                                            .since_ms = 1700000000000,
                                            .newer = 3};
        struct slice id, again;
        int64_t due = lifecycle_due(a, &s, LIFECYCLE_DAY_MS, &id);
        CHK(lifecycle_due(b, &s, LIFECYCLE_DAY_MS, &again) == due && slice_eq(id, again));
        if (due == LIFECYCLE_NEVER)
            continue;
        CHK(id.n > 0 && slice_starts(s.key, scope.prefix));
        CHK(kind == LIFECYCLE_UPLOAD ? scope.uploads : scope.versions);
    }
}

static void
check_rules(struct slice in)
{
    struct lifecycle *l = rules_of(in), *again = NULL;
    struct buf first, second;
    if (l == NULL)
        return;
    buf_init(&first, OUT_MAX);
    buf_init(&second, OUT_MAX);
    lifecycle_write(l, &first);
    CHK(first.err == ERR_NONE);
    again = rules_of(buf_slice(&first));
    CHK(again != NULL);
    lifecycle_write(again, &second);
    CHK(slice_eq(buf_slice(&first), buf_slice(&second)));
    check_due(l, again);
    lifecycle_free(&l);
    lifecycle_free(&again);
    buf_fini(&first);
    buf_fini(&second);
}

static void
check_lock(struct slice in)
{
    struct store_lock_default d, again;
    struct store_lock lock = {.retention = STORE_RETENTION_NONE};
    struct buf text;
    if (lock_config_parse(in, &d) != ERR_NONE) {
        CHK(d.retention == STORE_RETENTION_NONE);
        return;
    }
    buf_init(&text, OUT_MAX);
    lock_config_write(&d, &text);
    CHK(lock_config_parse(buf_slice(&text), &again) == ERR_NONE);
    CHK(d.retention == again.retention && d.days == again.days && d.years == again.years);
    lock_config_apply(&d, 0, &lock);
    CHK(lock.retention == d.retention);
    CHK((lock.retain_until_ms > 0) == (d.retention != STORE_RETENTION_NONE));
    buf_fini(&text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = slice_of(data, size);
    unsigned what = fuzz_byte(&rest);
    struct slice in = fuzz_exact(rest);
    if (what == 'r')
        check_rules(in);
    else if (what == 'l')
        check_lock(in);
    free((void *)(uintptr_t)in.p);
    return 0;
}
