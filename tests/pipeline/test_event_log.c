/* Every change of what is current has one row, whatever rules there are; the story of a key;
 * trimming. */
#include "tests/pipeline/answer.h"

#include "pipeline/event_log.h"

#define ROWS_MAX 100 /* of these logs */

static int
setup(void **state)
{
    (void)rig_setup(state);
    struct rig *r = *state;
    rig_shut(r);
    CHK(conf_set(r->conf, CONF_EVENTS_LOG_ROWS, "100", &r->why) == ERR_NONE);
    rig_reopen(r, "none");
    rig_full_bucket(r, "photos");
    CHK(rig_bucket(r, "plain") == ERR_NONE);
    return 0;
}

/* ---- what is read, as one line per row: "ObjectCreated:Put plain/k 1 root REQ1;" ---- */

struct lines {
    struct buf text;
    int count;
    int64_t seqs[256];
    int64_t old_seqs[256];
};

static int
add_line(void *arg, const struct event_log_row *row)
{
    struct lines *l = arg;
    CHK(l->count < 256);
    l->seqs[l->count] = row->seq;
    l->old_seqs[l->count++] = row->old_seq;
    buf_printf(&l->text, "%s %.*s/%.*s %lld %.*s %.*s;", event_type_name(row->type),
               SLICE_FMT(row->bucket), SLICE_FMT(row->key), (long long)row->size,
               SLICE_FMT(event_log_who(row)), SLICE_FMT(row->request_id));
    return 0;
}

static void
lines_init(struct lines *l)
{
    *l = (struct lines){.count = 0};
    buf_init(&l->text, 1 << 20);
    buf_puts(&l->text, "");
}

static struct event_log_filter
all_rows(void)
{
    return (struct event_log_filter){.until = INT64_MAX, .until_ms = INT64_MAX};
}

static const char *
text_of(struct lines *l)
{
    buf_putc(&l->text, '\0');
    return l->text.p;
}

/* All rows that match, page by page. */
static void
list(struct rig *r, struct event_log_filter f, int page, struct lines *l)
{
    struct db_conn *conn = NULL;
    int64_t next = 0;
    lines_init(l);
    do {
        CHK(db_read_begin(r->db, &conn) == ERR_NONE);
        assert_int_equal(event_log_list(conn, &f, page, add_line, l, &next), ERR_NONE);
        db_read_end(r->db, &conn);
        f.after = next;
    } while (next != 0);
}

static void
story(struct rig *r, const char *bucket, const char *key, int max, struct lines *l)
{
    struct db_conn *conn = NULL;
    const struct store_object *o = NULL;
    int64_t id = rig_bucket_id(r, bucket);
    lines_init(l);
    CHK(db_read_begin(r->db, &conn) == ERR_NONE);
    int err = store_apply_get(r->store, conn, id, slice_str(key), &o);
    CHK(err == ERR_NONE || err == ERR_NOTFOUND);
    err =
        event_log_of_key(conn, id, slice_str(key), o == NULL ? 0 : o->generation, max, add_line, l);
    assert_int_equal(err, ERR_NONE);
    db_read_end(r->db, &conn);
    store_object_unref(&o);
}

/* ---- changes ---- */

struct deletion {
    const char *bucket, *key, *version_id, *who;
    bool by_lifecycle, by_function;
    struct store_delete_result result;
};

static int
delete_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    struct deletion *d = arg;
    struct store_delete_spec spec = {.bucket = slice_str(d->bucket),
                                     .key = slice_str(d->key),
                                     .version_id = slice_str(d->version_id),
                                     .access_key_id = slice_str(d->who),
                                     .request_id = slice_str(d->who == NULL ? NULL : "REQ2"),
                                     .by_lifecycle = d->by_lifecycle,
                                     .by_function = d->by_function};
    return store_apply_delete(r->store, conn, &spec, &d->result);
}

static void
drop(struct rig *r, struct deletion d)
{
    assert_int_equal(rig_call(r, delete_fn, &d), ERR_NONE);
}

static int
versioning_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    (void)arg;
    return store_apply_bucket_versioning(r->store, conn, SLICE_LIT("plain"),
                                         STORE_VERSIONING_ENABLED);
}

static int
undone_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    int err = delete_fn(r, conn, arg);
    return err == ERR_NONE ? ERR_CONFLICT : err;
}

/* ---- tests ---- */

static void
one_row_per_change_in_any_bucket(void **state)
{
    struct rig *r = *state;
    struct lines l;
    rig_put(r, "plain", "k", SLICE_LIT("x"), "image/png");
    rig_put(r, "photos", "p", SLICE_LIT("xyz"), "image/png");
    drop(r, (struct deletion){.bucket = "plain", .key = "k", .who = "AK"});
    drop(r, (struct deletion){.bucket = "plain", .key = "never", .who = "AK"});
    drop(r, (struct deletion){.bucket = "photos", .key = "p", .by_lifecycle = true});
    list(r, all_rows(), 100, &l);
    assert_string_equal(text_of(&l), "ObjectCreated:Put plain/k 1 anonymous REQ1;"
                                     "ObjectCreated:Put photos/p 3 anonymous REQ1;"
                                     "ObjectRemoved:Delete plain/k 0 AK REQ2;"
                                     "LifecycleExpiration:Delete photos/p 0 lifecycle ;");
    for (int i = 1; i < l.count; i++)
        assert_true(l.seqs[i] > l.seqs[i - 1]);
    assert_int_equal(l.old_seqs[2], l.seqs[0]);
    buf_fini(&l.text);
}

static void
what_functions_write_is_not_logged(void **state)
{
    struct rig *r = *state;
    struct lines l;
    rig_put(r, "photos", "p", SLICE_LIT("x"), "image/png");
    answer_done(r, "p", FN_OK);
    assert_int_equal(rig_count(r, "photos-derived", "p/"), 3);
    rig_delete(r, "photos", "p");
    assert_int_equal(rig_count(r, "photos-derived", "p/"), 0);
    list(r, all_rows(), 100, &l);
    assert_int_equal(l.count, 2);
    buf_fini(&l.text);
}

static void
an_undone_change_has_no_row(void **state)
{
    struct rig *r = *state;
    struct lines l;
    struct deletion d = {.bucket = "plain", .key = "k"};
    rig_put(r, "plain", "k", SLICE_LIT("x"), "image/png");
    assert_int_equal(rig_call(r, undone_fn, &d), ERR_CONFLICT);
    story(r, "plain", "k", 10, &l);
    assert_string_equal(text_of(&l), "ObjectCreated:Put plain/k 1 anonymous REQ1;");
    buf_fini(&l.text);
}

static void
the_story_of_a_key(void **state)
{
    struct rig *r = *state;
    struct lines l;
    rig_put(r, "plain", "k", SLICE_LIT("1"), "image/png");
    rig_put(r, "plain", "other", SLICE_LIT("1"), "image/png");
    rig_put(r, "plain", "k", SLICE_LIT("22"), "image/png");
    drop(r, (struct deletion){.bucket = "plain", .key = "k", .who = "AK"});
    rig_put(r, "plain", "k", SLICE_LIT("333"), "image/png");
    static const char all[] = "ObjectCreated:Put plain/k 3 anonymous REQ1;"
                              "ObjectRemoved:Delete plain/k 0 AK REQ2;"
                              "ObjectCreated:Put plain/k 2 anonymous REQ1;"
                              "ObjectCreated:Put plain/k 1 anonymous REQ1;";
    story(r, "plain", "k", 10, &l);
    assert_string_equal(text_of(&l), all);
    buf_fini(&l.text);
    story(r, "plain", "k", 2, &l);
    assert_int_equal(l.count, 2);
    buf_fini(&l.text);
    /* A deleted key tells the same, and its end. */
    drop(r, (struct deletion){.bucket = "plain", .key = "k", .by_lifecycle = true});
    story(r, "plain", "k", 10, &l);
    assert_int_equal(l.count, 5);
    assert_non_null(strstr(text_of(&l), all));
    assert_memory_equal(l.text.p, "LifecycleExpiration:Delete", 26);
    buf_fini(&l.text);
    story(r, "plain", "unknown", 10, &l);
    assert_int_equal(l.count, 0);
    buf_fini(&l.text);
}

/* Marker, marker over marker, and an older version that becomes current again. */
static void
versions(void **state)
{
    struct rig *r = *state;
    struct lines l;
    assert_int_equal(rig_call(r, versioning_fn, NULL), ERR_NONE);
    struct deletion marker = {.bucket = "plain", .key = "k", .who = "AK"};
    rig_put(r, "plain", "k", SLICE_LIT("1"), "image/png");
    assert_int_equal(rig_call(r, delete_fn, &marker), ERR_NONE);
    struct deletion second = {.bucket = "plain", .key = "k", .who = "AK"};
    assert_int_equal(rig_call(r, delete_fn, &second), ERR_NONE);
    drop(r,
         (struct deletion){
             .bucket = "plain", .key = "k", .who = "AK", .version_id = second.result.version_id});
    drop(r,
         (struct deletion){
             .bucket = "plain", .key = "k", .who = "AK", .version_id = marker.result.version_id});
    story(r, "plain", "k", 10, &l);
    assert_string_equal(text_of(&l), "ObjectCreated:Copy plain/k 1 AK REQ2;"
                                     "ObjectRemoved:DeleteMarkerCreated plain/k 0 AK REQ2;"
                                     "ObjectRemoved:DeleteMarkerCreated plain/k 0 AK REQ2;"
                                     "ObjectCreated:Put plain/k 1 anonymous REQ1;");
    buf_fini(&l.text);
}

static void
filters_and_pages(void **state)
{
    struct rig *r = *state;
    struct lines l, one;
    char key[16];
    for (int i = 0; i < 20; i++) {
        snprintf(key, sizeof key, "%c/%02d", i % 2 == 0 ? 'a' : 'b', i);
        rig_put(r, i % 4 < 2 ? "plain" : "photos", key, SLICE_LIT("x"), "image/png");
    }
    list(r, all_rows(), 3, &l);
    assert_int_equal(l.count, 20);
    struct event_log_filter f = all_rows();
    f.bucket = SLICE_LIT("plain");
    f.prefix = SLICE_LIT("a/");
    list(r, f, 2, &one);
    assert_int_equal(one.count, 5);
    buf_fini(&one.text);
    f = all_rows();
    f.after = l.seqs[3];
    f.until = l.seqs[7];
    list(r, f, 100, &one);
    assert_int_equal(one.count, 4);
    assert_int_equal(one.seqs[0], l.seqs[4]);
    buf_fini(&one.text);
    int64_t now = clock_wall_ms();
    clock_shift_wall(60000);
    rig_put(r, "plain", "later", SLICE_LIT("x"), "image/png");
    clock_shift_wall(-60000);
    f = all_rows();
    f.since_ms = now + 30000;
    list(r, f, 100, &one);
    assert_int_equal(one.count, 1);
    buf_fini(&one.text);
    buf_fini(&l.text);
}

static void
old_rows_go(void **state)
{
    struct rig *r = *state;
    struct lines l;
    int64_t week = (int64_t)8 * 24 * 3600 * 1000;
    for (int i = 0; i < 40; i++)
        rig_put(r, "plain", "old", SLICE_LIT("x"), "image/png");
    clock_shift_wall(week);
    for (int i = 0; i < EVENT_LOG_TRIM_EVERY; i++)
        rig_put(r, "plain", "new", SLICE_LIT("x"), "image/png");
    clock_shift_wall(-week);
    list(r, all_rows(), 100, &l);
    assert_true(l.count <= EVENT_LOG_TRIM_EVERY);
    assert_null(strstr(text_of(&l), "/old"));
    buf_fini(&l.text);
    story(r, "plain", "old", 10, &l); /* the chain ends where the log does */
    assert_int_equal(l.count, 0);
    buf_fini(&l.text);
}

static void
rows_are_bounded_also_after_a_restart(void **state)
{
    struct rig *r = *state;
    struct lines l;
    for (int i = 0; i < ROWS_MAX - 10; i++)
        rig_put(r, "plain", "k", SLICE_LIT("x"), "image/png");
    rig_shut(r);
    rig_reopen(r, "none");
    for (int i = 0; i < ROWS_MAX; i++)
        rig_put(r, "plain", "k", SLICE_LIT("x"), "image/png");
    list(r, all_rows(), 100, &l);
    assert_true(l.count <= ROWS_MAX + EVENT_LOG_TRIM_EVERY);
    assert_true(l.count >= ROWS_MAX);
    buf_fini(&l.text);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, rig_teardown)
    const struct CMUnitTest tests[] = {
        T(one_row_per_change_in_any_bucket),
        T(what_functions_write_is_not_logged),
        T(an_undone_change_has_no_row),
        T(the_story_of_a_key),
        T(versions),
        T(filters_and_pages),
        T(old_rows_go),
        T(rows_are_bounded_also_after_a_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
