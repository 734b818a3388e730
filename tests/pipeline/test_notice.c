/*
 * Notices are rows of the transactions of what they tell: one per verdict, none for what was not
 * committed. Results are committed by hand.
 */
#include "tests/pipeline/answer.h"

#include "base/json.h"
#include "pipeline/notice.h"
#include "pipeline/verdict.h"

#define WITH_AVIF                                                                             \
    "{\"PRESETS\":\"["                                                                        \
    "{\\\"name\\\":\\\"small\\\",\\\"width\\\":9,\\\"height\\\":9,\\\"fit\\\":\\\"cover\\\"," \
    "\\\"format\\\":[\\\"webp\\\",\\\"avif\\\"]}]\"}"

/* ---- looking ---- */

struct list {
    struct buf text; /* "ready k|deleted k|" */
    int count;
    int64_t first, last;
    json_t *newest;
};

static int
list_fn(void *arg, const struct notice *n)
{
    struct list *l = arg;
    struct buf json;
    assert_true(n->id > l->last);
    buf_printf(&l->text, "%s %.*s|", notice_kind_name(n->kind), SLICE_FMT(n->key));
    l->first = l->count == 0 ? n->id : l->first;
    l->last = n->id;
    l->count++;
    buf_init(&json, NOTICE_DETAIL_MAX * 2);
    notice_json(n, &json);
    json_decref(l->newest);
    l->newest = json_read(buf_slice(&json), NULL);
    assert_non_null(l->newest);
    buf_fini(&json);
    return 0;
}

static void
list_all(struct rig *r, struct list *l)
{
    struct db_conn *conn = NULL;
    int64_t last = 0;
    *l = (struct list){.count = 0};
    buf_init(&l->text, 64u << 20);
    do { /* a read must be short */
        assert_int_equal(db_read_begin(r->db, &conn), ERR_NONE);
        assert_int_equal(notice_last(conn, &last), ERR_NONE);
        assert_int_equal(notice_list(conn, l->last, last, 1000, list_fn, l), ERR_NONE);
        db_read_end(r->db, &conn);
    } while (l->last < last);
}

static void
list_free(struct list *l)
{
    buf_fini(&l->text);
    json_decref(l->newest);
}

static void
expect(struct rig *r, const char *text)
{
    struct list l;
    list_all(r, &l);
    assert_string_equal(l.text.n == 0 ? "" : l.text.p, text);
    list_free(&l);
}

/* Text of presets.{preset}.{member} of the newest notice. */
static const char *
told(struct rig *r, const char *preset, const char *member)
{
    static char out[2048];
    struct list l;
    list_all(r, &l);
    json_t *p = json_object_get(json_object_get(l.newest, "presets"), preset);
    snprintf(out, sizeof out, "%.*s", SLICE_FMT(json_get_str(p, member)));
    if (json_is_integer(json_object_get(p, member)))
        snprintf(out, sizeof out, "%lld", (long long)json_get_int(p, member, 0));
    list_free(&l);
    return out;
}

static void
dead(struct rig *r, const char *key)
{
    for (int i = 0; i < 3; i++)
        answer_done(r, key, FN_ERROR);
}

/* ---- verdicts ---- */

static void
ready(void **state)
{
    struct rig *r = *state;
    char sequencer[EVENT_SEQUENCER_TEXT];
    struct list l;
    int64_t generation = rig_put(r, "photos", "k\"\n", SLICE_LIT("x"), "image/png");
    expect(r, "");
    answer_done(r, "k\"\n", FN_OK);
    list_all(r, &l);
    event_sequencer(generation, sequencer);
    assert_int_equal(l.count, 1);
    assert_true(slice_eqs(json_get_str(l.newest, "id"), "1"));
    assert_true(slice_eqs(json_get_str(l.newest, "type"), "ready"));
    assert_true(slice_eqs(json_get_str(l.newest, "bucket"), "photos"));
    assert_true(slice_eqs(json_get_str(l.newest, "key"), "k\"\n"));
    assert_true(slice_eqs(json_get_str(l.newest, "version_id"), "null"));
    assert_true(slice_eqs(json_get_str(l.newest, "sequencer"), sequencer));
    assert_int_equal(json_object_size(json_object_get(l.newest, "presets")), 3);
    list_free(&l);
    assert_string_equal(told(r, "large", "state"), "ready");
    assert_string_equal(told(r, "large", "bucket"), "photos-derived");
    assert_string_equal(told(r, "large", "key"), "k\"\n/large.webp");
    assert_string_equal(told(r, "large", "content_type"), "image/webp");
    assert_string_equal(told(r, "large", "etag"), "4b3a6218bb3e3a7303e8a171a60fcf92");
    assert_string_equal(told(r, "large", "size"), "5");
    assert_string_equal(told(r, "large", "width"), "1");
}

static void
one_per_verdict(void **state)
{
    struct rig *r = *state;
    rig_put(r, "photos", "s", SLICE_LIT("x"), "image/png");
    answer_done(r, "s", FN_SKIPPED);
    expect(r, "skipped s|");
    assert_string_equal(told(r, "small", "state"), "skipped: a reason");
    assert_string_equal(told(r, "small", "key"), "");
    rig_put(r, "photos", "f", SLICE_LIT("x"), "image/png");
    answer_done(r, "f", FN_FAILED);
    expect(r, "skipped s|failed f|");
    rig_put(r, "photos", "d", SLICE_LIT("x"), "image/png");
    dead(r, "d");
    expect(r, "skipped s|failed f|failed d|");
    assert_string_equal(told(r, "medium", "state"), "failed: a reason");
}

static void
the_worst_preset_counts(void **state)
{
    struct rig *r = *state;
    struct answer m;
    static const enum fn_status second[] = {FN_SKIPPED, FN_FAILED};
    static const char *const key[] = {"s", "f"};
    for (size_t i = 0; i < ARRAY_LEN(second); i++) {
        rig_put(r, "photos", key[i], SLICE_LIT("x"), "image/png");
        answer_make(r, &m, key[i], FN_OK);
        store_put_end(&m.loaded[1].put);
        m.outputs[1].status = second[i];
        m.outputs[1].reason = SLICE_LIT("only this");
        answer_commit(r, &m);
    }
    expect(r, "skipped s|failed f|");
    assert_string_equal(told(r, "small", "state"), "ready");
    assert_string_equal(told(r, "medium", "state"), "failed: only this");
    assert_string_equal(told(r, "medium", "bucket"), "");
}

static void
secondary_formats(void **state)
{
    struct rig *r = *state;
    assert_int_equal(rig_environment(r, "thumbnail", WITH_AVIF), ERR_NONE);
    rig_put(r, "photos", "k", SLICE_LIT("x"), "image/png");
    answer_done(r, "k", FN_OK);
    expect(r, "ready k|");
    assert_string_equal(told(r, "small", "state"), "ready");
    assert_string_equal(told(r, "small.avif", "state"), "pending");
    answer_done(r, "k", FN_OK);
    expect(r, "ready k|added k|");
    assert_string_equal(told(r, "small", "state"), "");
    assert_string_equal(told(r, "small.avif", "state"), "ready");
    assert_string_equal(told(r, "small.avif", "key"), "k/small.avif");

    rig_put(r, "photos", "d", SLICE_LIT("x"), "image/png");
    answer_done(r, "d", FN_OK);
    dead(r, "d");
    expect(r, "ready k|added k|ready d|added d|");
    assert_string_equal(told(r, "small.avif", "state"), "failed: a reason");
    rig_put(r, "photos", "n", SLICE_LIT("x"), "image/png");
    answer_done(r, "n", FN_FAILED);
    assert_string_equal(told(r, "small.avif", "state"), "failed: a reason");
}

static void
old_results_say_nothing(void **state)
{
    struct rig *r = *state;
    struct answer m;
    rig_put(r, "photos", "k", SLICE_LIT("x"), "image/png");
    answer_make(r, &m, "k", FN_OK);
    rig_put(r, "photos", "k", SLICE_LIT("y"), "image/png");
    answer_commit(r, &m);
    expect(r, "");
    answer_done(r, "k", FN_OK);
    expect(r, "ready k|");
}

static int
commit_and_fail(struct rig *r, struct db_conn *conn, void *arg)
{
    CHK(answer_commit_fn(r, conn, arg) == ERR_NONE);
    return ERR_TOOBIG;
}

static void
not_without_its_transaction(void **state)
{
    struct rig *r = *state;
    struct answer m;
    rig_put(r, "photos", "k", SLICE_LIT("x"), "image/png");
    answer_make(r, &m, "k", FN_OK);
    assert_int_equal(rig_call(r, commit_and_fail, &m), ERR_TOOBIG);
    expect(r, "");
    answer_commit(r, &m);
    expect(r, "ready k|");
}

static int
notice_alone_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    struct answer *m = arg;
    const struct store_object *o = NULL;
    CHK(store_apply_get(r->store, conn, m->event.bucket_id, m->event.key, &o) == ERR_NONE);
    struct verdict v = {.registry = m->result.registry,
                        .set = m->set,
                        .function = registry_find(m->set, SLICE_LIT("thumbnail")),
                        .event = &m->event,
                        .object = o,
                        .status = FN_FAILED,
                        .reason = SLICE_LIT("locked")};
    int err = verdict_apply_notice(&v, conn);
    store_object_unref(&o);
    return err;
}

static void
of_a_verdict_that_cannot_be_written(void **state)
{
    struct rig *r = *state;
    struct answer m;
    rig_put(r, "photos", "k", SLICE_LIT("x"), "image/png");
    answer_make(r, &m, "k", FN_FAILED);
    assert_int_equal(rig_call(r, notice_alone_fn, &m), ERR_NONE);
    expect(r, "failed k|");
    assert_string_equal(told(r, "large", "state"), "failed: locked");
    answer_commit(r, &m);
}

/* ---- deletion ---- */

static void
deletion(void **state)
{
    struct rig *r = *state;
    rig_put(r, "photos", "k", SLICE_LIT("x"), "image/png");
    rig_delete(r, "photos", "k"); /* before any verdict */
    expect(r, "deleted k|");
    rig_delete(r, "photos", "k"); /* nothing there */
    expect(r, "deleted k|");
    rig_put(r, "photos", "k", SLICE_LIT("x"), "image/png");
    answer_done(r, "k", FN_OK);
    rig_delete(r, "photos", "k"); /* derived objects go without a word of their own */
    expect(r, "deleted k|ready k|deleted k|");
    assert_int_equal(rig_bucket(r, "plain"), ERR_NONE);
    rig_put(r, "plain", "k", SLICE_LIT("x"), "image/png");
    rig_delete(r, "plain", "k");
    expect(r, "deleted k|ready k|deleted k|");
}

static void
deletion_follows_the_rule(void **state)
{
    struct rig *r = *state;
    rig_put(r, "photos", "b", SLICE_LIT("x"), "image/png");
    answer_done(r, "b", FN_OK);
    assert_int_equal(
        rig_notify(r, "photos",
                   "<NotificationConfiguration><CloudFunctionConfiguration>"
                   "<CloudFunction>arn:aws:lambda:us-east-1:000000000000:function:thumbnail"
                   "</CloudFunction><Event>s3:ObjectCreated:*</Event><Filter><S3Key><FilterRule>"
                   "<Name>prefix</Name><Value>a/</Value></FilterRule></S3Key></Filter>"
                   "</CloudFunctionConfiguration></NotificationConfiguration>"),
        ERR_NONE);
    rig_put(r, "photos", "a/1", SLICE_LIT("x"), "image/png");
    rig_put(r, "photos", "c", SLICE_LIT("x"), "image/png");
    rig_delete(r, "photos", "a/1");
    rig_delete(r, "photos", "c");
    expect(r, "ready b|deleted a/1|");
    rig_delete(r, "photos", "b"); /* no rule any more, but thumbnails */
    expect(r, "ready b|deleted a/1|deleted b|");
}

/* ---- rows ---- */

struct many {
    int count;
    int64_t last;
};

static int
add_many(struct rig *r, struct db_conn *conn, void *arg)
{
    struct many *m = arg;
    (void)r;
    for (int i = 0; i < m->count; i++) {
        struct notice n = {.kind = NOTICE_READY,
                           .bucket = SLICE_LIT("b"),
                           .key = SLICE_LIT("k"),
                           .version_id = SLICE_LIT("null"),
                           .detail = SLICE_LIT("{}")};
        CHK(notice_apply_add(conn, &n) == ERR_NONE);
        m->last = n.id;
    }
    return ERR_NONE;
}

static void
only_so_many_are_kept(void **state)
{
    struct rig *r = *state;
    struct many m = {.count = NOTICE_ROWS_MAX + 5};
    struct list l;
    assert_int_equal(rig_call(r, add_many, &m), ERR_NONE);
    list_all(r, &l);
    assert_int_equal(l.count, NOTICE_ROWS_MAX);
    assert_int_equal(l.first, 6);
    list_free(&l);
}

static void
only_so_long(void **state)
{
    struct rig *r = *state;
    struct many m = {.count = 20};
    struct list l;
    assert_int_equal(rig_call(r, add_many, &m), ERR_NONE);
    clock_shift_wall(NOTICE_AGE_MS_MAX + 60000);
    m.count = 1;
    assert_int_equal(rig_call(r, add_many, &m), ERR_NONE);
    list_all(r, &l);
    assert_int_equal(l.first, 1 + NOTICE_TRIM_ROWS);
    assert_int_equal(l.count, 21 - NOTICE_TRIM_ROWS);
    list_free(&l);
    m.count = 10;
    assert_int_equal(rig_call(r, add_many, &m), ERR_NONE);
    list_all(r, &l);
    assert_int_equal(l.count, 11);
    list_free(&l);
    /* Whatever is trimmed: no id comes twice. */
    clock_shift_wall(NOTICE_AGE_MS_MAX + 60000);
    m.count = 3;
    assert_int_equal(rig_call(r, add_many, &m), ERR_NONE);
    assert_int_equal(m.last, 34);
    clock_shift_wall(-2 * (NOTICE_AGE_MS_MAX + 60000));
    rig_shut(r);
    rig_reopen(r, "none");
    m.count = 1;
    assert_int_equal(rig_call(r, add_many, &m), ERR_NONE);
    assert_int_equal(m.last, 35);
}

static void
a_detail_that_is_too_long(void **state)
{
    struct notice_preset presets[PRESETS_MAX];
    struct buf out;
    static char key[STORE_KEY_MAX];
    (void)state;
    memset(key, 1, sizeof key); /* \u0001 */
    for (size_t i = 0; i < ARRAY_LEN(presets); i++)
        presets[i] = (struct notice_preset){.name = SLICE_LIT("p"),
                                            .state = SLICE_LIT("skipped: because"),
                                            .bucket = SLICE_LIT("b"),
                                            .key = slice_of(key, sizeof key)};
    buf_init(&out, NOTICE_DETAIL_MAX);
    notice_detail(presets, 1, &out);
    assert_non_null(strstr(out.p, "skipped: because"));
    notice_detail(presets, ARRAY_LEN(presets), &out);
    assert_int_equal(out.err, ERR_NONE);
    json_t *json = json_loads(out.p, 0, NULL);
    assert_true(slice_eqs(json_get_str(json_object_get(json, "p"), "state"), "skipped"));
    json_decref(json);
    buf_fini(&out);
}

/* A data directory from before there were notices. */
static void
upgrade(void **state)
{
    struct rig *r = *state;
    rig_shut(r);
    unlink(r->db_path);
    struct db_options options = {.path = r->db_path, .schema = *pipeline_schema()};
    options.schema.count = 2;
    assert_int_equal(db_open(&r->db, &options), ERR_NONE);
    db_close(&r->db);
    rig_reopen(r, "none");
    rig_full_bucket(r, "photos");
    expect(r, "");
    rig_put(r, "photos", "k", SLICE_LIT("x"), "image/png");
    answer_done(r, "k", FN_OK);
    expect(r, "ready k|");
}

#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup_photos, rig_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        T(ready),
        T(one_per_verdict),
        T(the_worst_preset_counts),
        T(secondary_formats),
        T(old_results_say_nothing),
        T(not_without_its_transaction),
        T(of_a_verdict_that_cannot_be_written),
        T(deletion),
        T(deletion_follows_the_rule),
        T(only_so_many_are_kept),
        T(only_so_long),
        T(a_detail_that_is_too_long),
        T(upgrade),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
