/*
 * The pool of workers alone, against a worker program that misbehaves on purpose
 * (tests/lib/badworker.c). Whatever a worker does: the invocation ends with the right outcome and a
 * reason to read, the next one is served, and no descriptor, process or zombie is left behind.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fsio.h"
#include "functions/preset.h"
#include "pipeline/runtime_priv.h"
#include "tests/lib/testdir.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define WAIT_MS 300000
#define LOOK_MS 10
#define LONG_MS 60000
#define SHORT_MS 200
#define GRANTED_MS 1500 /* SHORT_MS, with room for a slow machine to ask and be granted */
#define HELLO_MS 4000
#define MEMORY_BYTES ((int64_t)256 << 20)
#define ARENA_BYTES (1u << 20)

static char badworker[PATH_MAX];

/* ---- the pool under test ---- */

struct pool {
    char *dir;
    char program[PATH_MAX]; /* a link in dir: its name says how the worker starts */
    uv_loop_t loop;
    uv_timer_t look; /* wakes the loop, so that conditions are looked at */
    struct runtime *rt;
    bool stopped;
    int64_t begun_ms;
};

static void
on_look(uv_timer_t *timer)
{
    (void)timer;
}

static void
on_event(void *arg)
{
    (void)arg;
}

static void
on_stopped(void *arg)
{
    struct pool *p = arg;
    p->stopped = true;
}

static void
pool_link(struct pool *p, const char *to)
{
    char fresh[PATH_MAX + 8];
    snprintf(fresh, sizeof fresh, "%s.new", p->program);
    assert_int_equal(symlink(to, fresh), 0);
    assert_int_equal(rename(fresh, p->program), 0);
}

static void
pool_open(struct pool *p, const char *start, int count)
{
    *p = (struct pool){.dir = testdir_make(), .begun_ms = clock_mono_ms()};
    snprintf(p->program, sizeof p->program, "%s/badworker%s", p->dir, start);
    pool_link(p, badworker);
    assert_int_equal(uv_loop_init(&p->loop), 0);
    assert_int_equal(uv_timer_init(&p->loop, &p->look), 0);
    assert_int_equal(uv_timer_start(&p->look, on_look, LOOK_MS, LOOK_MS), 0);
    struct runtime_options o = {.loop = &p->loop,
                                .program = p->program,
                                .sandbox = "auto",
                                .count = count,
                                .memory_mb = 1024,
                                .recycle_invocations = 1000,
                                .recycle_rss_bytes = INT64_C(1) << 40,
                                .hello_ms_max = HELLO_MS,
                                .memory_budget_bytes = INT64_C(4) << 30,
                                .on_idle = on_event,
                                .on_down = on_event,
                                .arg = p};
    assert_int_equal(runtime_start(&p->rt, &o), ERR_NONE);
}

#define UNTIL(p, condition)                                                  \
    do {                                                                     \
        int64_t until_ms = clock_mono_ms() + WAIT_MS;                        \
        while (!(condition)) {                                               \
            if (clock_mono_ms() > until_ms)                                  \
                fail_msg("%s: not within %d s", #condition, WAIT_MS / 1000); \
            uv_run(&(p)->loop, UV_RUN_ONCE);                                 \
        }                                                                    \
    } while (0)

static const struct runtime_view *
view(const struct pool *p)
{
    static struct runtime_view v;
    runtime_view(p->rt, &v);
    return &v;
}

static bool
says(const struct pool *p, const char *problem)
{
    return strstr(view(p)->problem, problem) != NULL;
}

/* ---- what is left behind ---- */

static int
fd_count(void)
{
    int count = 0;
    DIR *d = opendir("/proc/self/fd");
    CHK(d != NULL);
    while (readdir(d) != NULL)
        count++;
    closedir(d);
    return count;
}

static size_t
read_proc(const char *pid, const char *name, char *out, size_t n)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "/proc/%s/%s", pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : read(fd, out, n - 1);
    if (fd >= 0)
        close(fd);
    out[got > 0 ? got : 0] = '\0';
    return got > 0 ? (size_t)got : 0;
}

static bool
is_worker(const struct runtime_view *v, long pid)
{
    for (size_t i = 0; i < v->worker_count; i++)
        if (v->workers[i].pid == pid)
            return true;
    return false;
}

/* Our zombies, and processes of the program that are no worker of the pool. */
static int
strangers(const struct pool *p)
{
    int count = 0;
    char text[PATH_MAX];
    DIR *d = opendir("/proc");
    CHK(d != NULL);
    for (const struct dirent *e; (e = readdir(d)) != NULL;) {
        if (!isdigit((unsigned char)e->d_name[0]))
            continue;
        read_proc(e->d_name, "stat", text, sizeof text);
        const char *behind = strrchr(text, ')');
        if (behind != NULL && behind[2] == 'Z' && strtol(behind + 3, NULL, 10) == getpid())
            count++;
        read_proc(e->d_name, "cmdline", text, sizeof text);
        if (p->rt == NULL || !is_worker(view(p), strtol(e->d_name, NULL, 10)))
            count += strcmp(text, p->program) == 0;
    }
    closedir(d);
    return count;
}

/* Whatever the workers do at that moment. */
static void
pool_close(struct pool *p)
{
    runtime_stop(p->rt, on_stopped, p);
    UNTIL(p, p->stopped);
    runtime_free(&p->rt);
    UNTIL(p, strangers(p) == 0);
    uv_close((uv_handle_t *)&p->look, NULL);
    uv_run(&p->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&p->loop), 0);
    testdir_remove(&p->dir);
}

/* ---- invocations ---- */

struct run {
    struct invocation inv;
    char hints[64];
    bool ended;
    int fds; /* at that moment */
};

static void
on_done(struct invocation *inv)
{
    struct run *r = CONTAINER_OF(inv, struct run, inv);
    r->ended = true;
    r->fds = fd_count();
}

static void
begin(struct pool *p, struct run *r, const char *kind, int64_t timeout_ms)
{
    static const char config[] = "small 16 16 cover webp 80 centre\n";
    *r = (struct run){0};
    int n = snprintf(r->hints, sizeof r->hints, "x-amz-meta-bad%c%s%c", 0, kind, 0);
    r->inv = (struct invocation){
        .request = {.source_bytes = 1,
                    .source_hints = slice_of(r->hints, (size_t)n),
                    .pixels_frame_max = 1,
                    .pixels_total_max = 1,
                    .memory_bytes_max = MEMORY_BYTES,
                    .deadline_ms = timeout_ms,
                    .calls = {{SLICE_LIT("thumbnail"), slice_str(config)}},
                    .call_count = 1},
        .source_fd = fsio_memfd("source", SLICE_LIT("x")),
        .timeout_ms = timeout_ms,
        .memory_bytes = MEMORY_BYTES,
        .arena = arena_new(ARENA_BYTES),
        .done = on_done,
    };
    UNTIL(p, runtime_idle_count(p->rt) > 0);
    assert_int_equal(runtime_invoke(p->rt, &r->inv), ERR_NONE);
}

static void
end(struct run *r)
{
    fn_result_close(&r->inv.result);
    arena_free(&r->inv.arena);
}

static void
serve_well(struct pool *p, const char *after)
{
    struct run r;
    begin(p, &r, "", LONG_MS);
    UNTIL(p, r.ended);
    if (r.inv.outcome != INVOKE_ANSWERED)
        fail_msg("after %s: %s: %s", after, invoke_outcome_name(r.inv.outcome), r.inv.reason);
    assert_int_equal(r.inv.result.answers[0].output_count, 1);
    end(&r);
}

static int
restarts(const struct pool *p)
{
    return view(p)->workers[0].restarts;
}

struct expected {
    const char *kind;
    enum invoke_outcome outcome;
    const char *reason;
    int64_t timeout_ms;
    bool replaced; /* ANSWERED, and yet its worker must go */
};

static void
check(struct pool *p, const struct expected *x, int fds)
{
    struct run r;
    int before = restarts(p);
    begin(p, &r, x->kind, x->timeout_ms);
    UNTIL(p, r.ended);
    /* The worker is gone, and what it had sent with it. */
    if (x->outcome != INVOKE_ANSWERED && r.fds >= fds)
        fail_msg("%s: %d descriptors at once, %d before", x->kind, r.fds, fds);
    if (r.inv.outcome != x->outcome || strstr(r.inv.reason, x->reason) == NULL)
        fail_msg("%s: %s: %s", x->kind, invoke_outcome_name(r.inv.outcome), r.inv.reason);
    if (x->outcome != INVOKE_ANSWERED || x->replaced)
        UNTIL(p, restarts(p) == before + 1);
    end(&r);
    serve_well(p, x->kind);
}

/* Each in turn on one worker, which must be as good as new afterwards. */
static void
check_all(struct pool *p, const struct expected *list, size_t n)
{
    serve_well(p, "the start");
    int fds = fd_count();
    for (size_t i = 0; i < n; i++) {
        check(p, &list[i], fds);
        if (fd_count() != fds)
            fail_msg("%s: %d descriptors and not %d", list[i].kind, fd_count(), fds);
        UNTIL(p, strangers(p) == 0);
    }
}

#define CHECK_ALL(start, list)                \
    do {                                      \
        struct pool p;                        \
        pool_open(&p, start, 1);              \
        check_all(&p, list, ARRAY_LEN(list)); \
        pool_close(&p);                       \
    } while (0)

#define TIMEOUT(kind)                                                 \
    {                                                                 \
        kind, INVOKE_TIMEOUT, "timeout after 200 ms", SHORT_MS, false \
    }
#define CRASHED(kind, reason)                        \
    {                                                \
        kind, INVOKE_CRASHED, reason, LONG_MS, false \
    }
#define BAD(kind, reason)                               \
    {                                                   \
        kind, INVOKE_BAD_ANSWER, reason, LONG_MS, false \
    }
#define GOOD(kind, replaced)                         \
    {                                                \
        kind, INVOKE_ANSWERED, "", LONG_MS, replaced \
    }

/* ---- tests: invocations ---- */

static void
no_answer(void **state)
{
    (void)state;
    static const struct expected list[] = {
        TIMEOUT("loop"),
        TIMEOUT("stubborn"),
        TIMEOUT("stops"),
        TIMEOUT("noise-for-ever"),
        {"memory", INVOKE_MEMORY, "MB used of 256 MB", LONG_MS, false},
        CRASHED("exits", "worker ended with status 3: \"the colour table is on fire\""),
        CRASHED("aborts", "worker ended by signal 6"),
        CRASHED("closes", "worker closed its connection"),
        CRASHED("half-closes", "worker closed its connection"),
        CRASHED("nothing-sent", "worker closed its connection"),
        GOOD("answers-and-closes", true),
        GOOD("noise", false),
    };
    CHECK_ALL("", list);
}

static void
out_of_turn(void **state)
{
    (void)state;
    static const struct expected list[] = {
        GOOD("twice", true),
        BAD("other-id", "malformed result"),
        BAD("hello-again", "message out of turn"),
        BAD("admit-twice", "message out of turn"),
        BAD("admit-huge", "asked for memory out of turn"),
        BAD("admit-less", "asked for memory out of turn"),
        BAD("admit-other-id", "asked for memory out of turn"),
    };
    CHECK_ALL("", list);
}

static void
lying_bytes(void **state)
{
    (void)state;
    static const struct expected list[] = {
        BAD("count-lies", "malformed result"),   BAD("length-lies", "malformed result"),
        BAD("length-past-end", "malformed"),     BAD("bytes-lie", "malformed result"),
        BAD("many-outputs", "malformed result"), BAD("head-lies", "malformed packet"),
        BAD("half-head", "malformed packet"),    BAD("part", "malformed packet"),
        BAD("giant", "malformed packet"),
    };
    CHECK_ALL("", list);
}

static void
wrong_descriptors(void **state)
{
    (void)state;
    static const struct expected list[] = {
        BAD("fd-pipe", "malformed result"),
        BAD("fd-directory", "malformed result"),
        BAD("fd-terminal", "malformed result"),
        BAD("fd-socket", "malformed result"),
        BAD("fd-unsealed", "malformed result"),
        BAD("fd-other-size", "malformed result"),
        BAD("fd-more", "malformed result"),
        BAD("fd-none", "malformed result"),
        BAD("fd-with-admit", "asked for memory out of turn"),
        BAD("fd-flood", "malformed packet"),
    };
    CHECK_ALL("", list);
}

/* Nothing that a worker started outlives it, however it ended. */
static void
children(void **state)
{
    (void)state;
    static const struct expected list[] = {
        TIMEOUT("forks"),
        CRASHED("leaves-children", "worker ended with status 4"),
        CRASHED("leaves-a-writer", "worker ended with status 5"),
    };
    CHECK_ALL("", list);
}

/* Under the real sandbox the kernel ends the worker at the call, and nobody else notices. */
static void
boxed(void **state)
{
    (void)state;
    static const struct expected list[] = {
        CRASHED("forks", "worker ended by signal 31"),
        CRASHED("leaves-children", "worker ended by signal 31"),
        CRASHED("kills-server", "worker ended by signal 31"),
        CRASHED("stops-server", "worker ended by signal 31"),
        CRASHED("signal-storm", "worker ended by signal 31"),
        CRASHED("owns-server", "worker ended by signal 31"),
        CRASHED("limits-server", "worker ended by signal 31"),
        CRASHED("fd-directory", ""), /* there is none to be had: CHK() in wire_put_fd() */
        TIMEOUT("stubborn"),
        TIMEOUT("loop"),
    };
    struct pool p;
    pool_open(&p, "-boxed", 1);
    UNTIL(&p, view(&p)->ready == 1 || view(&p)->problem[0] != '\0');
    bool can = view(&p)->ready == 1;
    if (can)
        check_all(&p, list, ARRAY_LEN(list));
    else
        print_message("the sandbox is incomplete here: %s\n", view(&p)->problem);
    pool_close(&p);
    if (!can)
        skip();
}

/* A marker on the loop's own clock. Timers of a loop run in the order of their times, whatever the
 * speed of the machine: what is due between two markers is done between them. */
struct marker {
    uv_timer_t timer;
    const struct worker *worker;
    bool passed;
    bool worked; /* the worker still did, then */
};

static void
on_marker(uv_timer_t *timer)
{
    struct marker *m = timer->data;
    m->passed = true;
    m->worked = m->worker->state == WORKER_ADMITTING || m->worker->state == WORKER_RUNNING;
}

static void
marker_set(struct pool *p, struct marker *m, uint64_t ms)
{
    m->worker = &p->rt->workers[0];
    m->passed = false;
    m->timer.data = m;
    assert_int_equal(uv_timer_start(&m->timer, on_marker, ms, 0), 0);
}

/* Not 1 ms before its time, and not 100 ms after it; how long it took by the clock is only told. */
static void
deadline_is_kept(void **state)
{
    (void)state;
    enum { KILLS = 12 };
    struct pool p;
    struct marker before, after;
    int64_t worst_us = 0;
    pool_open(&p, "", 1);
    uv_timer_init(&p.loop, &before.timer);
    uv_timer_init(&p.loop, &after.timer);
    for (int i = 0; i < KILLS; i++) {
        struct run r;
        begin(&p, &r, i % 2 == 0 ? "stubborn" : "stops", SHORT_MS);
        marker_set(&p, &before, SHORT_MS - 1);
        uv_update_time(&p.loop);
        marker_set(&p, &after, SHORT_MS + 100);
        UNTIL(&p, before.passed && after.passed && r.ended);
        assert_true(before.worked);
        assert_false(after.worked);
        assert_int_equal(r.inv.outcome, INVOKE_TIMEOUT);
        int64_t late_us = r.inv.run_us - SHORT_MS * 1000;
        worst_us = late_us > worst_us ? late_us : worst_us;
        end(&r);
    }
    print_message("%d killed within 100 ms of the deadline, the last collected %.1f ms after it\n",
                  KILLS, (double)worst_us / 1000);
    uv_close((uv_handle_t *)&before.timer, NULL);
    uv_close((uv_handle_t *)&after.timer, NULL);
    pool_close(&p);
}

/* The time counts from the grant: what waits for memory before it is not the picture's fault. That
 * it does not count twice, the marker tells: set when the grant was seen, it is due behind it. */
static void
deadline_behind_the_grant_is_kept(void **state)
{
    (void)state;
    struct pool p;
    struct run r;
    struct marker after;
    pool_open(&p, "", 1);
    UNTIL(&p, view(&p)->ready == 1);
    uv_timer_init(&p.loop, &after.timer);
    begin(&p, &r, "loop", GRANTED_MS);
    UNTIL(&p, p.rt->workers[0].state == WORKER_RUNNING || r.ended);
    assert_false(r.ended);
    marker_set(&p, &after, GRANTED_MS + 100);
    UNTIL(&p, after.passed && r.ended);
    assert_false(after.worked);
    assert_int_equal(r.inv.outcome, INVOKE_TIMEOUT);
    assert_true(r.inv.run_us >= GRANTED_MS * 1000);
    end(&r);
    uv_close((uv_handle_t *)&after.timer, NULL);
    pool_close(&p);
}

/* One of two workers is held by a picture that never ends: the other serves, as often as wanted. */
static void
others_go_on(void **state)
{
    (void)state;
    struct pool p;
    struct run held;
    pool_open(&p, "", 2);
    UNTIL(&p, runtime_idle_count(p.rt) == 2);
    begin(&p, &held, "stubborn", LONG_MS);
    for (int i = 0; i < 20; i++)
        serve_well(&p, "a held worker");
    assert_false(held.ended);
    runtime_cancel(p.rt);
    UNTIL(&p, held.ended);
    assert_int_equal(held.inv.outcome, INVOKE_CANCELED);
    end(&held);
    serve_well(&p, "a cancel");
    pool_close(&p);
}

/* The pool ends whatever its workers are at: also those that closed their socket a moment ago. */
static void
stop_in_the_middle(void **state)
{
    (void)state;
    static const char *const kinds[] = {"stubborn", "closes", "forks", "noise-for-ever", "stops"};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct pool p;
        struct run r;
        pool_open(&p, "", 1);
        begin(&p, &r, kinds[i], LONG_MS);
        if (i % 2 == 1)
            UNTIL(&p, view(&p)->workers[0].state != WORKER_ADMITTING || i == 3);
        pool_close(&p);
        assert_true(r.ended);
        assert_true(r.inv.outcome == INVOKE_CANCELED || r.inv.outcome == INVOKE_CRASHED);
        end(&r);
    }
}

/* ---- tests: starts ---- */

/* Every start that fails is told with its reason, and the pool is well once the program is. */
static void
failed_starts(void **state)
{
    (void)state;
    static const struct {
        const char *start, *problem;
    } list[] = {
        {"-silent", "worker did not say hello in time"},
        {"-problem", "worker cannot work: no codec was willing"},
        {"-garbage", "worker sent a malformed packet"},
        {"-empty-hello", "worker sent a malformed hello"},
        {"-exits", "worker ended with status 127: \"libnothing.so.1: cannot open"},
        {"-hello-exits", "worker ended with status 6"},
        {"-hello-closes", "worker closed its connection"},
        {"-hello-answers", "worker sent a message out of turn"},
    };
    int fds = fd_count();
    for (size_t i = 0; i < ARRAY_LEN(list); i++) {
        struct pool p;
        pool_open(&p, list[i].start, 2);
        UNTIL(&p, says(&p, list[i].problem));
        assert_true(view(&p)->ready < 2);
        pool_close(&p);
        if (fd_count() != fds)
            fail_msg("%s: %d descriptors and not %d", list[i].start, fd_count(), fds);
    }
}

/* A link that leads to nothing, to what is no program; then to a program. */
static void
no_program(void **state)
{
    (void)state;
    struct pool p;
    char file[PATH_MAX + 16];
    pool_open(&p, "", 2);
    UNTIL(&p, view(&p)->ready == 2);
    int fds = fd_count();
    snprintf(file, sizeof file, "%s/file", p.dir);
    int fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    const char *const targets[] = {"/nonexistent/darkroom-worker", file, "/"};
    const char *const problems[] = {"no such file", "permission denied", "permission denied"};
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        pool_link(&p, targets[i]);
        for (size_t k = 0; k < 2; k++)
            if (view(&p)->workers[k].pid > 0)
                kill((pid_t)view(&p)->workers[k].pid, SIGKILL);
        UNTIL(&p, says(&p, "cannot start") && says(&p, problems[i]));
        UNTIL(&p, view(&p)->ready == 0);
        pool_link(&p, badworker);
        UNTIL(&p, view(&p)->ready == 2);
        assert_string_equal(view(&p)->problem, "");
        serve_well(&p, targets[i]);
        assert_int_equal(fd_count(), fds);
    }
    pool_close(&p);
}

/* The pauses between starts that fail double: 100 + 200 + 400 + 800 ms before the fourth. A result
 * ends it, for a program that works and then no more is tried at once again. */
static void
restart_storm(void **state)
{
    (void)state;
    static const char *const starts[] = {"-exits", "-hello-exits"};
    for (size_t i = 0; i < ARRAY_LEN(starts); i++) {
        struct pool p;
        pool_open(&p, starts[i], 1);
        UNTIL(&p, restarts(&p) == 4);
        int64_t took_ms = clock_mono_ms() - p.begun_ms;
        if (took_ms < 1400) /* libuv counts from the begin of a round */
            fail_msg("%s: four restarts in %lld ms", starts[i], (long long)took_ms);
        pool_close(&p);
    }
}

/* A worker that came as far as an invocation is replaced at once, whatever had kept it from
 * starting before: no picture takes a worker away for as long as the pauses had grown. */
static void
no_pause_after_work(void **state)
{
    (void)state;
    struct pool p;
    struct run r;
    pool_open(&p, "", 1);
    UNTIL(&p, view(&p)->ready == 1);
    pool_link(&p, "/nonexistent/darkroom-worker");
    kill((pid_t)view(&p)->workers[0].pid, SIGKILL);
    UNTIL(&p, p.rt->workers[0].failures == 3);
    pool_link(&p, badworker);
    begin(&p, &r, "stubborn", SHORT_MS);
    UNTIL(&p, r.ended);
    assert_int_equal(p.rt->workers[0].failures, 0);
    end(&r);
    serve_well(&p, "a timeout");
    pool_close(&p);
}

/* A worker whose time is over is missed by nobody, and what once was wrong is not told again; but
 * its successor, too, must come. */
static void
replaced_on_purpose(void **state)
{
    (void)state;
    struct pool p;
    pool_open(&p, "", 1);
    UNTIL(&p, view(&p)->ready == 1);
    kill((pid_t)view(&p)->workers[0].pid, SIGKILL);
    UNTIL(&p, says(&p, "signal 9"));
    assert_int_equal(view(&p)->replacing, 0);
    UNTIL(&p, view(&p)->ready == 1);
    runtime_set_memory(p.rt, 2048);
    while (view(&p)->ready == 0) {
        assert_int_equal(view(&p)->replacing, 1);
        assert_string_equal(view(&p)->problem, "");
        uv_run(&p.loop, UV_RUN_ONCE);
    }
    assert_int_equal(view(&p)->replacing, 0);
    assert_int_equal(view(&p)->workers[0].restarts, 2);
    pool_link(&p, "/nonexistent/darkroom-worker");
    runtime_set_memory(p.rt, 4096);
    UNTIL(&p, says(&p, "cannot start"));
    assert_int_equal(view(&p)->replacing, 0);
    pool_link(&p, badworker);
    runtime_set_memory(p.rt, 4097); /* the one that cannot start is not idle */
    UNTIL(&p, view(&p)->ready == 1);
    pool_close(&p);
}

/* Beside this program's folder, which is tests/pipeline. */
static bool
find_badworker(void)
{
    char here[PATH_MAX], joined[PATH_MAX + 32];
    ssize_t n = readlink("/proc/self/exe", here, sizeof here - 1);
    if (n <= 0)
        return false;
    here[n] = '\0';
    *strrchr(here, '/') = '\0';
    snprintf(joined, sizeof joined, "%s/../lib/badworker", here);
    return realpath(joined, badworker) != NULL && access(badworker, X_OK) == 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_answer),
        cmocka_unit_test(out_of_turn),
        cmocka_unit_test(lying_bytes),
        cmocka_unit_test(wrong_descriptors),
        cmocka_unit_test(children),
        cmocka_unit_test(boxed),
        cmocka_unit_test(deadline_is_kept),
        cmocka_unit_test(deadline_behind_the_grant_is_kept),
        cmocka_unit_test(others_go_on),
        cmocka_unit_test(stop_in_the_middle),
        cmocka_unit_test(failed_starts),
        cmocka_unit_test(no_program),
        cmocka_unit_test(restart_storm),
        cmocka_unit_test(no_pause_after_work),
        cmocka_unit_test(replaced_on_purpose),
    };
    if (!find_badworker()) {
        printf("no badworker in tests/lib: build it first\n");
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
