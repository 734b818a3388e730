/*
 * Lifecycle rules: the document and its judgement by themselves, passes over a store whose clock
 * the test moves, then the S3 face. Times and refusals are those of S3's documentation.
 */
#include "objectstore/lifecycle.h"
#include "base/clock.h"
#include "base/err.h"
#include "objectstore/lifecycle_run.h"
#include "tests/objectstore/s3_fixture.h"

#define DOCUMENT(rules) "<LifecycleConfiguration>" rules "</LifecycleConfiguration>"
#define RULE(inner) "<Rule><Status>Enabled</Status>" inner "</Rule>"
#define ID(text) "<ID>" text "</ID>"
#define FILTER(inner) "<Filter>" inner "</Filter>"
#define PREFIX(text) "<Prefix>" text "</Prefix>"
#define TAG(key, value) "<Tag><Key>" key "</Key><Value>" value "</Value></Tag>"
#define ABOVE(n) "<ObjectSizeGreaterThan>" n "</ObjectSizeGreaterThan>"
#define BELOW(n) "<ObjectSizeLessThan>" n "</ObjectSizeLessThan>"
#define EXPIRE(inner) "<Expiration>" inner "</Expiration>"
#define DAYS(n) EXPIRE("<Days>" n "</Days>")
#define DATE(text) EXPIRE("<Date>" text "</Date>")
#define MARKERS EXPIRE("<ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker>")
#define NONCURRENT(inner) "<NoncurrentVersionExpiration>" inner "</NoncurrentVersionExpiration>"
#define NONCURRENT_DAYS(n) "<NoncurrentDays>" n "</NoncurrentDays>"
#define KEEP(n) "<NewerNoncurrentVersions>" n "</NewerNoncurrentVersions>"
#define ABORT(n)                                              \
    "<AbortIncompleteMultipartUpload><DaysAfterInitiation>" n \
    "</DaysAfterInitiation></AbortIncompleteMultipartUpload>"
#define ALL FILTER("")
#define DAY LIFECYCLE_DAY_MS
#define KEPT(key, value) key "\t" value "\n" /* a tag as objects have it */

static struct lifecycle *
rules(const char *xml)
{
    struct lifecycle *l = NULL;
    struct buf why;
    buf_init(&why, 1024);
    int err = lifecycle_parse(slice_str(xml), &l, &why);
    if (err != ERR_NONE)
        fail_msg("%s: %s %s", xml, err_name(err), why.n > 0 ? why.p : "");
    buf_fini(&why);
    return l;
}

static int64_t
at(const char *iso)
{
    int64_t ms = 0;
    assert_int_equal(clock_parse(iso, &ms), ERR_NONE);
    return ms;
}

/* ---- the document ---- */

static void
documents_refused(void **state)
{
    static const struct {
        const char *xml;
        int err;
        const char *why; /* part of it; NULL: there is none */
    } cases[] = {
        {"", ERR_INVALID, NULL},
        {"<LifecycleConfiguration/>", ERR_INVALID, NULL},
        {"<Other>" RULE(ALL DAYS("1")) "</Other>", ERR_INVALID, NULL},
        {DOCUMENT("<Role>" ALL DAYS("1") "</Role>"), ERR_INVALID, NULL},
        {DOCUMENT("<Rule>" ALL DAYS("1") "</Rule>"), ERR_INVALID, NULL},
        {DOCUMENT("<Rule><Status>enabled</Status>" ALL DAYS("1") "</Rule>"), ERR_INVALID, NULL},
        {DOCUMENT(RULE(DAYS("1"))), ERR_INVALID, NULL},
        {DOCUMENT(RULE(ALL PREFIX("a") DAYS("1"))), ERR_INVALID, NULL},
        {DOCUMENT(RULE(ALL ALL DAYS("1"))), ERR_INVALID, NULL},
        {DOCUMENT(RULE(ALL DAYS("1") DAYS("1"))), ERR_INVALID, NULL},
        {DOCUMENT(RULE(ALL DAYS("1") "<Colour>red</Colour>")), ERR_INVALID, NULL},
        {DOCUMENT(RULE(ALL DAYS("soon"))), ERR_INVALID, NULL},
        {DOCUMENT(RULE(ALL EXPIRE(""))), ERR_INVALID, NULL},
        {DOCUMENT(RULE(ALL EXPIRE("<Days>1</Days><Date>2030-01-01</Date>"))), ERR_INVALID, NULL},
        {DOCUMENT(RULE(ALL DATE("20300101"))), ERR_INVALID, NULL},
        {DOCUMENT(RULE(ALL EXPIRE("<ExpiredObjectDeleteMarker>x</ExpiredObjectDeleteMarker>"))),
         ERR_INVALID, NULL},
        {DOCUMENT(RULE(ALL NONCURRENT(KEEP("3")))), ERR_INVALID, NULL},
        {DOCUMENT(RULE(ALL "<AbortIncompleteMultipartUpload/>")), ERR_INVALID, NULL},
        {DOCUMENT(RULE(FILTER("<And></And>") DAYS("1"))), ERR_INVALID, NULL},
        {DOCUMENT(RULE(FILTER(PREFIX("a") TAG("k", "v")) DAYS("1"))), ERR_INVALID, NULL},
        {DOCUMENT(RULE(FILTER("<And>" PREFIX("a") PREFIX("b") "</And>") DAYS("1"))), ERR_INVALID,
         NULL},
        {DOCUMENT(RULE(FILTER("<Tag><Key>k</Key></Tag>") DAYS("1"))), ERR_INVALID, NULL},
        {DOCUMENT(RULE(FILTER(TAG("", "v")) DAYS("1"))), ERR_INVALID, NULL},
        {DOCUMENT(RULE(FILTER(TAG("<b>k</b>", "v")) DAYS("1"))), ERR_INVALID, NULL},
        {DOCUMENT(RULE(FILTER(TAG("k", "v</Value><Value>w")) DAYS("1"))), ERR_INVALID, NULL},
        {DOCUMENT("<Rule><Status>Enabled<b/></Status>" ALL DAYS("1") "</Rule>"), ERR_INVALID, NULL},
        {DOCUMENT(RULE(ALL DAYS("1<b/>"))), ERR_INVALID, NULL},
        {DOCUMENT(RULE(ALL)), ERR_CONFLICT, "At least one action"},
        {DOCUMENT(RULE(ALL DAYS("0"))), ERR_RANGE,
         "'Days' for Expiration action must be a positive integer"},
        {DOCUMENT(RULE(ALL DAYS("-1"))), ERR_RANGE, "positive integer"},
        {DOCUMENT(RULE(ALL DAYS("2147483648"))), ERR_RANGE, "positive integer"},
        {DOCUMENT(RULE(ALL NONCURRENT(NONCURRENT_DAYS("0")))), ERR_RANGE, "'NoncurrentDays'"},
        {DOCUMENT(RULE(ALL NONCURRENT(NONCURRENT_DAYS("1") KEEP("101")))), ERR_RANGE,
         "'NewerNoncurrentVersions'"},
        {DOCUMENT(RULE(ALL ABORT("0"))), ERR_RANGE, "'DaysAfterInitiation'"},
        {DOCUMENT(RULE(ALL DATE("2030-01-01T12:00:00Z"))), ERR_RANGE,
         "'Date' must be at midnight GMT"},
        {DOCUMENT(RULE(ID("a") ALL DAYS("1")) RULE(ID("a") ALL DAYS("2"))), ERR_RANGE,
         "Rule ID must be unique"},
        {DOCUMENT(RULE(FILTER(ABOVE("-1")) DAYS("1"))), ERR_RANGE, "'ObjectSizeGreaterThan'"},
        {DOCUMENT(RULE(FILTER("<And>" ABOVE("5") BELOW("5") "</And>") DAYS("1"))), ERR_CONFLICT,
         "greater than"},
        {DOCUMENT(RULE(FILTER("<And>" TAG("k", "1") TAG("k", "2") "</And>") DAYS("1"))),
         ERR_CONFLICT, "Duplicate Tag Keys"},
        {DOCUMENT(RULE(FILTER(TAG("k", "v")) ABORT("1"))), ERR_CONFLICT, "with Tags"},
        {DOCUMENT(RULE(FILTER(ABOVE("1")) ABORT("1"))), ERR_CONFLICT, "Object Size"},
        {DOCUMENT(RULE(FILTER(TAG("k", "v")) MARKERS)), ERR_CONFLICT, "with Tags"},
        {DOCUMENT(RULE(ALL "<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass>"
                           "</Transition>")),
         ERR_UNSUPPORTED, "Transitions are not implemented"},
        {DOCUMENT(RULE(ALL "<Transition><Date>2030-01-01T01:00:00Z</Date>"
                           "<StorageClass>GLACIER</StorageClass></Transition>")),
         ERR_RANGE, "midnight"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct lifecycle *l = NULL;
        struct buf why;
        buf_init(&why, 1024);
        int err = lifecycle_parse(slice_str(cases[i].xml), &l, &why);
        bool told = cases[i].why == NULL
                        ? why.n == 0
                        : slice_find(buf_slice(&why), slice_str(cases[i].why)) >= 0;
        if (err != cases[i].err || l != NULL || !told)
            fail_msg("%s: %s \"%s\"", cases[i].xml, err_name(err), why.n > 0 ? why.p : "");
        buf_fini(&why);
    }
}

static void
documents_kept(void **state)
{
    static const char *const kept[] = {
        RULE(ID("a") PREFIX("x&amp;y") DAYS("3")),
        RULE(ID("a") PREFIX("") DATE("2030-01-01T00:00:00.000Z")),
        RULE(ID("a") ALL MARKERS NONCURRENT(NONCURRENT_DAYS("3") KEEP("100")) ABORT("1")),
        RULE(ID("a") FILTER(TAG("k", "")) DAYS("1")),
        RULE(ID("a") FILTER(PREFIX("") ABOVE("0")) DAYS("1")),
        RULE(ID("a") FILTER("<And>" PREFIX("p") TAG("k", "v") TAG("l", "v") ABOVE("1")
                                BELOW("9") "</And>") DAYS("1")),
        "<Rule>" ID("a") "<Status>Disabled</Status>" ALL DAYS("1") "</Rule>",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        struct buf in, out;
        buf_init(&in, 4096);
        buf_init(&out, 4096);
        buf_printf(&in, "%s%s%s", "<LifecycleConfiguration>", kept[i], "</LifecycleConfiguration>");
        struct lifecycle *l = rules(in.p);
        lifecycle_write(l, &out);
        lifecycle_free(&l);
        for (const char *p = kept[i], *end; *p != '\0'; p = end) { /* the ID comes first there */
            end = strchr(p + 1, '<');
            end = end == NULL ? p + strlen(p) : end;
            if (slice_find(buf_slice(&out), slice_of(p, (size_t)(end - p))) < 0)
                fail_msg("%s lacks %.*s", out.p, (int)(end - p), p);
        }
        l = rules(out.p);
        buf_reset(&in);
        lifecycle_write(l, &in);
        assert_string_equal(in.p, out.p);
        lifecycle_free(&l);
        buf_fini(&in);
        buf_fini(&out);
    }
}

static void
ids_made(void **state)
{
    char long_id[LIFECYCLE_ID_MAX + 2];
    struct buf text, why;
    struct slice id, again;
    struct lifecycle_subject s = {.kind = LIFECYCLE_CURRENT, .key = SLICE_LIT("k")};
    (void)state;
    struct lifecycle *l = rules(DOCUMENT(RULE(ALL DAYS("1")) RULE(ALL DAYS("1"))));
    assert_true(lifecycle_due(l, &s, DAY, &id) != LIFECYCLE_NEVER && id.n == 32);
    buf_init(&text, 4096);
    lifecycle_write(l, &text);
    struct lifecycle *kept = rules(text.p);
    lifecycle_due(kept, &s, DAY, &again);
    assert_true(slice_eq(id, again));
    lifecycle_free(&l);
    lifecycle_free(&kept);
    buf_init(&why, 1024);
    memset(long_id, 'a', sizeof long_id - 1);
    long_id[LIFECYCLE_ID_MAX + 1] = '\0';
    for (int over = 1; over >= 0; over--) {
        buf_reset(&text);
        buf_printf(&text,
                   "<LifecycleConfiguration><Rule><ID>%s</ID><Status>Enabled</Status>" ALL DAYS(
                       "1") "</Rule></LifecycleConfiguration>",
                   long_id + 1 - over);
        assert_int_equal(lifecycle_parse(buf_slice(&text), &l, &why), over ? ERR_RANGE : ERR_NONE);
        lifecycle_free(&l);
    }
    buf_fini(&why);
    buf_fini(&text);
}

static void
rule_count(void **state)
{
    struct buf text, why;
    struct lifecycle *l = NULL;
    (void)state;
    buf_init(&text, LIFECYCLE_BYTES_MAX);
    buf_init(&why, 1024);
    for (int count = LIFECYCLE_RULES_MAX; count <= LIFECYCLE_RULES_MAX + 1; count++) {
        buf_reset(&text);
        buf_puts(&text, "<LifecycleConfiguration>");
        for (int i = 0; i < count; i++)
            buf_printf(&text, RULE(ID("rule-%d") FILTER(PREFIX("logs/%d/")) DAYS("1")), i, i);
        buf_puts(&text, "</LifecycleConfiguration>");
        int err = lifecycle_parse(buf_slice(&text), &l, &why);
        assert_int_equal(err, count > LIFECYCLE_RULES_MAX ? ERR_CONFLICT : ERR_NONE);
        lifecycle_free(&l);
    }
    buf_fini(&why);
    buf_fini(&text);
}

/* ---- judging ---- */

static void
due_times(void **state)
{
    static const char created[] = "2014-01-15T10:30:00Z";
    static const struct {
        const char *xml;
        enum lifecycle_kind kind;
        int newer;
        const char *due; /* NULL: never */
    } cases[] = {
        {RULE(ALL DAYS("3")), LIFECYCLE_CURRENT, 0, "2014-01-19T00:00:00Z"},
        {RULE(ALL DAYS("1")), LIFECYCLE_CURRENT, 0, "2014-01-17T00:00:00Z"},
        {RULE(ALL DATE("2014-01-01T00:00:00Z")), LIFECYCLE_CURRENT, 0, "2014-01-01T00:00:00Z"},
        {RULE(ALL DATE("2014-03-01")), LIFECYCLE_CURRENT, 0, "2014-03-01T00:00:00Z"},
        {RULE(ALL DAYS("9")) RULE(ALL DAYS("2")), LIFECYCLE_CURRENT, 0, "2014-01-18T00:00:00Z"},
        {"<Rule><Status>Disabled</Status>" ALL DAYS("1") "</Rule>", LIFECYCLE_CURRENT, 0, NULL},
        {RULE(ALL MARKERS NONCURRENT(NONCURRENT_DAYS("1")) ABORT("1")), LIFECYCLE_CURRENT, 0, NULL},
        {RULE(ALL NONCURRENT(NONCURRENT_DAYS("1"))), LIFECYCLE_NONCURRENT, 0,
         "2014-01-17T00:00:00Z"},
        {RULE(ALL NONCURRENT(NONCURRENT_DAYS("1") KEEP("2"))), LIFECYCLE_NONCURRENT, 1, NULL},
        {RULE(ALL NONCURRENT(NONCURRENT_DAYS("1") KEEP("2"))), LIFECYCLE_NONCURRENT, 2,
         "2014-01-17T00:00:00Z"},
        {RULE(ALL DAYS("1") ABORT("1")), LIFECYCLE_NONCURRENT, 0, NULL},
        {RULE(ALL MARKERS), LIFECYCLE_LONE_MARKER, 0, created},
        {RULE(ALL DAYS("1")), LIFECYCLE_LONE_MARKER, 0, "2014-01-17T00:00:00Z"},
        {RULE(FILTER(ABOVE("0")) DAYS("1")), LIFECYCLE_LONE_MARKER, 0, NULL},
        {RULE(ALL NONCURRENT(NONCURRENT_DAYS("1"))), LIFECYCLE_LONE_MARKER, 0, NULL},
        {RULE(ALL ABORT("7")), LIFECYCLE_UPLOAD, 0, "2014-01-23T00:00:00Z"},
        {RULE(ALL DAYS("1")), LIFECYCLE_UPLOAD, 0, NULL},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice id;
        struct buf text;
        buf_init(&text, 4096);
        buf_printf(&text, "<LifecycleConfiguration>%s</LifecycleConfiguration>", cases[i].xml);
        struct lifecycle *l = rules(text.p);
        const struct lifecycle_subject s = {.kind = cases[i].kind,
                                            .is_marker = cases[i].kind == LIFECYCLE_LONE_MARKER,
                                            .key = SLICE_LIT("key"),
                                            .size = 10,
                                            .since_ms = at(created),
                                            .newer = cases[i].newer};
        int64_t want = cases[i].due == NULL ? LIFECYCLE_NEVER : at(cases[i].due);
        int64_t got = lifecycle_due(l, &s, DAY, &id);
        if (got != want || (id.n > 0) != (cases[i].due != NULL))
            fail_msg("%s: %lld", cases[i].xml, (long long)got);
        lifecycle_free(&l);
        buf_fini(&text);
    }
}

static void
filters(void **state)
{
    static const struct {
        const char *filter;
        const char *key, *tags;
        int64_t size;
        bool applies;
    } cases[] = {
        {FILTER(""), "any", "", 0, true},
        {PREFIX("logs/"), "logs/1", "", 0, true},
        {PREFIX("logs/"), "log", "", 0, false},
        {FILTER(PREFIX("logs/")), "other/logs/1", "", 0, false},
        {FILTER(TAG("k", "v")), "a", KEPT("k", "v"), 0, true},
        {FILTER(TAG("k", "v")), "a", KEPT("a", "b") KEPT("k", "v") KEPT("z", ""), 0, true},
        {FILTER(TAG("k", "v")), "a", KEPT("k", "v2"), 0, false},
        {FILTER(TAG("k", "v")), "a", KEPT("kk", "v"), 0, false},
        {FILTER(TAG("k", "v")), "a", "", 0, false},
        {FILTER(TAG("k &amp; l", "=")), "a", KEPT("k & l", "="), 0, true},
        {FILTER(ABOVE("10")), "a", "", 10, false},
        {FILTER(ABOVE("10")), "a", "", 11, true},
        {FILTER(BELOW("10")), "a", "", 10, false},
        {FILTER(BELOW("10")), "a", "", 9, true},
        {FILTER("<And>" PREFIX("p") TAG("k", "v") TAG("l", "w") BELOW("5") "</And>"), "pq",
         KEPT("k", "v") KEPT("l", "w"), 4, true},
        {FILTER("<And>" PREFIX("p") TAG("k", "v") TAG("l", "w") BELOW("5") "</And>"), "pq",
         KEPT("k", "v"), 4, false},
        {FILTER("<And>" PREFIX("p") TAG("k", "v") BELOW("5") "</And>"), "pq", KEPT("k", "v"), 5,
         false},
        {FILTER("<And>" PREFIX("p") TAG("k", "v") BELOW("5") "</And>"), "q", KEPT("k", "v"), 4,
         false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice id;
        struct buf text;
        buf_init(&text, 4096);
        buf_printf(&text,
                   "<LifecycleConfiguration><Rule><Status>Enabled</Status>%s" DAYS(
                       "1") "</Rule></LifecycleConfiguration>",
                   cases[i].filter);
        struct lifecycle *l = rules(text.p);
        const struct lifecycle_subject s = {.kind = LIFECYCLE_CURRENT,
                                            .key = slice_str(cases[i].key),
                                            .tags = slice_str(cases[i].tags),
                                            .size = cases[i].size};
        if ((lifecycle_due(l, &s, DAY, &id) != LIFECYCLE_NEVER) != cases[i].applies)
            fail_msg("%s %s %s", cases[i].filter, cases[i].key, cases[i].tags);
        lifecycle_free(&l);
        buf_fini(&text);
    }
}

static void
scopes(void **state)
{
    (void)state;
    struct lifecycle *l = rules(
        DOCUMENT(RULE(PREFIX("logs/a/") DAYS("1")) RULE(FILTER(PREFIX("logs/b")) ABORT("1"))));
    struct lifecycle_scope s = lifecycle_scope(l);
    assert_true(slice_eqs(s.prefix, "logs/") && s.versions && s.uploads);
    lifecycle_free(&l);
    l = rules(DOCUMENT("<Rule><Status>Disabled</Status>" PREFIX("x")
                           DAYS("1") "</Rule>" RULE(PREFIX("logs/") ABORT("1"))));
    s = lifecycle_scope(l);
    assert_true(slice_eqs(s.prefix, "logs/") && !s.versions && s.uploads);
    lifecycle_free(&l);
}

/* ---- passes over a store ---- */

#define MANY 250 /* more than two batches */

static struct {
    int count;
    int by_rule;
    int removed, markers;
    void (*first)(struct fix *f, struct db_conn *conn); /* at the first change made by a rule */
} told;

static int
hear(void *arg, struct db_conn *conn, const struct store_change *change)
{
    struct fix *f = arg;
    told.count++;
    told.by_rule += change->by_lifecycle;
    told.removed += change->kind == STORE_REMOVED || change->kind == STORE_REMOVED_VERSION;
    told.markers += change->kind == STORE_REMOVED_MARKER;
    void (*first)(struct fix *, struct db_conn *) = told.first;
    if (change->by_lifecycle && first != NULL) {
        told.first = NULL;
        first(f, conn);
    }
    return ERR_NONE;
}

static int64_t shifted_ms;

static int
setup(void **state)
{
    int err = fix_setup(state);
    struct fix *f = *state;
    f->hooks = (struct store_hooks){.arg = f, .changed = hear};
    fix_reopen(f);
    memset(&told, 0, sizeof told);
    return err;
}

static void
days_pass(int days)
{
    clock_shift_wall(days * DAY);
    shifted_ms += days * DAY;
}

static int
teardown(void **state)
{
    clock_shift_wall(-shifted_ms);
    shifted_ms = 0;
    return fix_teardown(state);
}

static int
config_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    return store_apply_bucket_config_set(f->store, conn, SLICE_LIT("photos"), "lifecycle",
                                         slice_str(arg));
}

static void
configure(struct fix *f, const char *xml)
{
    assert_int_equal(fix_run(f, config_apply, (void *)(uintptr_t)xml), ERR_NONE);
}

static int
versioning_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    return store_apply_bucket_versioning(f->store, conn, SLICE_LIT("photos"),
                                         *(const enum store_versioning *)arg);
}

static void
versioning(struct fix *f, enum store_versioning v)
{
    assert_int_equal(fix_run(f, versioning_apply, &v), ERR_NONE);
}

static void
put_tagged(struct fix *f, const char *key, const char *tags, size_t bytes)
{
    struct fix_put p;
    struct slice text = fix_bytes(1, bytes);
    fix_put_spec(&p, "photos", slice_str(key), text);
    p.spec.tags = slice_str(tags);
    assert_int_equal(fix_put_run(f, &p, text), ERR_NONE);
    fix_free(&text);
}

static void
put(struct fix *f, const char *key)
{
    put_tagged(f, key, "", 1);
}

static void
pass(struct fix *f, int64_t removed, int64_t markers, int64_t aborted)
{
    struct lifecycle_tally t;
    assert_int_equal(lifecycle_run_pass(f->store, DAY, NULL, NULL, &t), ERR_NONE);
    assert_int_equal(t.removed, removed);
    assert_int_equal(t.markers, markers);
    assert_int_equal(t.aborted, aborted);
}

static bool
exists(struct fix *f, const char *key)
{
    const struct store_object *o = NULL;
    int err = store_get(f->store, SLICE_LIT("photos"), slice_str(key), &o);
    store_object_unref(&o);
    return err == ERR_NONE;
}

#define VERSIONS "SELECT (SELECT count(*) FROM object) + (SELECT count(*) FROM object_version)"

static void
objects_expire(void **state)
{
    struct fix *f = *state;
    configure(f, DOCUMENT(RULE(PREFIX("logs/") DAYS("2")) RULE(FILTER(TAG("keep", "no")) DAYS("5"))
                              RULE(FILTER(ABOVE("100")) DAYS("7"))));
    put(f, "logs/1");
    put_tagged(f, "tagged", KEPT("keep", "no"), 1);
    put_tagged(f, "not", KEPT("keep", "yes"), 1);
    put_tagged(f, "big", "", 101);
    put_tagged(f, "large", "", 70000); /* a file */
    pass(f, 0, 0, 0);
    days_pass(2);
    pass(f, 0, 0, 0); /* two days, but no midnight behind them */
    days_pass(1);
    put(f, "logs/2");
    pass(f, 1, 0, 0);
    assert_true(!exists(f, "logs/1") && exists(f, "logs/2") && exists(f, "tagged"));
    days_pass(5);
    pass(f, 4, 0, 0);
    assert_true(exists(f, "not"));
    assert_int_equal(fix_count(f, VERSIONS), 1);
    assert_int_equal(told.by_rule, 5);
    assert_int_equal(told.removed, 5);
    fix_settle(f);
    assert_int_equal(fix_files(f), 0);
}

static void
many_objects(void **state)
{
    struct fix *f = *state;
    char key[32];
    for (int i = 0; i < MANY; i++) {
        snprintf(key, sizeof key, "%s/%04d", i % 5 == 0 ? "keep" : "logs", i);
        put(f, key);
    }
    configure(f, DOCUMENT(RULE(PREFIX("logs/") DAYS("1")) RULE(PREFIX("none/") DAYS("1"))));
    days_pass(2);
    pass(f, MANY - MANY / 5, 0, 0);
    assert_int_equal(fix_count(f, VERSIONS), MANY / 5);
    pass(f, 0, 0, 0);
}

static void
versions_expire(void **state)
{
    struct fix *f = *state;
    versioning(f, STORE_VERSIONING_ENABLED);
    for (int i = 0; i < 5; i++)
        put(f, "a");
    put(f, "b");
    configure(f, DOCUMENT(RULE(ALL DAYS("3") NONCURRENT(NONCURRENT_DAYS("1") KEEP("2")))));
    days_pass(2);
    pass(f, 2, 0, 0); /* four noncurrent, two kept */
    assert_true(exists(f, "a"));
    days_pass(2);
    pass(f, 0, 2, 0);
    assert_true(!exists(f, "a") && !exists(f, "b"));
    assert_int_equal(told.markers, 2);
    pass(f, 1, 0, 0); /* a has three noncurrent ones now; markers have versions below them */
    assert_int_equal(fix_count(f, VERSIONS), 5);
    days_pass(2);
    pass(f, 0, 0, 0);
}

static void
markers_expire(void **state)
{
    struct fix *f = *state;
    versioning(f, STORE_VERSIONING_ENABLED);
    put(f, "a");
    put(f, "b");
    assert_int_equal(fix_delete(f, "photos", "a"), ERR_NONE);
    assert_int_equal(fix_delete(f, "photos", "lone"), ERR_NONE);
    assert_int_equal(fix_delete(f, "photos", "z"), ERR_NONE);
    configure(f, DOCUMENT(RULE(FILTER("") MARKERS NONCURRENT(NONCURRENT_DAYS("1")))));
    pass(f, 2, 0, 0);
    assert_int_equal(fix_count(f, VERSIONS), 3);
    days_pass(2);
    pass(f, 1, 0, 0); /* a's version; its marker was not alone then */
    pass(f, 1, 0, 0);
    assert_true(exists(f, "b"));
    assert_int_equal(fix_count(f, VERSIONS), 1);
}

/* A page ends where a batch is full: at the 101st key's marker here, which has a version below. */
static void
marker_at_the_end_of_a_page(void **state)
{
    struct fix *f = *state;
    char key[32];
    versioning(f, STORE_VERSIONING_ENABLED);
    put(f, "0100");
    for (int i = 0; i <= 100; i++) {
        snprintf(key, sizeof key, "%04d", i);
        assert_int_equal(fix_delete(f, "photos", key), ERR_NONE);
    }
    configure(f, DOCUMENT(RULE(ALL MARKERS)));
    pass(f, 100, 0, 0);
    assert_false(exists(f, "0100"));
    assert_int_equal(fix_count(f, VERSIONS), 2);
}

static void
suspended_and_null(void **state)
{
    struct fix *f = *state;
    put(f, "a"); /* a null version */
    versioning(f, STORE_VERSIONING_SUSPENDED);
    configure(f, DOCUMENT(RULE(ALL DAYS("1"))));
    days_pass(2);
    pass(f, 0, 1, 0); /* a null marker in its place */
    assert_int_equal(fix_count(f, VERSIONS), 1);
    assert_false(exists(f, "a"));
    days_pass(2);
    pass(f, 1, 0, 0); /* Days are about lone markers, too */
    assert_int_equal(fix_count(f, VERSIONS), 0);
}

static int
lock_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    (void)arg;
    return store_apply_bucket_object_lock(f->store, conn, SLICE_LIT("photos"));
}

static void
locks_hold(void **state)
{
    struct fix *f = *state;
    struct fix_put p;
    assert_int_equal(fix_run(f, lock_apply, NULL), ERR_NONE);
    fix_put_spec(&p, "photos", SLICE_LIT("a"), SLICE_LIT("x"));
    p.spec.lock = (struct store_lock){.retention = STORE_RETENTION_GOVERNANCE,
                                      .retain_until_ms = clock_wall_ms() + 10 * DAY};
    assert_int_equal(fix_put_run(f, &p, SLICE_LIT("x")), ERR_NONE);
    configure(f, DOCUMENT(RULE(ALL DAYS("1") NONCURRENT(NONCURRENT_DAYS("1")))));
    days_pass(2);
    pass(f, 0, 1, 0); /* a marker covers it */
    days_pass(2);
    pass(f, 0, 0, 0);
    assert_int_equal(fix_count(f, VERSIONS), 2);
    days_pass(10);
    pass(f, 1, 0, 0);
}

struct creation {
    struct fix_put p;
    char id[STORE_UPLOAD_ID_MAX];
};

static int
upload_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    struct creation *c = arg;
    return store_apply_upload_create(f->store, conn, &c->p.spec, c->id);
}

static void
uploads_end(void **state)
{
    struct fix *f = *state;
    struct creation c;
    char key[32];
    for (int i = 0; i < MANY; i++) {
        snprintf(key, sizeof key, "%s/%d", i % 2 ? "up" : "other", i / 4);
        fix_put_spec(&c.p, "photos", slice_str(key), SLICE_NONE);
        assert_int_equal(fix_run(f, upload_apply, &c), ERR_NONE);
    }
    configure(f, DOCUMENT(RULE(PREFIX("up/") ABORT("1"))));
    pass(f, 0, 0, 0);
    days_pass(2);
    pass(f, 0, 0, MANY / 2);
    assert_int_equal(fix_count(f, "SELECT count(*) FROM upload"), MANY / 2);
}

/* ---- what changes while a pass runs ---- */

static bool
rules_gone(void *arg)
{
    configure(arg, "");
    return true;
}

static void
rules_removed_meanwhile(void **state)
{
    struct fix *f = *state;
    struct lifecycle_tally t;
    char key[32];
    for (int i = 0; i < MANY; i++) {
        snprintf(key, sizeof key, "%04d", i);
        put(f, key);
    }
    configure(f, DOCUMENT(RULE(ALL DAYS("1"))));
    days_pass(2);
    assert_int_equal(lifecycle_run_pass(f->store, DAY, rules_gone, f, &t), ERR_NONE);
    assert_int_equal(t.removed, 100); /* the batch before they were */
    assert_int_equal(fix_count(f, VERSIONS), MANY - 100);
}

/* In the transaction that expires "a": "b" loses its tag, "c" gets other bytes. */
static void
change_others(struct fix *f, struct db_conn *conn)
{
    char id[STORE_VERSION_ID_MAX];
    const struct store_object *o = NULL;
    struct store_put_result result;
    int64_t bucket_id;
    struct store_attribute_spec untag = {
        .attribute = STORE_ATTR_TAGS, .bucket = SLICE_LIT("photos"), .key = SLICE_LIT("b")};
    struct store_put_spec over = {.kind = STORE_CREATED_COPY,
                                  .bucket = SLICE_LIT("photos"),
                                  .key = SLICE_LIT("c"),
                                  .owner = SLICE_LIT("owner"),
                                  .tags = SLICE_LIT(KEPT("keep", "no"))};
    assert_int_equal(store_apply_attribute(f->store, conn, &untag, id), ERR_NONE);
    assert_int_equal(
        store_apply_bucket_get(f->store, conn, SLICE_LIT("photos"), &bucket_id, NULL, NULL),
        ERR_NONE);
    assert_int_equal(store_apply_get(f->store, conn, bucket_id, SLICE_LIT("d"), &o), ERR_NONE);
    assert_int_equal(store_apply_copy(f->store, conn, &over, o, &result), ERR_NONE);
    store_object_unref(&o);
}

static void
objects_changed_meanwhile(void **state)
{
    struct fix *f = *state;
    for (const char *key = "a\0b\0c\0d\0"; *key != '\0'; key += 2)
        put_tagged(f, key, KEPT("keep", "no"), 1);
    configure(f, DOCUMENT(RULE(FILTER(TAG("keep", "no")) DAYS("1"))));
    days_pass(2);
    told.first = change_others;
    pass(f, 2, 0, 0);
    assert_true(!exists(f, "a") && exists(f, "b") && exists(f, "c") && !exists(f, "d"));
}

static bool
no_more(void *arg)
{
    (void)arg;
    return false;
}

static void
stops_between_batches(void **state)
{
    struct fix *f = *state;
    struct lifecycle_tally t;
    put(f, "a");
    configure(f, DOCUMENT(RULE(ALL DAYS("1"))));
    days_pass(2);
    assert_int_equal(lifecycle_run_pass(f->store, DAY, no_more, NULL, &t), ERR_CANCELED);
    assert_int_equal(t.removed, 1);
}

/* The thread: the first pass comes by itself, and the end does not wait for the next. */
static void
runs_by_itself(void **state)
{
    struct fix *f = *state;
    struct lifecycle_run_options o = {.store = f->store, .interval_ms = 10, .day_ms = 1};
    put(f, "a");
    configure(f, DOCUMENT(RULE(ALL DAYS("1"))));
    struct lifecycle_runner *r = lifecycle_run_start(&o);
    while (exists(f, "a"))
        sched_yield();
    lifecycle_run_stop(&r);
    o.interval_ms = 3600 * 1000;
    r = lifecycle_run_start(&o);
    lifecycle_run_stop(&r);
}

/* ---- over a connection ---- */

static void
configuration(void **state)
{
    struct s3_fix *t = *state;
    const char *target = "/album?lifecycle";
    const char *good = DOCUMENT(RULE(ID("mine") FILTER(PREFIX("logs/")) DAYS("1")));
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_do(t, ROOT, "GET", target, 404, "<Code>NoSuchLifecycleConfiguration</Code>");
    s3_send(t, ROOT, "PUT", target, NULL, "", 400, "<Code>MissingRequestBodyError</Code>");
    s3_send(t, ROOT, "PUT", target, NULL, "<x", 400, "<Code>MalformedXML</Code>");
    s3_send(t, ROOT, "PUT", target, NULL, DOCUMENT(RULE(ALL DAYS("0"))), 400,
            "<Code>InvalidArgument</Code>");
    s3_send(t, ROOT, "PUT", target, NULL, DOCUMENT(RULE(ALL)), 400, "<Code>InvalidRequest</Code>");
    s3_send(t, ROOT, "PUT", target, NULL,
            DOCUMENT(RULE(ALL "<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass>"
                              "</Transition>")),
            501, "<Code>NotImplemented</Code>");
    s3_send(t, ANN, "PUT", target, NULL, good, 403, "<Code>AccessDenied</Code>");
    s3_do(t, ROOT, "GET", target, 404, NULL);
    s3_send(t, ROOT, "PUT", target, NULL, good, 200, NULL);
    s3_do(t, ROOT, "GET", target, 200,
          "<ID>mine</ID><Status>Enabled</Status><Filter><Prefix>logs/");
    s3_do(t, ROOT, "DELETE", target, 204, NULL);
    s3_do(t, ROOT, "GET", target, 404, NULL);
    s3_do(t, ROOT, "DELETE", target, 204, NULL);
}

static void
a_thousand_rules(void **state)
{
    struct s3_fix *t = *state;
    struct buf text;
    buf_init(&text, LIFECYCLE_BYTES_MAX);
    buf_puts(&text, "<LifecycleConfiguration>");
    for (int i = 0; i < LIFECYCLE_RULES_MAX; i++)
        buf_printf(&text,
                   RULE(ID("a rule with a name, number %d") FILTER(PREFIX("logs/of/%d/")) DAYS("1")
                            NONCURRENT(NONCURRENT_DAYS("1")) ABORT("1")),
                   i, i);
    buf_puts(&text, "</LifecycleConfiguration>");
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_send(t, ROOT, "PUT", "/album?lifecycle", NULL, text.p, 200, NULL);
    s3_do(t, ROOT, "GET", "/album?lifecycle", 200, "number 999</ID>");
    s3_send(t, ROOT, "PUT", "/album/logs/of/999/x", NULL, "x", 200, "number%20999\"\r\n");
    buf_fini(&text);
}

static void
expiration_header(void **state)
{
    struct s3_fix *t = *state;
    struct raw_answer a;
    char want[256], date[CLOCK_TEXT_MAX];
    s3_do(t, ROOT, "PUT", "/album", 200, NULL);
    s3_send(t, ROOT, "PUT", "/album?lifecycle", NULL,
            DOCUMENT(RULE(ID("a b") FILTER(PREFIX("logs/")) DAYS("3"))), 200, NULL);
    int64_t before = clock_wall_ms() / DAY;
    s3_send(t, ROOT, "PUT", "/album/logs/1", NULL, "x", 200, "x-amz-expiration: expiry-date=\"");
    clock_http((before + 4) * DAY, date);
    snprintf(want, sizeof want, "x-amz-expiration: expiry-date=\"%s\", rule-id=\"a%%20b\"\r\n",
             date);
    if (clock_wall_ms() / DAY == before) {
        s3_do(t, ROOT, "GET", "/album/logs/1", 200, want);
        s3_do(t, ROOT, "HEAD", "/album/logs/1", 200, want);
    }
    s3_send(t, ROOT, "PUT", "/album/logs/2", "x-amz-copy-source: /album/logs/1\r\n", "", 200,
            "x-amz-expiration: ");
    struct s3_call other = {
        .who = ROOT, .method = "PUT", .target = "/album/other", .body = SLICE_LIT("x")};
    s3_call(t, &other, &a);
    assert_true(a.status == 200 && !s3_says(&a, "x-amz-expiration"));
    buf_fini(&a.all);
}

#define PASS_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_refused),
        cmocka_unit_test(documents_kept),
        cmocka_unit_test(ids_made),
        cmocka_unit_test(rule_count),
        cmocka_unit_test(due_times),
        cmocka_unit_test(filters),
        cmocka_unit_test(scopes),
        PASS_TEST(objects_expire),
        PASS_TEST(many_objects),
        PASS_TEST(versions_expire),
        PASS_TEST(markers_expire),
        PASS_TEST(marker_at_the_end_of_a_page),
        PASS_TEST(suspended_and_null),
        PASS_TEST(locks_hold),
        PASS_TEST(uploads_end),
        PASS_TEST(rules_removed_meanwhile),
        PASS_TEST(objects_changed_meanwhile),
        PASS_TEST(stops_between_batches),
        PASS_TEST(runs_by_itself),
        S3_TEST(configuration),
        S3_TEST(a_thousand_rules),
        S3_TEST(expiration_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
