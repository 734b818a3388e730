/*
 * Pictures on the fly with the real worker program: joining, the fence, the limits, the ends.
 */
#include "tests/pipeline/rig_workers.h"

#include "base/stat.h"
#include "pipeline/demand.h"
#include "pipeline/history.h"
#include "pipeline/provenance.h"

#include <stdatomic.h>

#define PHOTO "samples/grey.jpg"

/* ---- asking ---- */

struct ask {
    struct demand_wait wait;
    atomic_int *left; /* of those that have not ended */
};

static void
on_end(struct demand_wait *w)
{
    struct ask *a = CONTAINER_OF(w, struct ask, wait);
    atomic_fetch_sub(a->left, 1);
}

static struct preset
variant(int side)
{
    struct preset p = {.width = side,
                       .height = side,
                       .fit = PRESET_COVER,
                       .format = PRESET_WEBP,
                       .quality = 80,
                       .focus = PRESET_CENTRE};
    p.name[0] = '_';
    preset_hash(&p, p.name + 1);
    return p;
}

/* A picture of `side` pixels of the object as it is. */
static struct demand_spec
spec_of(struct rig *r, const char *bucket, const char *key, int side)
{
    const struct store_object *o = NULL;
    CHK(store_get(r->store, slice_str(bucket), slice_str(key), &o) == ERR_NONE);
    struct demand_spec spec = {.bucket_id = o->bucket_id,
                               .bucket = slice_str(bucket),
                               .key = slice_str(key),
                               .generation = o->generation,
                               .preset = variant(side)};
    store_object_unref(&o);
    return spec;
}

static int
ask(struct rig *r, struct ask *a, atomic_int *left, const struct demand_spec *spec)
{
    *a = (struct ask){.wait = {.fn = on_end}, .left = left};
    atomic_fetch_add(left, 1);
    int err = demand_join(pipeline_desk(r->pipeline), spec, &a->wait);
    if (err != ERR_NONE)
        atomic_fetch_sub(left, 1);
    return err;
}

static bool
all_ended(struct rig *r, void *arg)
{
    (void)r;
    return atomic_load((atomic_int *)arg) == 0;
}

/* Asks and waits for the end. */
static enum demand_end
made(struct rig *r, const struct demand_spec *spec, char reason[DEMAND_REASON_MAX])
{
    atomic_int left = 0;
    struct ask a;
    assert_int_equal(ask(r, &a, &left, spec), ERR_NONE);
    assert_true(rig_wait(r, all_ended, &left));
    if (reason != NULL)
        memcpy(reason, a.wait.reason, DEMAND_REASON_MAX);
    return a.wait.end;
}

/* ---- looking ---- */

static void
variant_key(const struct demand_spec *spec, char out[STORE_KEY_MAX + 64])
{
    snprintf(out, STORE_KEY_MAX + 64, "%.*s/%s.webp", SLICE_FMT(spec->key), spec->preset.name);
}

static bool
variant_exists(struct rig *r, const char *derived, const struct demand_spec *spec)
{
    char key[STORE_KEY_MAX + 64];
    variant_key(spec, key);
    return rig_exists(r, derived, key);
}

/* Rows of pictures on the fly. */
static int
variant_rows(struct rig *r, const struct demand_spec *spec)
{
    struct db_conn *conn = NULL;
    struct provenance *rows = NULL;
    struct arena *a = arena_new(1 << 20);
    int count = 0;
    CHK(db_read_begin(r->db, &conn) == ERR_NONE);
    CHK(provenance_list(conn, a, spec->bucket_id, spec->key, &rows) == ERR_NONE);
    db_read_end(r->db, &conn);
    for (; rows != NULL; rows = rows->next)
        count += preset_name_is_variant(rows->preset);
    arena_free(&a);
    return count;
}

static bool
told(struct rig *r, const struct demand_spec *spec, const char *text)
{
    struct buf json;
    buf_init(&json, 1 << 20);
    CHK(history_explain(pipeline_registry(r->pipeline), r->db, spec->bucket, spec->key, &json) ==
        ERR_NONE);
    bool found = strstr(json.p, text) != NULL;
    buf_fini(&json);
    return found;
}

static bool
running_are(struct rig *r, void *arg)
{
    return snapshot(r)->running_count == *(size_t *)arg;
}

static void
wait_running(struct rig *r, size_t count)
{
    assert_true(rig_wait(r, running_are, &count));
}

/* A bucket without rules, so that demands are alone. */
static struct demand_spec
plain_photo(struct rig *r, const char *key, int side)
{
    int err = rig_bucket(r, "plain");
    CHK(err == ERR_NONE || err == ERR_EXISTS);
    err = rig_bucket(r, "plain-derived");
    CHK(err == ERR_NONE || err == ERR_EXISTS);
    rig_put_file(r, "plain", key, PHOTO);
    return spec_of(r, "plain", key, side);
}

/* Workers that will take a task and not answer. */
static void
hold_workers(struct rig *r)
{
    assert_true(rig_wait(r, all_idle, NULL));
    signal_workers(r, SIGSTOP);
}

/* ---- what is made ---- */

static void
made_and_stored(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    struct demand_spec spec = plain_photo(r, "a b.jpg", 100);
    const struct store_object *o = NULL;
    char key[STORE_KEY_MAX + 64];
    assert_int_equal(made(r, &spec, NULL), DEMAND_STORED);
    variant_key(&spec, key);
    assert_int_equal(store_get(r->store, SLICE_LIT("plain-derived"), slice_str(key), &o), ERR_NONE);
    assert_true(slice_eqs(o->content_type, "image/webp"));
    assert_true(slice_find(o->meta, SLICE_LIT("x-amz-meta-source-version")) >= 0);
    assert_true(slice_find(o->meta, slice_str(spec.preset.name + 1)) >= 0);
    assert_true(o->by_function);
    store_object_unref(&o);
    assert_int_equal(variant_rows(r, &spec), 1);
    assert_true(told(r, &spec, "\"on the fly\""));
    assert_true(told(r, &spec, spec.preset.name));
    assert_int_equal(rig_count(r, "plain-derived", ""), 1);
    assert_int_equal(stat_get(STAT_demands_waiting), 0);
}

static void
avif_is_made_too(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    struct demand_spec spec = plain_photo(r, "a", 64);
    spec.preset.format = PRESET_AVIF;
    preset_hash(&spec.preset, spec.preset.name + 1);
    assert_int_equal(made(r, &spec, NULL), DEMAND_STORED);
    assert_int_equal(rig_count(r, "plain-derived", "a/_"), 1);
}

/* What an equal demand has just made is not made again, unless it is there no more. */
static void
at_hand_needs_no_worker(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    struct demand_spec spec = plain_photo(r, "a", 100);
    int64_t before = stat_get(STAT_invocations_total);
    assert_int_equal(made(r, &spec, NULL), DEMAND_STORED);
    assert_int_equal(made(r, &spec, NULL), DEMAND_STORED);
    assert_int_equal(stat_get(STAT_invocations_total), before + 1);
    char key[STORE_KEY_MAX + 64];
    variant_key(&spec, key);
    rig_delete(r, "plain-derived", key);
    assert_int_equal(made(r, &spec, NULL), DEMAND_STORED);
    assert_int_equal(stat_get(STAT_invocations_total), before + 2);
    assert_true(variant_exists(r, "plain-derived", &spec));
    rig_put(r, "plain-derived", key, SLICE_LIT("a client's own"), "text/plain");
    assert_int_equal(made(r, &spec, NULL), DEMAND_STORED);
    assert_int_equal(stat_get(STAT_invocations_total), before + 3);
}

/* ---- joining ---- */

#define JOIN_THREADS 8
#define JOINS_EACH 125

struct joiner {
    struct rig *r;
    const struct demand_spec *spec;
    atomic_int *left;
    struct ask asks[JOINS_EACH];
    pthread_t thread;
};

static void *
join_many(void *arg)
{
    struct joiner *j = arg;
    for (int i = 0; i < JOINS_EACH; i++)
        CHK(ask(j->r, &j->asks[i], j->left, j->spec) == ERR_NONE);
    return NULL;
}

static void
a_thousand_joins_are_one_decode(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    struct demand_spec spec = plain_photo(r, "a", 100);
    struct joiner *joiners = chk_calloc(JOIN_THREADS, sizeof *joiners);
    atomic_int left = 0;
    hold_workers(r);
    int64_t invocations = stat_get(STAT_invocations_total);
    int64_t begun = stat_get(STAT_demands_total);
    int64_t joined = stat_get(STAT_demands_joined_total);
    for (int i = 0; i < JOIN_THREADS; i++) {
        struct joiner *j = &joiners[i];
        j->r = r;
        j->spec = &spec;
        j->left = &left;
        CHK(pthread_create(&j->thread, NULL, join_many, j) == 0);
    }
    for (int i = 0; i < JOIN_THREADS; i++)
        CHK(pthread_join(joiners[i].thread, NULL) == 0);
    signal_workers(r, SIGCONT);
    assert_true(rig_wait(r, all_ended, &left));
    for (int i = 0; i < JOIN_THREADS; i++) {
        for (int k = 0; k < JOINS_EACH; k++)
            assert_int_equal(joiners[i].asks[k].wait.end, DEMAND_STORED);
    }
    assert_int_equal(stat_get(STAT_invocations_total), invocations + 1);
    assert_int_equal(stat_get(STAT_demands_total), begun + 1);
    assert_int_equal(stat_get(STAT_demands_joined_total), joined + 999);
    free(joiners);
}

/* ---- the fence ---- */

static void
overwritten_while_running(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    struct demand_spec spec = plain_photo(r, "a", 100);
    atomic_int left = 0;
    struct ask a;
    hold_workers(r);
    assert_int_equal(ask(r, &a, &left, &spec), ERR_NONE);
    wait_running(r, 1);
    rig_put_file(r, "plain", "a", "samples/phone-gps.jpg");
    signal_workers(r, SIGCONT);
    assert_true(rig_wait(r, all_ended, &left));
    assert_int_equal(a.wait.end, DEMAND_STALE);
    assert_int_equal(rig_count(r, "plain-derived", ""), 0);
    assert_int_equal(variant_rows(r, &spec), 0);
    assert_true(told(r, &spec, "superseded"));
    assert_int_equal(made(r, &spec, NULL), DEMAND_STALE); /* not even loaded */
}

static void
deleted_while_running(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    struct demand_spec spec = plain_photo(r, "a", 100);
    atomic_int left = 0;
    struct ask a;
    hold_workers(r);
    assert_int_equal(ask(r, &a, &left, &spec), ERR_NONE);
    wait_running(r, 1);
    rig_delete(r, "plain", "a");
    signal_workers(r, SIGCONT);
    assert_true(rig_wait(r, all_ended, &left));
    assert_int_equal(a.wait.end, DEMAND_STALE);
    assert_int_equal(rig_count(r, "plain-derived", ""), 0);
    assert_int_equal(variant_rows(r, &spec), 0);
    assert_int_equal(made(r, &spec, NULL), DEMAND_STALE);
}

static void
goes_with_its_source(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    rig_put_file(r, "photos", "a", PHOTO);
    assert_true(rig_wait(r, rig_queue_empty, NULL));
    struct demand_spec spec = spec_of(r, "photos", "a", 100);
    assert_int_equal(made(r, &spec, NULL), DEMAND_STORED);
    assert_int_equal(rig_count(r, "photos-derived", "a/"), 4);
    rig_delete(r, "photos", "a");
    assert_int_equal(rig_count(r, "photos-derived", ""), 0);
    assert_int_equal(variant_rows(r, &spec), 0);
}

/* The event of an overwrite and a demand about the new generation do not wait for each other, and
 * the verdict leaves the demand's picture. */
static void
beside_the_event_of_its_key(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    atomic_int left = 0;
    struct ask a;
    hold_workers(r);
    rig_put_file(r, "photos", "a", PHOTO);
    wait_running(r, 1);
    struct demand_spec spec = spec_of(r, "photos", "a", 100);
    assert_int_equal(ask(r, &a, &left, &spec), ERR_NONE);
    wait_running(r, 2);
    signal_workers(r, SIGCONT);
    assert_true(rig_wait(r, all_ended, &left));
    assert_int_equal(a.wait.end, DEMAND_STORED);
    assert_true(rig_wait(r, rig_queue_empty, NULL));
    assert_int_equal(rig_count(r, "photos-derived", "a/"), 4);
    assert_string_equal(rig_attr(r, "photos", "a", "ready"), "true");
}

/* A demand that hangs does not keep its key's events waiting. */
static void
events_pass_a_demand_of_their_key(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    atomic_int left = 0;
    struct ask a;
    rig_put_file(r, "photos", "a", PHOTO);
    assert_true(rig_wait(r, rig_queue_empty, NULL));
    struct demand_spec spec = spec_of(r, "photos", "a", 100);
    hold_workers(r);
    assert_int_equal(ask(r, &a, &left, &spec), ERR_NONE);
    wait_running(r, 1);
    rig_put_file(r, "photos", "a", PHOTO);
    wait_running(r, 2);
    signal_workers(r, SIGCONT);
    assert_true(rig_wait(r, all_ended, &left));
    assert_int_equal(a.wait.end, DEMAND_STALE);
    assert_true(rig_wait(r, rig_queue_empty, NULL));
    assert_int_equal(rig_count(r, "photos-derived", "a/"), 3);
}

/* ---- bad ends ---- */

static void
text_is_skipped(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    char reason[DEMAND_REASON_MAX];
    plain_photo(r, "a", 100);
    rig_put(r, "plain", "t", SLICE_LIT("just text"), "image/jpeg");
    struct demand_spec spec = spec_of(r, "plain", "t", 100);
    assert_int_equal(made(r, &spec, reason), DEMAND_SKIPPED);
    assert_true(reason[0] != '\0');
    assert_int_equal(rig_count(r, "plain-derived", ""), 0);
    assert_true(told(r, &spec, "\"skipped\""));
}

static void
crash_is_an_error(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    struct demand_spec spec = plain_photo(r, "a", 100);
    atomic_int left = 0;
    struct ask a;
    hold_workers(r);
    assert_int_equal(ask(r, &a, &left, &spec), ERR_NONE);
    wait_running(r, 1);
    kill_the_running_one(r);
    assert_true(rig_wait(r, all_ended, &left));
    assert_int_equal(a.wait.end, DEMAND_ERROR);
    assert_true(a.wait.reason[0] != '\0');
    assert_true(told(r, &spec, "\"crashed\""));
    assert_int_equal(made(r, &spec, NULL), DEMAND_STORED); /* who still wants it asks again */
}

static void
timeout_is_an_error(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    struct rig_patch p = {"thumbnail", {.has_timeout = true, .timeout_s = 1}};
    assert_int_equal(rig_call(r, rig_patch_fn, &p), ERR_NONE);
    struct demand_spec spec = plain_photo(r, "a", 100);
    char reason[DEMAND_REASON_MAX];
    hold_workers(r);
    assert_int_equal(made(r, &spec, reason), DEMAND_ERROR);
    assert_string_equal(reason, "timeout after 1 s");
    signal_workers(r, SIGCONT);
}

static void
key_too_long_is_skipped(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    char key[STORE_KEY_MAX + 1], reason[DEMAND_REASON_MAX];
    memset(key, 'k', sizeof key);
    key[STORE_KEY_MAX - 22] = '\0'; /* one more than "/_0123456789abcdef.webp" leaves */
    struct demand_spec spec = plain_photo(r, key, 100);
    assert_int_equal(made(r, &spec, reason), DEMAND_SKIPPED);
    assert_string_equal(reason, "derived key too long");
    key[STORE_KEY_MAX - 23] = '\0';
    spec = plain_photo(r, key, 100);
    assert_int_equal(made(r, &spec, NULL), DEMAND_STORED);
}

static int
foreign_bucket_fn(struct rig *r, struct db_conn *conn, void *arg)
{
    bool same;
    return store_apply_bucket_create(r->store, conn, slice_str(arg), SLICE_LIT("somebody-else"),
                                     SLICE_LIT("us-east-1"), &same);
}

static void
derived_bucket_must_be_ours(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    char reason[DEMAND_REASON_MAX], foreign[] = "lone-derived";
    assert_int_equal(rig_bucket(r, "lone"), ERR_NONE);
    rig_put_file(r, "lone", "a", PHOTO);
    struct demand_spec spec = spec_of(r, "lone", "a", 100);
    assert_int_equal(made(r, &spec, reason), DEMAND_FAILED);
    assert_string_equal(reason, "the derived bucket does not exist");
    assert_int_equal(rig_call(r, foreign_bucket_fn, foreign), ERR_NONE);
    assert_int_equal(made(r, &spec, reason), DEMAND_FAILED);
    assert_string_equal(reason, "the derived bucket belongs to another account");
    assert_int_equal(rig_count(r, foreign, ""), 0);
}

#define NO_ROOM (INT64_MAX / 4)

/* A full disk costs a picture a second, not one a request. */
static void
nothing_is_made_that_cannot_be_stored(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    char reason[DEMAND_REASON_MAX];
    struct demand_spec spec = plain_photo(r, "a", 100);
    int64_t since_ms = clock_mono_ms();
    int64_t before = stat_get(STAT_invocations_total);
    db_set_reserve(r->db, NO_ROOM);
    for (int i = 0; i < 200; i++) {
        spec.preset = variant(20 + i);
        assert_int_equal(made(r, &spec, reason), DEMAND_ERROR);
    }
    int64_t seconds = (clock_mono_ms() - since_ms) / 1000;
    assert_true(stat_get(STAT_invocations_total) - before <= 1 + seconds);
    db_set_reserve(r->db, 0);
    while (made(r, &spec, reason) != DEMAND_STORED) {
        assert_string_equal(reason, "nothing can be stored at the moment");
        assert_true(clock_mono_ms() - since_ms < RIG_WAIT_MS);
    }
    assert_true(variant_exists(r, "plain-derived", &spec));
}

/* ---- limits ---- */

/* The same data, opened again with a setting. */
static void
reopen_with(struct rig *r, enum conf_id id, const char *value)
{
    rig_shut(r);
    assert_int_equal(conf_set(r->conf, id, value, &r->why), ERR_NONE);
    rig_reopen(r, worker_path);
    rig_start(r);
}

static void
refused_when_too_many_wait(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    atomic_int left = 0;
    struct ask asks[6];
    reopen_with(r, CONF_DEMANDS_MAX, "2");
    plain_photo(r, "a", 100);
    hold_workers(r);
    for (int i = 0; i < 4; i++) {
        struct demand_spec spec = spec_of(r, "plain", "a", 100 + i);
        assert_int_equal(ask(r, &asks[i], &left, &spec), ERR_NONE);
        if (i < 2)
            wait_running(r, (size_t)i + 1);
    }
    assert_int_equal(stat_get(STAT_demands_waiting), 2);
    int64_t refused = stat_get(STAT_demands_refused_total);
    struct demand_spec another = spec_of(r, "plain", "a", 200);
    assert_int_equal(ask(r, &asks[4], &left, &another), ERR_BUSY);
    assert_int_equal(stat_get(STAT_demands_refused_total), refused + 1);
    struct demand_spec equal = spec_of(r, "plain", "a", 103);
    assert_int_equal(ask(r, &asks[5], &left, &equal), ERR_NONE); /* joining is no new work */
    signal_workers(r, SIGCONT);
    assert_true(rig_wait(r, all_ended, &left));
    assert_int_equal(made(r, &another, NULL), DEMAND_STORED);
}

static void
refused_when_too_many_have_joined(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    struct demand_spec spec = plain_photo(r, "a", 100);
    struct ask *asks = chk_calloc(DEMAND_JOINED_MAX + 1, sizeof *asks);
    atomic_int left = 0;
    hold_workers(r);
    for (int i = 0; i < DEMAND_JOINED_MAX; i++)
        assert_int_equal(ask(r, &asks[i], &left, &spec), ERR_NONE);
    assert_int_equal(ask(r, &asks[DEMAND_JOINED_MAX], &left, &spec), ERR_BUSY);
    signal_workers(r, SIGCONT);
    assert_true(rig_wait(r, all_ended, &left));
    assert_int_equal(made(r, &spec, NULL), DEMAND_STORED);
    free(asks);
}

static void
oldest_variant_goes(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    rig_put_file(r, "photos", "a", PHOTO);
    assert_true(rig_wait(r, rig_queue_empty, NULL)); /* its thumbnails are older than all */
    struct demand_spec spec = spec_of(r, "photos", "a", 16);
    for (int i = 0; i < DEMAND_VARIANTS_MAX + 3; i++) {
        spec.preset = variant(16 + i);
        assert_int_equal(made(r, &spec, NULL), DEMAND_STORED);
    }
    assert_int_equal(variant_rows(r, &spec), DEMAND_VARIANTS_MAX);
    assert_int_equal(rig_count(r, "photos-derived", "a/_"), DEMAND_VARIANTS_MAX);
    assert_int_equal(rig_count(r, "photos-derived", "a/"), DEMAND_VARIANTS_MAX + 3);
    for (int i = 0; i < 5; i++) {
        spec.preset = variant(16 + i);
        assert_int_equal(variant_exists(r, "photos-derived", &spec), i >= 3);
    }
}

static int
concurrency(struct rig *r, int reserved)
{
    struct rig_patch p = {"thumbnail", {.has_concurrency = true, .reserved_concurrency = reserved}};
    return rig_call(r, rig_patch_fn, &p);
}

static void
paused_is_an_error(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    char reason[DEMAND_REASON_MAX];
    struct demand_spec spec = plain_photo(r, "a", 100);
    assert_int_equal(concurrency(r, 0), ERR_NONE);
    assert_int_equal(made(r, &spec, reason), DEMAND_ERROR);
    assert_string_equal(reason, "the function is paused: its reserved concurrency is 0");
}

/* Some have their source loaded, some are behind them. */
static void
waits_for_a_worker_so_long(void **state)
{
    struct rig r;
    (void)state;
    atomic_int left = 0;
    struct ask asks[8];
    rig_open(&r, "/nonexistent/darkroom-worker");
    assert_int_equal(conf_set(r.conf, CONF_DEMAND_WAIT, "50", &r.why), ERR_NONE);
    rig_start(&r);
    struct demand_spec spec = plain_photo(&r, "a", 100);
    for (int i = 0; i < 8; i++) {
        spec.preset = variant(100 + i);
        assert_int_equal(ask(&r, &asks[i], &left, &spec), ERR_NONE);
    }
    assert_true(rig_wait(&r, all_ended, &left));
    for (int i = 0; i < 8; i++) {
        assert_int_equal(asks[i].wait.end, DEMAND_ERROR);
        assert_string_equal(asks[i].wait.reason, "no worker was free in time");
    }
    rig_close(&r);
}

/* ---- turns ---- */

/* Attempts of `thumbnail` as they were begun: 'E' for an event, 'D' for a demand. */
static void
order_of_attempts(struct rig *r, char *out, size_t max)
{
    struct db_conn *conn = NULL;
    size_t n = 0;
    CHK(db_read_begin(r->db, &conn) == ERR_NONE);
    struct db_stmt *s = db_prepare(conn, "SELECT event_id FROM attempt WHERE "
                                         "function = 'thumbnail' ORDER BY started_ms, id");
    while (db_step(s) == DB_ROW) {
        CHK(n + 1 < max);
        out[n++] = db_column_int(s, 0) == 0 ? 'D' : 'E';
    }
    out[n] = '\0';
    db_read_end(r->db, &conn);
}

static bool
idle_worker(struct rig *r, void *arg)
{
    (void)arg;
    struct dispatch_state *s = snapshot(r);
    return s->workers.worker_count == 1 && s->workers.workers[0].state == WORKER_IDLE;
}

#define TURNS 8

/* As many of each kind, for workers that are stopped; then the order they were begun in. */
static void
takes_turns(struct rig *r, struct demand_spec spec)
{
    atomic_int left = 0;
    struct ask asks[TURNS];
    char order[64];
    for (int i = 0; i < TURNS; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        rig_put_file(r, "photos", key, PHOTO);
        spec.preset = variant(100 + i);
        assert_int_equal(ask(r, &asks[i], &left, &spec), ERR_NONE);
    }
    signal_workers(r, SIGCONT);
    assert_true(rig_wait(r, all_ended, &left));
    assert_true(rig_wait(r, rig_queue_empty, NULL));
    order_of_attempts(r, order, sizeof order);
    assert_int_equal(strlen(order), 2 * TURNS);
    if (strstr(order, "EEEE") != NULL || strstr(order, "DDDD") != NULL)
        fail_msg("no turns: %s", order);
}

/* One worker, as many of each kind: none of them waits for the other kind to end. */
static void
one_worker_takes_turns(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    reopen_with(r, CONF_WORKERS, "1");
    struct demand_spec spec = plain_photo(r, "a", 100);
    assert_true(rig_wait(r, idle_worker, NULL));
    signal_workers(r, SIGSTOP);
    takes_turns(r, spec);
}

/* The same for the one place of a function with reserved concurrency. */
static void
one_place_takes_turns(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    struct demand_spec spec = plain_photo(r, "a", 100);
    assert_int_equal(concurrency(r, 1), ERR_NONE);
    hold_workers(r);
    takes_turns(r, spec);
}

static int
thumbnails_running(struct rig *r)
{
    struct dispatch_state *s = snapshot(r);
    int count = 0;
    for (size_t i = 0; i < s->running_count; i++)
        count += strstr(s->running[i].functions, "thumbnail") != NULL;
    return count;
}

/* One place, two demands and an event: the other worker gets what is not `thumbnail`. */
static void
demands_count_towards_the_limit(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    atomic_int left = 0;
    struct ask asks[2];
    struct demand_spec spec = plain_photo(r, "a", 100);
    assert_int_equal(concurrency(r, 1), ERR_NONE);
    hold_workers(r);
    for (int i = 0; i < 2; i++) {
        spec.preset = variant(100 + i);
        assert_int_equal(ask(r, &asks[i], &left, &spec), ERR_NONE);
    }
    wait_running(r, 1);
    rig_put_file(r, "photos", "e", PHOTO);
    wait_running(r, 2);
    assert_int_equal(thumbnails_running(r), 1);
    signal_workers(r, SIGCONT);
    assert_true(rig_wait(r, all_ended, &left));
    assert_true(rig_wait(r, rig_queue_empty, NULL));
    assert_int_equal(rig_count(r, "plain-derived", "a/_"), 2);
    assert_int_equal(rig_count(r, "photos-derived", "e/"), 3);
}

static int64_t
running_pid(struct rig *r)
{
    struct dispatch_state *s = snapshot(r);
    for (size_t i = 0; i < s->workers.worker_count; i++) {
        enum worker_state w = s->workers.workers[i].state;
        if (w == WORKER_ADMITTING || w == WORKER_RUNNING)
            return s->workers.workers[i].pid;
    }
    return 0;
}

/* One of two workers holds a demand; the other does all live events before it takes another. */
static void
one_worker_stays_for_live_events(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    atomic_int left = 0, first_left = 0;
    struct ask first, asks[2];
    char order[64];
    struct demand_spec spec = plain_photo(r, "a", 100);
    hold_workers(r);
    rig_put_file(r, "photos", "e1", PHOTO);
    wait_running(r, 1);
    pid_t pid = (pid_t)running_pid(r);
    assert_int_equal(ask(r, &first, &first_left, &spec), ERR_NONE);
    wait_running(r, 2);
    rig_put_file(r, "photos", "e2", PHOTO);
    rig_put_file(r, "photos", "e3", PHOTO);
    for (int i = 0; i < 2; i++) {
        spec.preset = variant(200 + i);
        assert_int_equal(ask(r, &asks[i], &left, &spec), ERR_NONE);
    }
    kill(pid, SIGCONT);
    assert_true(rig_wait(r, all_ended, &left));
    order_of_attempts(r, order, sizeof order);
    assert_string_equal(order, "EEEDD");
    assert_int_equal(first_left, 1);
    signal_workers(r, SIGCONT);
    assert_true(rig_wait(r, all_ended, &first_left));
}

/* ---- shutdown ---- */

static void
shutdown_ends_every_wait(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    atomic_int left = 0;
    struct ask asks[20], late;
    struct demand_spec spec = plain_photo(r, "a", 100);
    hold_workers(r);
    for (int i = 0; i < 20; i++) {
        spec.preset = variant(100 + i / 2);
        assert_int_equal(ask(r, &asks[i], &left, &spec), ERR_NONE);
    }
    wait_running(r, 2);
    pipeline_stop(r->pipeline, 0);
    r->started = false;
    assert_int_equal(left, 0);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(asks[i].wait.end, DEMAND_ERROR);
        assert_string_equal(asks[i].wait.reason, "shutting down");
    }
    assert_int_equal(ask(r, &late, &left, &spec), ERR_CANCELED);
    assert_int_equal(stat_get(STAT_demands_waiting), 0);
    assert_int_equal(rig_count(r, "plain-derived", ""), 0);
    rig_start(r);
    assert_int_equal(made(r, &spec, NULL), DEMAND_STORED);
}

static void
shutdown_lets_a_running_one_finish(void **state)
{
    struct rig *r = *state;
    NEED_WORKER(r);
    atomic_int left = 0;
    struct ask a;
    struct demand_spec spec = plain_photo(r, "a", 100);
    hold_workers(r);
    assert_int_equal(ask(r, &a, &left, &spec), ERR_NONE);
    wait_running(r, 1);
    signal_workers(r, SIGCONT);
    pipeline_stop(r->pipeline, RIG_WAIT_MS);
    r->started = false;
    assert_int_equal(left, 0);
    assert_int_equal(a.wait.end, DEMAND_STORED);
    assert_true(variant_exists(r, "plain-derived", &spec));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        T(made_and_stored),
        T(avif_is_made_too),
        T(at_hand_needs_no_worker),
        T(a_thousand_joins_are_one_decode),
        T(overwritten_while_running),
        T(deleted_while_running),
        T(goes_with_its_source),
        T(beside_the_event_of_its_key),
        T(events_pass_a_demand_of_their_key),
        T(text_is_skipped),
        T(crash_is_an_error),
        T(timeout_is_an_error),
        T(key_too_long_is_skipped),
        T(derived_bucket_must_be_ours),
        T(nothing_is_made_that_cannot_be_stored),
        T(refused_when_too_many_wait),
        T(refused_when_too_many_have_joined),
        T(oldest_variant_goes),
        T(paused_is_an_error),
        T(demands_count_towards_the_limit),
        T(one_worker_takes_turns),
        T(one_place_takes_turns),
        T(one_worker_stays_for_live_events),
        T(shutdown_ends_every_wait),
        T(shutdown_lets_a_running_one_finish),
        cmocka_unit_test(waits_for_a_worker_so_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
