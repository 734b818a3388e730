/*
 * The pool with a worker that this program plays itself: it asks for as much memory as its source
 * is large, and ends its invocation when the test lets it, by a byte in the source, which is a
 * pipe. So every state can be held as long as it is looked at.
 */
#include "pipeline/runtime_priv.h"
#include "base/chk.h"
#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#define BUDGET 100
#define WORKERS 3

/* ---- the worker ---- */

static void
play_one(int sock, struct wire_reader *reader, struct arena *a)
{
    struct wire_msg m;
    struct fn_request req;
    int source = -1;
    int64_t granted;
    char byte;
    if (fn_request_read(reader, a, &req, &source) != ERR_NONE)
        _exit(3);
    fn_admit_write(&m, req.id, req.source_bytes);
    if (wire_send(sock, &m) != ERR_NONE || wire_recv(sock, reader) != ERR_NONE ||
        fn_grant_read(reader, &granted) != ERR_NONE || granted != req.id)
        _exit(4);
    wire_msg_fini(&m);
    if (read(source, &byte, 1) != 1)
        _exit(5);
    close(source);
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    struct fn_result res = {
        .id = req.id, .rss_peak_bytes = used.ru_maxrss * INT64_C(1024), .answer_count = 1};
    res.answers[0] = (struct fn_answer){.name = req.calls[0].name, .status = FN_OK};
    fn_result_write(&m, &res);
    if (wire_send(sock, &m) != ERR_NONE)
        _exit(6);
    wire_msg_fini(&m);
}

static int
play_worker(int sock)
{
    struct wire_msg m;
    struct wire_reader reader;
    struct fn_hello hello = {.pid = getpid(), .formats = SLICE_LIT("none")};
    CHK(getpgrp() == getpid() || setpgid(0, 0) == 0); /* as sandbox_prepare() */
    fn_hello_write(&m, &hello);
    if (wire_send(sock, &m) != ERR_NONE || wire_reader_init(&reader) != ERR_NONE)
        return 2;
    wire_msg_fini(&m);
    while (wire_recv(sock, &reader) == ERR_NONE) {
        struct arena *a = arena_new(1 << 20);
        play_one(sock, &reader, a);
        arena_free(&a);
    }
    wire_reader_fini(&reader);
    return 0;
}

/* ---- the pool ---- */

static char self[4096];

struct pool {
    uv_loop_t loop;
    struct runtime *rt;
    bool stopped;
};

struct run {
    struct invocation inv; /* first: done() gets it */
    int lever;             /* a byte here ends it */
    bool done;
};

static void
on_event(void *arg)
{
    (void)arg;
}

static void
on_stopped(void *arg)
{
    ((struct pool *)arg)->stopped = true;
}

static void
on_done(struct invocation *inv)
{
    ((struct run *)inv)->done = true;
}

static int
in_state(const struct pool *p, enum worker_state state)
{
    int count = 0;
    for (int i = 0; i < WORKERS; i++)
        count += p->rt->workers[i].state == state;
    return count;
}

static void
pool_open(struct pool *p)
{
    *p = (struct pool){0};
    assert_int_equal(uv_loop_init(&p->loop), 0);
    struct runtime_options o = {.loop = &p->loop,
                                .program = self,
                                .sandbox = "auto",
                                .count = WORKERS,
                                .memory_mb = 64,
                                .recycle_invocations = 1000,
                                .recycle_rss_bytes = INT64_MAX,
                                .hello_ms_max = RUNTIME_HELLO_MS_MAX,
                                .memory_budget_bytes = BUDGET,
                                .on_idle = on_event,
                                .on_down = on_event};
    assert_int_equal(runtime_start(&p->rt, &o), ERR_NONE);
    while (in_state(p, WORKER_IDLE) < WORKERS)
        uv_run(&p->loop, UV_RUN_ONCE);
}

static void
pool_close(struct pool *p)
{
    runtime_stop(p->rt, on_stopped, p);
    while (!p->stopped)
        uv_run(&p->loop, UV_RUN_ONCE);
    runtime_free(&p->rt);
    uv_run(&p->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&p->loop), 0);
}

static void
run_begin_nice(struct pool *p, struct run *r, int64_t bytes, int nice)
{
    int pipe_fds[2];
    assert_int_equal(pipe(pipe_fds), 0);
    *r = (struct run){.lever = pipe_fds[1]};
    r->inv = (struct invocation){.source_fd = pipe_fds[0],
                                 .timeout_ms = 60000,
                                 .memory_bytes = INT64_MAX,
                                 .nice = nice,
                                 .arena = arena_new(1 << 20),
                                 .done = on_done};
    r->inv.request = (struct fn_request){.source_bytes = bytes,
                                         .pixels_frame_max = 1,
                                         .pixels_total_max = 1,
                                         .memory_bytes_max = BUDGET,
                                         .deadline_ms = 60000,
                                         .calls = {{SLICE_LIT("play"), {NULL, 0}}},
                                         .call_count = 1};
    assert_int_equal(runtime_invoke(p->rt, &r->inv), ERR_NONE);
}

static void
run_begin(struct pool *p, struct run *r, int64_t bytes)
{
    run_begin_nice(p, r, bytes, 0); /* as it set itself */
}

static void
run_end(struct pool *p, struct run *r)
{
    assert_int_equal(write(r->lever, "x", 1), 1);
    while (!r->done)
        uv_run(&p->loop, UV_RUN_ONCE);
}

static void
run_free(struct run *r)
{
    close(r->lever);
    fn_result_close(&r->inv.result);
    arena_free(&r->inv.arena);
}

/* Until so many hold memory and so many wait for it. */
static void
settle(struct pool *p, int running, int waiting)
{
    for (;;) {
        int asking = 0;
        for (struct worker *w = p->rt->waiting; w != NULL; w = w->next_waiting)
            asking++;
        if (in_state(p, WORKER_RUNNING) == running && asking == waiting)
            return;
        assert_true(in_state(p, WORKER_RUNNING) <= running);
        uv_run(&p->loop, UV_RUN_ONCE);
    }
}

/* ---- tests ---- */

static void
test_two_that_do_not_fit(void **state)
{
    (void)state;
    struct pool p;
    struct run a, b, c;
    pool_open(&p);
    run_begin(&p, &a, 60);
    settle(&p, 1, 0);
    run_begin(&p, &b, 60);
    settle(&p, 1, 1);
    assert_int_equal(p.rt->granted, 60);
    /* It would fit, but others came first: none is overtaken for ever. */
    run_begin(&p, &c, 30);
    settle(&p, 1, 2);
    assert_int_equal(p.rt->granted, 60);
    run_end(&p, &a);
    assert_int_equal(a.inv.outcome, INVOKE_ANSWERED);
    settle(&p, 2, 0);
    assert_int_equal(p.rt->granted, 90);
    assert_false(b.done || c.done);
    run_end(&p, &c);
    run_end(&p, &b);
    assert_int_equal(b.inv.outcome, INVOKE_ANSWERED);
    assert_int_equal(p.rt->granted, 0);
    pool_close(&p);
    run_free(&a);
    run_free(&b);
    run_free(&c);
}

static void
test_the_whole_budget(void **state)
{
    (void)state;
    struct pool p;
    struct run a, b;
    pool_open(&p);
    run_begin(&p, &a, BUDGET);
    settle(&p, 1, 0);
    run_begin(&p, &b, 1);
    settle(&p, 1, 1);
    run_end(&p, &a);
    settle(&p, 1, 0);
    run_end(&p, &b);
    assert_int_equal(p.rt->granted, 0);
    pool_close(&p);
    run_free(&a);
    run_free(&b);
}

/* It was told what it may use. */
static void
test_asking_for_too_much(void **state)
{
    (void)state;
    struct pool p;
    struct run a;
    pool_open(&p);
    run_begin(&p, &a, BUDGET + 1);
    while (!a.done)
        uv_run(&p.loop, UV_RUN_ONCE);
    assert_int_equal(a.inv.outcome, INVOKE_BAD_ANSWER);
    assert_int_equal(p.rt->granted, 0);
    pool_close(&p);
    run_free(&a);
}

/* A worker that dies gives back what it held, and those who wait get it. */
static void
test_the_dead_hold_nothing(void **state)
{
    (void)state;
    struct pool p;
    struct run a, b;
    pool_open(&p);
    run_begin(&p, &a, 80);
    settle(&p, 1, 0);
    run_begin(&p, &b, 80);
    settle(&p, 1, 1);
    assert_int_equal(kill((pid_t)a.inv.pid, SIGKILL), 0);
    while (!a.done)
        uv_run(&p.loop, UV_RUN_ONCE);
    assert_int_equal(a.inv.outcome, INVOKE_CRASHED);
    settle(&p, 1, 0);
    run_end(&p, &b);
    assert_int_equal(b.inv.outcome, INVOKE_ANSWERED);
    pool_close(&p);
    run_free(&a);
    run_free(&b);
}

/* Work gives way by its nice value, which counts among processes of one session only. */
static void
test_niceness(void **state)
{
    (void)state;
    struct pool p;
    struct run late, urgent;
    pool_open(&p);
    run_begin_nice(&p, &late, 1, 15);
    run_begin_nice(&p, &urgent, 1, 10);
    settle(&p, 2, 0);
    assert_int_equal(getpriority(PRIO_PROCESS, (id_t)late.inv.pid), 15);
    assert_int_equal(getpriority(PRIO_PROCESS, (id_t)urgent.inv.pid), 10);
    assert_int_equal(getsid((pid_t)late.inv.pid), getsid(0));
    assert_int_equal(getpgid((pid_t)late.inv.pid), late.inv.pid);
    run_end(&p, &late);
    run_end(&p, &urgent);
    pool_close(&p);
    run_free(&late);
    run_free(&urgent);
}

/* A server of any size has workers of their own size. */
static void
test_a_large_server(void **state)
{
    (void)state;
    enum { SERVER_BYTES = 256 << 20 };
    struct pool p;
    struct run r;
    void *much = mmap(NULL, SERVER_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    assert_true(much != MAP_FAILED);
    pool_open(&p);
    run_begin(&p, &r, 1);
    run_end(&p, &r);
    assert_true(r.inv.rss_peak_bytes > 0 && r.inv.rss_peak_bytes < SERVER_BYTES);
    pool_close(&p);
    run_free(&r);
    munmap(much, SERVER_BYTES);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_that_do_not_fit),
        cmocka_unit_test(test_the_whole_budget),
        cmocka_unit_test(test_asking_for_too_much),
        cmocka_unit_test(test_the_dead_hold_nothing),
        cmocka_unit_test(test_niceness),
        cmocka_unit_test(test_a_large_server),
    };
    if (argc > 2 && strcmp(argv[1], "--fd") == 0)
        return play_worker(3);
    (void)argv;
    if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
