/*
 * The whole pipeline with the real worker program.
 */
#include "tests/pipeline/rig_workers.h"

#include "pipeline/history.h"

#include <fcntl.h>
#include <ftw.h>

#define PHOTO "samples/grey.jpg"

/* An invocation that cannot end: every worker is stopped before the object comes. */
static int64_t
put_held(struct rig *r, const char *key)
{
    assert_true(rig_wait(r, all_idle, NULL));
    signal_workers(r, SIGSTOP);
    int64_t generation = rig_put_file(r, "photos", key, PHOTO);
    assert_true(rig_wait(r, one_running, NULL));
    return generation;
}

/* ---- tests ---- */

static void
thumbnails_and_item_appear(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    rig_put_file(r, "photos", "a b.jpg", PHOTO);
    assert_true(rig_wait(r, rig_queue_empty, NULL));
    assert_true(rig_exists(r, "photos-derived", "a b.jpg/small.webp"));
    assert_true(rig_exists(r, "photos-derived", "a b.jpg/medium.webp"));
    assert_true(rig_exists(r, "photos-derived", "a b.jpg/large.webp"));
    assert_string_equal(rig_attr(r, "photos", "a b.jpg", "ready"), "true");
    assert_string_equal(rig_attr(r, "photos", "a b.jpg", "state.small"), "ready");
    assert_string_equal(rig_attr(r, "photos", "a b.jpg", "metadata_state"), "ready");
    assert_string_equal(rig_attr(r, "photos", "a b.jpg", "format"), "jpeg");
    assert_string_equal(rig_attr(r, "photos", "a b.jpg", "thumbnails"), "map 3");
    /* Both functions came from one invocation. */
    assert_int_equal(snapshot(r)->counts.dead, 0);
    assert_int_equal(rig_counts(r).acked, 2);
}

static void
text_over_picture_loses_thumbnails(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    rig_put_file(r, "photos", "x", PHOTO);
    assert_true(rig_wait(r, rig_queue_empty, NULL));
    assert_int_equal(rig_count(r, "photos-derived", "x/"), 3);
    rig_put(r, "photos", "x", SLICE_LIT("just text"), "image/jpeg");
    assert_true(rig_wait(r, rig_queue_empty, NULL));
    assert_int_equal(rig_count(r, "photos-derived", "x/"), 0);
    assert_string_equal(rig_attr(r, "photos", "x", "ready"), "false");
    assert_memory_equal(rig_attr(r, "photos", "x", "state.small"), "skipped", 7);
    assert_string_equal(rig_attr(r, "photos", "x", "thumbnails"), "map 0");
    assert_string_equal(rig_attr(r, "photos", "x", "width"), "");
}

static void
overwritten_while_running(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    int64_t first = put_held(r, "o");
    int64_t second = rig_put_file(r, "photos", "o", "samples/phone-gps.jpg");
    assert_true(second > first);
    signal_workers(r, SIGCONT);
    assert_true(rig_wait(r, rig_queue_empty, NULL));
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)second);
    assert_string_equal(rig_attr(r, "photos", "o", "generation"), text);
    assert_string_equal(rig_attr(r, "photos", "o", "ready"), "true");

    struct buf json;
    buf_init(&json, 1 << 20);
    assert_int_equal(history_explain(pipeline_registry(r->pipeline), r->db, SLICE_LIT("photos"),
                                     SLICE_LIT("o"), &json),
                     ERR_NONE);
    snprintf(text, sizeof text, "\"source_generation\":%lld", (long long)first);
    assert_null(strstr(json.p, text));
    assert_non_null(strstr(json.p, "superseded"));
    buf_fini(&json);
}

static void
deleted_while_running(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    put_held(r, "d");
    rig_delete(r, "photos", "d");
    assert_int_equal(rig_waiting(r), 0);
    signal_workers(r, SIGCONT);
    assert_true(rig_wait(r, all_idle, NULL));
    /* The invocation's end is committed before a later object's. */
    rig_put_file(r, "photos", "later", PHOTO);
    assert_true(rig_wait(r, rig_queue_empty, NULL));
    assert_int_equal(rig_count(r, "photos-derived", "d/"), 0);
    assert_string_equal(rig_attr(r, "photos", "d", "key"), "");
}

static void
killed_worker_costs_one_attempt(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    put_held(r, "k");
    kill_the_running_one(r);
    assert_true(rig_wait(r, rig_queue_empty, NULL));
    assert_string_equal(rig_attr(r, "photos", "k", "ready"), "true");
    struct queue_counts c = rig_counts(r);
    assert_int_equal(c.retried, 2); /* one per function */
    assert_int_equal(c.dead, 0);
}

#define TINY                                                                         \
    "{\"PRESETS\":\"[{\\\"name\\\":\\\"tiny\\\",\\\"width\\\":32,\\\"height\\\":32," \
    "\\\"fit\\\":\\\"cover\\\",\\\"format\\\":\\\"png\\\"}]\"}"

static void
presets_changed_while_running(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    put_held(r, "p");
    assert_int_equal(rig_environment(r, "thumbnail", TINY), ERR_NONE);
    signal_workers(r, SIGCONT);
    assert_true(rig_wait(r, rig_queue_empty, NULL));
    assert_int_equal(rig_count(r, "photos-derived", "p/"), 1);
    assert_true(rig_exists(r, "photos-derived", "p/tiny.png"));
    assert_string_equal(rig_attr(r, "photos", "p", "state"), "map 1");
    assert_string_equal(rig_attr(r, "photos", "p", "ready"), "true");
    assert_int_equal(rig_counts(r).retried, 0); /* the fence costs no attempt */
}

/* Flips a byte in every blob file: sources can no longer be read. */
static int
damage(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    char byte;
    (void)ftw;
    if (type != FTW_F || st->st_size == 0 || strstr(path, "/blobs/") == NULL)
        return 0;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    CHK(fd >= 0 && pread(fd, &byte, 1, st->st_size / 2) == 1);
    byte = (char)(byte ^ 0x55);
    CHK(pwrite(fd, &byte, 1, st->st_size / 2) == 1);
    close(fd);
    return 0;
}

static int
first_reason(void *arg, const struct dead_letter *d)
{
    snprintf(arg, QUEUE_REASON_MAX, "%.*s", SLICE_FMT(d->event.reason));
    return 1;
}

static void
three_failures_are_dead(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    char *noise = chk_calloc(1, 200000);
    pipeline_stop(r->pipeline, 0);
    r->started = false;
    rig_put(r, "photos", "f", slice_of(noise, 200000), "image/jpeg");
    free(noise);
    CHK(nftw(r->dir, damage, 16, FTW_PHYS) == 0);
    rig_start(r);
    assert_true(rig_wait(r, rig_queue_empty, NULL));
    struct queue_counts c = rig_counts(r);
    assert_int_equal(c.retried, 4); /* two functions, three attempts each, the last is fatal */
    assert_int_equal(c.dead, 2);
    assert_memory_equal(rig_attr(r, "photos", "f", "state.small"), "failed: the source", 18);

    struct db_conn *conn = NULL;
    char reason[QUEUE_REASON_MAX] = "";
    struct dead_filter all = {.until = 0};
    assert_int_equal(db_read_begin(r->db, &conn), ERR_NONE);
    assert_int_equal(queue_dead_list(conn, &all, 10, first_reason, reason, &all.after), ERR_NONE);
    db_read_end(r->db, &conn);
    assert_memory_equal(reason, "the source cannot be read", 25);
}

static void
timeout_is_kept_from_outside(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    struct rig_patch p = {"thumbnail", {.has_timeout = true, .timeout_s = 1, .has_retries = true}};
    assert_int_equal(rig_call(r, rig_patch_fn, &p), ERR_NONE);
    p.function = "metadata";
    assert_int_equal(rig_call(r, rig_patch_fn, &p), ERR_NONE);
    put_held(r, "t");
    assert_true(rig_wait(r, rig_queue_empty, NULL));
    assert_int_equal(rig_counts(r).dead, 2); /* no retries: dead at once */
    assert_string_equal(rig_attr(r, "photos", "t", "state.small"), "failed: timeout after 1 s");
    assert_string_equal(rig_attr(r, "photos", "t", "metadata_state"), "failed: timeout after 1 s");
    signal_workers(r, SIGCONT);
    /* The pool is whole again and works. */
    rig_put_file(r, "photos", "t2", PHOTO);
    assert_true(rig_wait(r, rig_queue_empty, NULL));
    assert_string_equal(rig_attr(r, "photos", "t2", "ready"), "true");
}

#define WITH_AVIF                                                                                \
    "{\"PRESETS\":\"[{\\\"name\\\":\\\"s\\\",\\\"width\\\":64,\\\"height\\\":64,"                \
    "\\\"fit\\\":\\\"cover\\\",\\\"format\\\":\\\"webp\\\"},{\\\"name\\\":\\\"a\\\","            \
    "\\\"width\\\":64,\\\"height\\\":64,\\\"fit\\\":\\\"cover\\\",\\\"format\\\":\\\"avif\\\"}]" \
    "\"}"

static void
avif_follows(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    assert_int_equal(rig_environment(r, "thumbnail", WITH_AVIF), ERR_NONE);
    rig_put_file(r, "photos", "v", PHOTO);
    assert_true(rig_wait(r, rig_queue_empty, NULL));
    assert_true(rig_exists(r, "photos-derived", "v/s.webp"));
    assert_true(rig_exists(r, "photos-derived", "v/a.avif"));
    assert_string_equal(rig_attr(r, "photos", "v", "state.a"), "ready");
    assert_string_equal(rig_attr(r, "photos", "v", "ready"), "true");
    assert_int_equal(rig_counts(r).acked, 3);
    rig_delete(r, "photos", "v");
    assert_int_equal(rig_count(r, "photos-derived", ""), 0);
}

static int
add_event(struct rig *r, struct db_conn *conn, void *arg)
{
    (void)r;
    return queue_apply_add(conn, arg);
}

static int64_t
presets_mark(struct rig *r)
{
    struct db_conn *conn = NULL;
    struct function_set *set = NULL;
    assert_int_equal(db_read_begin(r->db, &conn), ERR_NONE);
    assert_int_equal(registry_get(pipeline_registry(r->pipeline), conn, &set), ERR_NONE);
    db_read_end(r->db, &conn);
    int64_t mark = native_presets_mark(&registry_find(set, SLICE_LIT("thumbnail"))->native);
    registry_unref(&set);
    return mark;
}

/* The function may take 30 s, its follow-ups 1 s. What was ready before stays so. */
static void
followups_have_a_deadline_of_their_own(void **state)
{
    struct rig *r = *state;
    const struct store_object *o = NULL;
    NEED_WORKER(r);
    rig_shut(r);
    CHK(conf_set(r->conf, CONF_FOLLOWUP_TIMEOUT, "1", &r->why) == ERR_NONE);
    rig_reopen(r, worker_path);
    rig_start(r);
    struct rig_patch p = {"thumbnail", {.has_retries = true}};
    assert_int_equal(rig_call(r, rig_patch_fn, &p), ERR_NONE);
    assert_int_equal(rig_environment(r, "thumbnail", WITH_AVIF), ERR_NONE);
    rig_put_file(r, "photos", "v", PHOTO);
    assert_true(rig_wait(r, rig_queue_empty, NULL));
    assert_string_equal(rig_attr(r, "photos", "v", "state.a"), "ready");
    assert_true(rig_wait(r, all_idle, NULL));
    signal_workers(r, SIGSTOP);
    assert_int_equal(store_get(r->store, SLICE_LIT("photos"), SLICE_LIT("v"), &o), ERR_NONE);
    struct queue_event e = {.lane = LANE_FOLLOWUP,
                            .function = SLICE_LIT("thumbnail"),
                            .bucket_id = o->bucket_id,
                            .bucket = SLICE_LIT("photos"),
                            .key = SLICE_LIT("v"),
                            .generation = o->generation,
                            .followup = true,
                            .followup_of = presets_mark(r)};
    assert_int_equal(rig_call(r, add_event, &e), ERR_NONE);
    store_object_unref(&o);
    assert_true(rig_wait(r, rig_queue_empty, NULL));
    assert_string_equal(rig_attr(r, "photos", "v", "state.a"), "failed: timeout after 1 s");
    assert_string_equal(rig_attr(r, "photos", "v", "state.s"), "ready");
    assert_string_equal(rig_attr(r, "photos", "v", "ready"), "true");
    assert_int_equal(rig_counts(r).dead, 1);
    signal_workers(r, SIGCONT);
}

#define WITH_LIST                                                                              \
    "{\"PRESETS\":\"[{\\\"name\\\":\\\"s\\\",\\\"width\\\":64,\\\"height\\\":64,"              \
    "\\\"format\\\":\\\"auto\\\"},{\\\"name\\\":\\\"t\\\",\\\"width\\\":32,\\\"height\\\":32," \
    "\\\"format\\\":[\\\"png\\\"]}]\"}"

/* Secondary formats are made by one follow-up; they go when they are configured no longer. */
static void
formats_follow(void **state)
{
    static const char *const made[] = {"v/s.webp", "v/s.avif", "v/s.jpg", "v/t.png"};
    static const char *const states[] = {"state.s", "state.s.avif", "state.s.jpg", "state.t"};
    struct rig *r = *state;
    NEED_WORKER(r);
    assert_int_equal(rig_environment(r, "thumbnail", WITH_LIST), ERR_NONE);
    rig_put_file(r, "photos", "v", PHOTO);
    assert_true(rig_wait(r, rig_queue_empty, NULL));
    for (size_t i = 0; i < ARRAY_LEN(made); i++) {
        assert_true(rig_exists(r, "photos-derived", made[i]));
        assert_string_equal(rig_attr(r, "photos", "v", states[i]), "ready");
    }
    assert_string_equal(rig_attr(r, "photos", "v", "thumbnails"), "map 4");
    assert_int_equal(rig_counts(r).acked, 3);
    assert_int_equal(rig_environment(r, "thumbnail", WITH_AVIF), ERR_NONE);
    rig_put_file(r, "photos", "v", PHOTO);
    assert_true(rig_wait(r, rig_queue_empty, NULL));
    assert_int_equal(rig_count(r, "photos-derived", ""), 2);
}

static int
batch_fn_create(struct rig *r, struct db_conn *conn, void *arg)
{
    return batch_apply_create(pipeline_registry(r->pipeline), conn, arg, &r->why);
}

static int
copy_batch(void *arg, const struct batch *b)
{
    *(struct batch *)arg = *b;
    return 0;
}

static bool
batch_is_done(struct rig *r, void *arg)
{
    struct batch *b = arg;
    struct db_conn *conn = NULL;
    CHK(db_read_begin(r->db, &conn) == ERR_NONE);
    CHK(batch_get(conn, b->id, copy_batch, b) == ERR_NONE);
    db_read_end(r->db, &conn);
    return b->state == BATCH_DONE;
}

static void
batch_makes_items_of_old_objects(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    assert_int_equal(rig_bucket(r, "old"), ERR_NONE);
    for (int i = 0; i < 5; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        if (i == 3)
            rig_put(r, "old", key, SLICE_LIT("no picture"), "text/plain");
        else
            rig_put_file(r, "old", key, PHOTO);
    }
    assert_int_equal(rig_waiting(r), 0);
    rig_full_bucket(r, "old");
    struct batch b = {.bucket = SLICE_LIT("old"), .select = SELECT_MISSING};
    assert_int_equal(rig_call(r, batch_fn_create, &b), ERR_NONE);
    assert_true(rig_wait(r, batch_is_done, &b));
    assert_int_equal(b.planned, 5);
    assert_int_equal(b.done, 4);
    assert_int_equal(b.skipped, 1);
    assert_int_equal(b.failed, 0);
    assert_string_equal(rig_attr(r, "old", "k4", "ready"), "true");
    assert_int_equal(rig_count(r, "old-derived", ""), 12);
}

static void
restart_goes_on(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    put_held(r, "r");
    rig_put_file(r, "photos", "r2", PHOTO);
    pipeline_stop(r->pipeline, 0); /* kills the held one */
    r->started = false;
    assert_int_equal(rig_waiting(r), 4);
    assert_int_equal(rig_counts(r).retried, 0); /* canceled: nobody's fault */
    rig_shut(r);
    rig_reopen(r, worker_path);
    rig_start(r);
    assert_true(rig_wait(r, rig_queue_empty, NULL));
    assert_string_equal(rig_attr(r, "photos", "r", "ready"), "true");
    assert_string_equal(rig_attr(r, "photos", "r2", "ready"), "true");
}

static void
many_writers_one_key(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    int64_t last = 0;
    for (int i = 0; i < 30; i++)
        last = rig_put_file(r, "photos", "hot", i % 2 ? PHOTO : "samples/phone-gps.jpg");
    assert_true(rig_wait(r, rig_queue_empty, NULL));
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)last);
    assert_string_equal(rig_attr(r, "photos", "hot", "generation"), text);
    assert_string_equal(rig_attr(r, "photos", "hot", "ready"), "true");
    assert_int_equal(rig_count(r, "photos-derived", "hot/"), 3);
}

/* ---- which events share an invocation ---- */

static bool
key_running(struct rig *r, void *key)
{
    struct dispatch_state *s = snapshot(r);
    return s->running_count == 1 && strcmp(s->running[0].key, key) == 0;
}

/* The functions of the one invocation that runs for the key. The workers are stopped. */
static const char *
functions_held(struct rig *r, char *key)
{
    assert_true(rig_wait(r, key_running, key));
    return snapshot(r)->running[0].functions;
}

static void
go_on(struct rig *r)
{
    signal_workers(r, SIGCONT);
    assert_true(rig_wait(r, rig_queue_empty, NULL));
}

/* A worker has one deadline and one memory limit. */
static void
only_equal_limits_share(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    struct rig_patch memory = {"metadata", {.has_memory = true, .memory_mb = 640}};
    struct rig_patch again = {"thumbnail", {.has_memory = true, .memory_mb = 640}};
    struct rig_patch time = {"metadata", {.has_timeout = true, .timeout_s = 17}};
    put_held(r, "equal");
    assert_string_equal(functions_held(r, "equal"), "thumbnail+metadata");
    go_on(r);
    assert_int_equal(rig_call(r, rig_patch_fn, &memory), ERR_NONE);
    put_held(r, "memory");
    assert_null(strchr(functions_held(r, "memory"), '+'));
    go_on(r);
    assert_int_equal(rig_call(r, rig_patch_fn, &again), ERR_NONE);
    assert_int_equal(rig_call(r, rig_patch_fn, &time), ERR_NONE);
    put_held(r, "time");
    assert_null(strchr(functions_held(r, "time"), '+'));
    go_on(r);
    assert_string_equal(rig_attr(r, "photos", "memory", "ready"), "true");
    assert_string_equal(rig_attr(r, "photos", "time", "metadata_state"), "ready");
}

static int
add_two(struct rig *r, struct db_conn *conn, void *arg)
{
    struct queue_event *e = arg;
    (void)r;
    int err = queue_apply_add(conn, &e[0]);
    return err == ERR_NONE ? queue_apply_add(conn, &e[1]) : err;
}

static void
only_one_generation_shares(void **state)
{
    struct rig *r = *state;
    const struct store_object *o = NULL;
    NEED_WORKER(r);
    assert_int_equal(rig_bucket(r, "old"), ERR_NONE);
    int64_t before = rig_put_file(r, "old", "k", "samples/phone-gps.jpg");
    rig_put_file(r, "old", "k", PHOTO);
    rig_full_bucket(r, "old");
    assert_int_equal(store_get(r->store, SLICE_LIT("old"), SLICE_LIT("k"), &o), ERR_NONE);
    struct queue_event two[2];
    for (int i = 0; i < 2; i++)
        two[i] = (struct queue_event){.lane = LANE_LIVE,
                                      .function =
                                          i == 0 ? SLICE_LIT("metadata") : SLICE_LIT("thumbnail"),
                                      .bucket_id = o->bucket_id,
                                      .bucket = SLICE_LIT("old"),
                                      .key = SLICE_LIT("k"),
                                      .generation = i == 0 ? o->generation : before};
    store_object_unref(&o);
    assert_true(rig_wait(r, all_idle, NULL));
    signal_workers(r, SIGSTOP);
    assert_int_equal(rig_call(r, add_two, two), ERR_NONE);
    assert_string_equal(functions_held(r, "k"), "metadata");
    go_on(r);
    assert_int_equal(rig_counts(r).acked, 1);
    assert_int_equal(rig_counts(r).superseded, 1);
    assert_int_equal(rig_count(r, "old-derived", ""), 0);
}

/* ---- limits and order ---- */

static bool
metadata_done(struct rig *r, void *arg)
{
    return strcmp(rig_attr(r, "photos", arg, "metadata_state"), "ready") == 0;
}

static void
reserved_concurrency_holds(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    struct rig_patch p = {"thumbnail", {.has_concurrency = true, .reserved_concurrency = 0}};
    char key[] = "c";
    assert_int_equal(rig_call(r, rig_patch_fn, &p), ERR_NONE);
    rig_put_file(r, "photos", key, PHOTO);
    assert_true(rig_wait(r, metadata_done, key)); /* the other function is not held up */
    assert_int_equal(rig_waiting(r), 1);
    assert_string_equal(rig_attr(r, "photos", key, "state.small"), "pending");
    p.patch.reserved_concurrency = 1;
    assert_int_equal(rig_call(r, rig_patch_fn, &p), ERR_NONE);
    for (int i = 0; i < 5; i++) {
        char name[16];
        snprintf(name, sizeof name, "c%d", i);
        rig_put_file(r, "photos", name, PHOTO);
    }
    assert_true(rig_wait(r, rig_queue_empty, NULL));
    assert_string_equal(rig_attr(r, "photos", key, "ready"), "true");
    assert_int_equal(rig_count(r, "photos-derived", ""), 18);
}

static void
restart_with(struct rig *r, enum conf_id id, const char *value)
{
    pipeline_stop(r->pipeline, 1000);
    r->started = false;
    assert_int_equal(conf_set(r->conf, id, value, &r->why), ERR_NONE);
    rig_start(r);
}

/* Room for one picture: one at a time, and none waits for ever. */
static void
memory_budget_starves_nobody(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    restart_with(r, CONF_PIXEL_MEMORY, "7000000");
    for (int i = 0; i < 6; i++) {
        char name[16];
        snprintf(name, sizeof name, "m%d", i);
        rig_put_file(r, "photos", name, "samples/parrots.png");
    }
    assert_true(rig_wait(r, rig_queue_empty, NULL));
    assert_int_equal(rig_count(r, "photos-derived", ""), 18);
    assert_int_equal(rig_counts(r).retried, 0);
}

/* A picture that needs more than all may use together: failed with its reason, at once. */
static void
memory_budget_refuses_what_never_fits(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    restart_with(r, CONF_PIXEL_MEMORY, "1048576");
    rig_put_file(r, "photos", "huge", "samples/parrots.png");
    assert_true(rig_wait(r, rig_queue_empty, NULL));
    const char *why = rig_attr(r, "photos", "huge", "state.small");
    if (strncmp(why, "failed: memory budget: decoding takes ", 38) != 0)
        fail_msg("%s", why);
    assert_int_equal(rig_counts(r).retried, 0);
    assert_int_equal(rig_counts(r).dead, 0);
}

static void
tired_workers_are_replaced(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    restart_with(r, CONF_WORKER_INVOCATIONS, "1");
    for (int i = 0; i < 4; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        rig_put_file(r, "photos", name, PHOTO);
    }
    assert_true(rig_wait(r, rig_queue_empty, NULL));
    assert_int_equal(rig_count(r, "photos-derived", ""), 12);
    assert_int_equal(rig_counts(r).retried, 0);
    assert_true(rig_wait(r, all_idle, NULL));
    struct dispatch_state *s = snapshot(r);
    assert_true(s->workers.workers[0].restarts + s->workers.workers[1].restarts >= 4);
}

struct attempts {
    char keys[1024];
};

static void
attempts_in_order(struct rig *r, struct attempts *out)
{
    struct db_conn *conn = NULL;
    size_t n = 0;
    out->keys[0] = '\0';
    CHK(db_read_begin(r->db, &conn) == ERR_NONE);
    struct db_stmt *s =
        db_prepare(conn, "SELECT key FROM attempt WHERE function = 'thumbnail' ORDER BY id");
    while (db_step(s) == DB_ROW && n < sizeof out->keys)
        n += (size_t)snprintf(out->keys + n, sizeof out->keys - n, "%.*s ",
                              SLICE_FMT(db_column_blob(s, 0)));
    db_read_end(r->db, &conn);
}

static void
live_before_backlog(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    assert_int_equal(rig_environment(r, "thumbnail", WITH_AVIF), ERR_NONE);
    struct attempts a;
    int fed = 0;
    bool later = false;
    assert_int_equal(rig_bucket(r, "old"), ERR_NONE);
    for (int i = 0; i < 12; i++) {
        char key[16];
        snprintf(key, sizeof key, "b%02d", i);
        rig_put_file(r, "old", key, PHOTO);
    }
    pipeline_stop(r->pipeline, 1000);
    r->started = false;
    rig_full_bucket(r, "old");
    struct batch b = {.bucket = SLICE_LIT("old"), .select = SELECT_MISSING};
    assert_int_equal(rig_call(r, batch_fn_create, &b), ERR_NONE);
    assert_int_equal(batch_feed(pipeline_registry(r->pipeline), r->db, &fed, &later), ERR_NONE);
    assert_int_equal(fed, 12);
    rig_put_file(r, "photos", "live", PHOTO); /* the newest of all */
    rig_start(r);
    assert_true(rig_wait(r, rig_queue_empty, NULL));
    attempts_in_order(r, &a);
    const char *live = strstr(a.keys, "live");
    assert_non_null(live);
    assert_true(live - a.keys <= 12); /* at most what two workers and one place ahead had begun */
    const char *followup = strstr(live + 1, "live"); /* the newest but for those of the batch */
    assert_non_null(followup);
    assert_true(followup - a.keys < 9 * 4); /* before the batch's end, which is older */
}

static bool
has_problem(struct rig *r, void *arg)
{
    (void)arg;
    return snapshot(r)->workers.problem[0] != '\0';
}

static void
missing_program_is_told(void **state)
{
    struct rig r;
    (void)state;
    rig_open(&r, "/nonexistent/darkroom-worker");
    rig_full_bucket(&r, "photos");
    rig_start(&r);
    rig_put(&r, "photos", "k", SLICE_LIT("x"), "image/png");
    assert_true(rig_wait(&r, has_problem, NULL));
    assert_non_null(strstr(snapshot(&r)->workers.problem, "/nonexistent/darkroom-worker"));
    assert_int_equal(snapshot(&r)->workers.ready, 0);
    assert_int_equal(rig_waiting(&r), 2); /* nothing is lost, nothing was counted */
    assert_int_equal(rig_counts(&r).retried, 0);
    rig_close(&r);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        T(thumbnails_and_item_appear),
        T(text_over_picture_loses_thumbnails),
        T(overwritten_while_running),
        T(deleted_while_running),
        T(killed_worker_costs_one_attempt),
        T(presets_changed_while_running),
        T(timeout_is_kept_from_outside),
        T(three_failures_are_dead),
        T(avif_follows),
        T(formats_follow),
        T(followups_have_a_deadline_of_their_own),
        T(batch_makes_items_of_old_objects),
        T(restart_goes_on),
        T(many_writers_one_key),
        T(only_equal_limits_share),
        T(only_one_generation_shares),
        T(reserved_concurrency_holds),
        T(memory_budget_starves_nobody),
        T(memory_budget_refuses_what_never_fits),
        T(tired_workers_are_replaced),
        T(live_before_backlog),
        cmocka_unit_test(missing_program_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
