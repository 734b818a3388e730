/* Rows of webhooks and their delivery: a real database, real notices, receivers on real sockets. */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "base/stat.h"
#include "pipeline/notifier.h"
#include "pipeline/schema.h"
#include "pipeline/webhook.h"
#include "pipeline/webhook_send.h"
#include "tests/lib/receiver.h"
#include "tests/lib/testdir.h"

#include <inttypes.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SECRET "0123456789abcdef"
#define WAIT_MS 300000
#define NO "HTTP/1.1 500 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

struct world {
    char *dir;
    char path[512];
    struct conf *conf;
    struct db *db;
    struct notifier *notifier;
    struct webhooks *webhooks;
    struct receiver *r, *other;
};

/* ---- the world ---- */

static void
set(struct world *w, enum conf_id id, const char *value)
{
    struct buf why;
    buf_init(&why, 1024);
    CHK(conf_set(w->conf, id, value, &why) == ERR_NONE);
    buf_fini(&why);
}

static void
up(struct world *w)
{
    struct buf why;
    struct db_options options = {.path = w->path, .schema = *pipeline_schema()};
    buf_init(&why, 1024);
    CHK(db_open(&w->db, &options) == ERR_NONE);
    db_set_reserve(w->db, 0);
    w->notifier = notifier_new(w->db);
    struct webhooks_options o = {.db = w->db, .conf = w->conf, .notifier = w->notifier};
    CHK(webhooks_new(&w->webhooks, &o, &why) == ERR_NONE);
    CHK(notifier_start(w->notifier) == ERR_NONE);
    CHK(webhooks_start(w->webhooks) == ERR_NONE);
    buf_fini(&why);
}

static void
down(struct world *w)
{
    webhooks_stop(w->webhooks);
    notifier_stop(w->notifier);
    db_thread_end(w->db);
    db_close(&w->db);
    notifier_free(&w->notifier);
    webhooks_free(&w->webhooks);
}

static int
setup(void **state)
{
    struct world *w = chk_calloc(1, sizeof *w);
    char hosts[128];
    w->dir = testdir_make();
    snprintf(w->path, sizeof w->path, "%s/meta.db", w->dir);
    w->conf = conf_new();
    w->r = receiver_start();
    w->other = receiver_start();
    snprintf(hosts, sizeof hosts, "%s,%s", receiver_address(w->r), receiver_address(w->other));
    set(w, CONF_WEBHOOK_HOSTS, hosts);
    set(w, CONF_WEBHOOK_RETRY, "1");
    up(w);
    *state = w;
    return 0;
}

static int
teardown(void **state)
{
    struct world *w = *state;
    down(w);
    receiver_stop(&w->r);
    receiver_stop(&w->other);
    conf_free(&w->conf);
    testdir_remove(&w->dir);
    free(w);
    return 0;
}

/* ---- operations ---- */

struct act {
    struct db_op op;
    int (*fn)(struct act *a, struct db_conn *conn);
    struct webhook hook;
    struct buf *why;
    int64_t id;
    int64_t given_up_more, given_up;
    const char *bucket, *prefix;
    int from, to;
};

static int
act_apply(struct db_op *op, struct db_conn *conn)
{
    struct act *a = CONTAINER_OF(op, struct act, op);
    return a->fn(a, conn);
}

static int
act(struct world *w, struct act *a)
{
    a->op = (struct db_op){.apply = act_apply};
    return db_call(w->db, &a->op);
}

static int
add_fn(struct act *a, struct db_conn *conn)
{
    return webhook_apply_add(conn, &a->hook, a->why);
}

static int
remove_fn(struct act *a, struct db_conn *conn)
{
    return webhook_apply_remove(conn, a->id);
}

static int
progress_fn(struct act *a, struct db_conn *conn)
{
    return webhook_apply_progress(conn, &a->hook.progress, a->given_up_more, &a->given_up);
}

static int
notices_fn(struct act *a, struct db_conn *conn)
{
    int err = ERR_NONE;
    for (int i = a->from; i < a->to && err == ERR_NONE; i++) {
        char key[64];
        snprintf(key, sizeof key, "%s%d", a->prefix, i);
        struct notice n = {.kind = NOTICE_READY,
                           .bucket_id = 1,
                           .bucket = slice_str(a->bucket),
                           .key = slice_str(key),
                           .generation = i + 1,
                           .version_id = SLICE_LIT("null"),
                           .detail = SLICE_LIT("{}")};
        err = notice_apply_add(conn, &n);
        a->id = n.id;
    }
    return err;
}

/* Keys PREFIX0 ...; the id of the last one. */
static int64_t
notices(struct world *w, const char *bucket, const char *prefix, int from, int to)
{
    struct act a = {.fn = notices_fn, .bucket = bucket, .prefix = prefix, .from = from, .to = to};
    CHK(act(w, &a) == ERR_NONE);
    return a.id;
}

static int
try_add(struct world *w, const char *bucket, const char *prefix, const char *url, int64_t *id)
{
    struct buf why;
    buf_init(&why, 1024);
    struct act a = {.fn = add_fn,
                    .why = &why,
                    .hook = {.bucket = slice_str(bucket),
                             .prefix = slice_str(prefix),
                             .url = slice_str(url),
                             .secret = SLICE_LIT(SECRET)}};
    int err = act(w, &a);
    assert_true((err == ERR_NONE) == (why.n == 0));
    buf_fini(&why);
    *id = a.hook.progress.id;
    if (err == ERR_NONE)
        webhooks_changed(w->webhooks);
    return err;
}

static int64_t
add(struct world *w, const char *prefix, const char *url)
{
    int64_t id;
    CHK(try_add(w, "photos", prefix, url, &id) == ERR_NONE);
    return id;
}

static int
drop(struct world *w, int64_t id)
{
    struct act a = {.fn = remove_fn, .id = id};
    int err = act(w, &a);
    webhooks_changed(w->webhooks);
    return err;
}

/* ---- looking ---- */

struct look {
    int64_t id;
    int count;
    int64_t given_up;
    struct webhook_progress progress;
};

static int
look_fn(void *arg, const struct webhook *h)
{
    struct look *l = arg;
    l->count++;
    if (h->progress.id != l->id)
        return 0;
    l->given_up = h->given_up;
    l->progress = h->progress;
    return 0;
}

static struct look
look(struct world *w, int64_t id)
{
    struct db_conn *conn = NULL;
    struct look l = {.id = id};
    CHK(db_read_begin(w->db, &conn) == ERR_NONE);
    CHK(webhook_list(conn, look_fn, &l) == ERR_NONE);
    db_read_end(w->db, &conn);
    return l;
}

static void
until(struct world *w, int64_t id, bool (*cond)(const struct look *l, int64_t n), int64_t n)
{
    int64_t deadline_ms = clock_mono_ms() + WAIT_MS;
    for (;;) {
        struct look l = look(w, id);
        if (cond(&l, n))
            return;
        if (clock_mono_ms() > deadline_ms)
            fail_msg("told %" PRId64 " given up %" PRId64 " attempts %" PRId64 " error \"%s\"",
                     l.progress.told, l.given_up, l.progress.attempts, l.progress.last_error);
        poll(NULL, 0, 2);
    }
}

static bool
is_told(const struct look *l, int64_t n)
{
    return l->progress.told == n;
}

static bool
is_given_up(const struct look *l, int64_t n)
{
    return l->given_up == n;
}

static bool
has_attempts(const struct look *l, int64_t n)
{
    return l->progress.attempts >= n;
}

/* The i-th request is a notice of this key, and signed. */
static void
expect_key(struct receiver *r, size_t i, const char *key)
{
    char signature[WEBHOOK_SIGNATURE_MAX];
    uint64_t then;
    struct slice body = receiver_body(r, i);
    json_t *notice = json_read(body, NULL);
    assert_non_null(notice);
    assert_string_equal(json_string_value(json_object_get(notice, "key")), key);
    assert_true(slice_eq(json_get_str(notice, "id"), receiver_header(r, i, "X-Darkroom-Id")));
    json_decref(notice);
    assert_int_equal(slice_to_u64(receiver_header(r, i, "X-Darkroom-Timestamp"), &then), 0);
    webhook_sign(SLICE_LIT(SECRET), (int64_t)then, body, signature);
    assert_true(slice_eqs(receiver_header(r, i, "X-Darkroom-Signature"), signature));
}

/* ---- rows ---- */

static void
rows(void **state)
{
    struct world *w = *state;
    int64_t first, id = 0;
    char url[64];
    int64_t newest = notices(w, "photos", "old", 0, 3);
    assert_int_equal(try_add(w, "photos", "a/", "http://one/", &first), ERR_NONE);
    struct look l = look(w, first);
    assert_int_equal(l.count, 1);
    assert_int_equal(l.progress.told_id, newest); /* what came before is not told */
    assert_int_equal(try_add(w, "photos", "a/", "http://one/", &id), ERR_EXISTS);
    for (int i = 1; i < WEBHOOKS_MAX; i++) {
        snprintf(url, sizeof url, "http://one/%d", i);
        assert_int_equal(try_add(w, "photos", "a/", url, &id), ERR_NONE);
        assert_true(id > first);
    }
    assert_int_equal(try_add(w, "photos", "b/", "http://one/", &id), ERR_CONFLICT);
    assert_int_equal(drop(w, first), ERR_NONE);
    assert_int_equal(drop(w, first), ERR_NOTFOUND);
    assert_int_equal(look(w, first).count, WEBHOOKS_MAX - 1);
    assert_int_equal(try_add(w, "photos", "a/", "http://one/", &id), ERR_NONE);
    assert_true(id > first); /* an id is never another hook's */
}

static void
progress(void **state)
{
    struct world *w = *state;
    int64_t id;
    assert_int_equal(try_add(w, "elsewhere", "", "http://one/", &id), ERR_NONE);
    struct act a = {.fn = progress_fn,
                    .given_up_more = 2,
                    .hook.progress = {.id = id,
                                      .told_id = 50,
                                      .attempts = 3,
                                      .not_before_ms = 4,
                                      .failing_since_ms = 5,
                                      .told = 6,
                                      .last_error = "no"}};
    assert_int_equal(act(w, &a), ERR_NONE);
    assert_int_equal(act(w, &a), ERR_NONE);
    struct look l = look(w, id);
    assert_int_equal(a.given_up, 4);
    assert_int_equal(l.given_up, 4);
    assert_int_equal(l.progress.told_id, 50);
    assert_int_equal(l.progress.attempts, 3);
    assert_int_equal(l.progress.not_before_ms, 4);
    assert_int_equal(l.progress.failing_since_ms, 5);
    assert_int_equal(l.progress.told, 6);
    assert_string_equal(l.progress.last_error, "no");
    a.hook.progress.told_id = 49;
    assert_int_equal(act(w, &a), ERR_NOTFOUND); /* not back */
    a.hook.progress.id = id + 100;
    assert_int_equal(act(w, &a), ERR_NOTFOUND);
    assert_int_equal(look(w, id).progress.told_id, 50);
}

/* ---- delivery ---- */

static void
in_order_each_its_own(void **state)
{
    struct world *w = *state;
    int64_t id = add(w, "a/", receiver_url(w->r, "/a"));
    int64_t all = add(w, "", receiver_url(w->other, "/all"));
    char key[32];
    for (int i = 0; i < 20; i++) {
        notices(w, "photos", "a/", i, i + 1);
        notices(w, "photos", "b/", i, i + 1);
        notices(w, "private", "a/", i, i + 1);
    }
    notices(w, "photos", "b/", 20, 620); /* more than is looked through at once */
    notices(w, "photos", "a/", 20, 21);
    until(w, id, is_told, 21);
    until(w, all, is_told, 641);
    for (int i = 0; i < 21; i++) {
        snprintf(key, sizeof key, "a/%d", i);
        expect_key(w->r, (size_t)i, key);
    }
    for (int i = 0; i < 40; i++) {
        snprintf(key, sizeof key, "%c/%d", i % 2 == 0 ? 'a' : 'b', i / 2);
        expect_key(w->other, (size_t)i, key);
    }
    /* What was told is not told again after a restart. */
    down(w);
    up(w);
    notices(w, "photos", "a/", 21, 22);
    assert_true(receiver_wait(w->r, 22) && receiver_wait(w->other, 642));
    expect_key(w->r, 21, "a/21");
    expect_key(w->other, 641, "a/21");
}

static void
again_until_taken(void **state)
{
    struct world *w = *state;
    int64_t failed = stat_get(STAT_webhook_failed_total);
    int64_t id = add(w, "", receiver_url(w->r, "/"));
    receiver_answer(w->r, NO);
    notices(w, "photos", "k", 0, 3);
    assert_true(receiver_wait(w->r, 4));
    until(w, id, has_attempts, 3);
    assert_string_equal(look(w, id).progress.last_error, "answered 500");
    receiver_answer(w->r, RECEIVER_TAKES);
    until(w, id, is_told, 3);
    size_t count = receiver_count(w->r);
    assert_true(count >= 6);
    for (size_t i = 0; i < count; i++)
        expect_key(w->r, i, i < count - 2 ? "k0" : i == count - 2 ? "k1" : "k2");
    struct look l = look(w, id);
    assert_int_equal(l.progress.attempts, 0);
    assert_int_equal(l.progress.failing_since_ms, 0);
    assert_int_equal(l.given_up, 0);
    assert_string_equal(l.progress.last_error, "");
    assert_int_equal(stat_get(STAT_webhook_failed_total) - failed, (int64_t)count - 3);
}

/* After attempt i at least half of 2^(i-1) times the setting: 1 + 1 + 2 + 4 ... 128 ms. */
static void
ever_longer(void **state)
{
    struct world *w = *state;
    int64_t begun_ms = clock_mono_ms();
    add(w, "", receiver_url(w->r, "/"));
    receiver_answer(w->r, NO);
    notices(w, "photos", "k", 0, 1);
    assert_true(receiver_wait(w->r, 10));
    assert_true(clock_mono_ms() - begun_ms >= 240);
}

static bool
is_failing(const struct look *l, int64_t n)
{
    return l->progress.attempts == n;
}

static void
slowly(struct world *w)
{
    down(w);
    set(w, CONF_WEBHOOK_RETRY, "100000");
    up(w);
}

/* The i-th delay is the setting, doubled i - 1 times up to five minutes, less at most half of it.
 * What a process finds in the row is due when the clock on the wall says so. */
static void
how_long(void **state)
{
    static const int64_t most_ms[] = {100000, 200000, WEBHOOK_RETRY_MS_MAX, WEBHOOK_RETRY_MS_MAX};
    struct world *w = *state;
    int64_t shifted_ms = 0, before_ms = clock_wall_ms();
    slowly(w);
    int64_t id = add(w, "", receiver_url(w->r, "/"));
    receiver_answer(w->r, NO);
    notices(w, "photos", "k", 0, 1);
    for (size_t i = 0; i < ARRAY_LEN(most_ms); i++) {
        until(w, id, is_failing, (int64_t)i + 1);
        int64_t due_ms = look(w, id).progress.not_before_ms;
        assert_true(due_ms >= before_ms + most_ms[i] / 2);
        assert_true(due_ms <= clock_wall_ms() + most_ms[i]);
        down(w);
        clock_shift_wall(most_ms[i]);
        shifted_ms += most_ms[i];
        before_ms = clock_wall_ms();
        up(w);
    }
    clock_shift_wall(-shifted_ms);
    receiver_answer(w->r, RECEIVER_TAKES);
}

/* A delay holds in a new process, and whatever comes for the hook meanwhile. */
static void
not_before_its_time(void **state)
{
    struct world *w = *state;
    slowly(w);
    int64_t id = add(w, "", receiver_url(w->r, "/"));
    receiver_answer(w->r, NO);
    notices(w, "photos", "k", 0, 1);
    until(w, id, is_failing, 1);
    int64_t due_ms = look(w, id).progress.not_before_ms;
    receiver_answer(w->r, RECEIVER_TAKES);
    for (int i = 1; i < 3; i++) {
        int64_t other = add(w, "", receiver_url(w->other, i == 1 ? "/" : "/again"));
        notices(w, "photos", "k", i, i + 1);
        until(w, other, is_told, 1); /* all have been looked at */
        assert_true(receiver_count(w->r) == 1 || clock_wall_ms() >= due_ms);
        down(w);
        up(w);
    }
}

/* Nothing counts as told before the 2xx: who restarts in between sends it again. */
static void
not_told_before_the_answer(void **state)
{
    struct world *w = *state;
    int64_t id = add(w, "", receiver_url(w->r, "/"));
    receiver_answer(w->r, NULL);
    notices(w, "photos", "k", 0, 2);
    assert_true(receiver_wait(w->r, 1));
    assert_int_equal(look(w, id).progress.told, 0);
    down(w);
    receiver_answer(w->r, RECEIVER_TAKES);
    up(w);
    until(w, id, is_told, 2);
    assert_int_equal(receiver_count(w->r), 3);
    expect_key(w->r, 0, "k0");
    expect_key(w->r, 1, "k0");
    expect_key(w->r, 2, "k1");
}

/* Also a failing one goes on where it was. */
static void
failing_over_a_restart(void **state)
{
    struct world *w = *state;
    int64_t id = add(w, "", receiver_url(w->r, "/"));
    receiver_answer(w->r, NO);
    notices(w, "photos", "k", 0, 1);
    until(w, id, has_attempts, 2);
    down(w);
    size_t count = receiver_count(w->r);
    int64_t attempts;
    up(w);
    attempts = look(w, id).progress.attempts;
    assert_true(attempts >= 2);
    until(w, id, has_attempts, attempts + 1);
    assert_true(receiver_count(w->r) > count);
    receiver_answer(w->r, RECEIVER_TAKES);
    until(w, id, is_told, 1);
}

static void
dead_ones_block_nobody(void **state)
{
    struct world *w = *state;
    add(w, "", receiver_url(w->r, "/hangs"));
    add(w, "", "http://127.0.0.1:1/"); /* not in the list */
    int64_t id = add(w, "", receiver_url(w->other, "/"));
    receiver_answer(w->r, NULL);
    notices(w, "photos", "k", 0, 50);
    assert_true(receiver_wait(w->r, 1));
    until(w, id, is_told, 50);
    assert_int_equal(receiver_count(w->r), 1); /* one at a time */
}

static void
removed_is_silent(void **state)
{
    struct world *w = *state;
    int64_t gone = add(w, "", receiver_url(w->r, "/"));
    int64_t id = add(w, "", receiver_url(w->other, "/"));
    receiver_answer(w->r, NULL);
    notices(w, "photos", "k", 0, 1);
    assert_true(receiver_wait(w->r, 1));
    assert_int_equal(drop(w, gone), ERR_NONE);
    receiver_answer(w->r, RECEIVER_TAKES);
    notices(w, "photos", "k", 1, 20);
    until(w, id, is_told, 20);
    assert_int_equal(receiver_count(w->r), 1);
}

static void
hosts_are_asked_again(void **state)
{
    struct world *w = *state;
    char hosts[128];
    int64_t id = add(w, "", receiver_url(w->r, "/"));
    down(w);
    snprintf(hosts, sizeof hosts, "%s", conf_str(w->conf, CONF_WEBHOOK_HOSTS));
    set(w, CONF_WEBHOOK_HOSTS, receiver_address(w->other));
    up(w);
    notices(w, "photos", "k", 0, 1);
    until(w, id, has_attempts, 3);
    assert_non_null(strstr(look(w, id).progress.last_error, "webhook.hosts"));
    assert_int_equal(receiver_count(w->r), 0);
    down(w);
    set(w, CONF_WEBHOOK_HOSTS, hosts); /* and nothing is lost when it was a mistake */
    up(w);
    until(w, id, is_told, 1);
}

static void
given_up_at_last(void **state)
{
    struct world *w = *state;
    int64_t given_up = stat_get(STAT_webhook_given_up_total);
    int64_t id = add(w, "", receiver_url(w->r, "/"));
    int64_t other = add(w, "other/", receiver_url(w->other, "/"));
    receiver_answer(w->r, NO);
    notices(w, "photos", "k", 0, 3);
    notices(w, "photos", "x", 3, 4);
    notices(w, "private", "k", 4, 6);
    until(w, id, has_attempts, 2);
    clock_shift_wall(WEBHOOK_GIVE_UP_MS);
    until(w, id, is_given_up, 1);
    until(w, id, has_attempts, 1); /* the next one's own time */
    assert_true(look(w, id).progress.failing_since_ms > clock_wall_ms() - WAIT_MS * 2);
    /* The notices are trimmed at the same age, by the next one: 2 that begin with k, and x. */
    clock_shift_wall(1000);
    notices(w, "photos", "k", 6, 7);
    until(w, id, is_given_up, 4);
    receiver_answer(w->r, RECEIVER_TAKES);
    until(w, id, is_told, 1);
    expect_key(w->r, receiver_count(w->r) - 1, "k6");
    assert_int_equal(look(w, id).given_up, 4);
    assert_int_equal(look(w, other).given_up, 0); /* none was for it */
    assert_int_equal(stat_get(STAT_webhook_given_up_total) - given_up, 4);
    assert_int_equal(receiver_count(w->other), 0);
    clock_shift_wall(-WEBHOOK_GIVE_UP_MS - 1000);
}

static void
bad_setting(void **state)
{
    struct world *w = *state;
    struct webhooks *none = NULL;
    struct buf why;
    buf_init(&why, 1024);
    set(w, CONF_WEBHOOK_HOSTS, "good,http://bad/");
    struct webhooks_options o = {.db = w->db, .conf = w->conf, .notifier = w->notifier};
    assert_int_equal(webhooks_new(&none, &o, &why), ERR_INVALID);
    assert_string_equal(why.p, "webhook.hosts: \"http://bad/\" is not HOST or HOST:PORT");
    assert_null(none);
    buf_fini(&why);
}

int
main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(rows),
        CASE(progress),
        CASE(in_order_each_its_own),
        CASE(again_until_taken),
        CASE(ever_longer),
        CASE(how_long),
        CASE(not_before_its_time),
        CASE(not_told_before_the_answer),
        CASE(failing_over_a_restart),
        CASE(dead_ones_block_nobody),
        CASE(removed_is_silent),
        CASE(hosts_are_asked_again),
        CASE(given_up_at_last),
        CASE(bad_setting),
    };
#undef CASE
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
