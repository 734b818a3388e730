/*
 * One worker's process: spawn, hello, one invocation at a time, death. The drawing of its states is
 * in runtime.h. What it sends is checked against its state first, then by the readers of fn.c.
 *
 * A process has three handles: the process itself, its socket, its standard error. DYING begins
 * with SIGKILL, with the exit or with the end of its socket, and is over when the exit was
 * collected and all three handles are closed; the invocation ends there and not before, so that its
 * reason can hold how the process ended and what it last wrote.
 *
 * Processor time is read from outside: what a process says of itself is no bill. Each reading puts
 * what was used since the last one to an account, an invocation's or that of the idle workers. The
 * last part, between the last reading and the exit, is known only when the process was collected,
 * and then as a sum over all children: RUSAGE_CHILDREN less what is accounted for of the dead. All
 * that were collected in one round of the loop are counted by then, since handles close after it.
 *
 * Each worker heads a process group of its own: a signal from the server's terminal is not for
 * it, and whatever it may have started is killed with it (where seccomp keeps it from starting
 * anything, that is a second wall).
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/stat.h"
#include "pipeline/runtime_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define EXIT_LATE_MS 1000
#define HELLO_ARENA_BYTES (64u << 10)
#define ENVIRONMENT_MAX 16
#define DRAIN_BYTES_MAX (1 << 20) /* more than a pipe holds */

static const unsigned allowed[WORKER_STATE_COUNT] = {
    [WORKER_DOWN] = 1u << WORKER_STARTING,
    [WORKER_STARTING] = 1u << WORKER_IDLE | 1u << WORKER_DYING,
    [WORKER_IDLE] = 1u << WORKER_ADMITTING | 1u << WORKER_DYING,
    [WORKER_ADMITTING] = 1u << WORKER_RUNNING | 1u << WORKER_IDLE | 1u << WORKER_DYING,
    [WORKER_RUNNING] = 1u << WORKER_IDLE | 1u << WORKER_DYING,
    [WORKER_DYING] = 1u << WORKER_DOWN,
};

static bool
is_ready(enum worker_state s)
{
    return s == WORKER_IDLE || s == WORKER_ADMITTING || s == WORKER_RUNNING;
}

static bool
is_busy(enum worker_state s)
{
    return s == WORKER_ADMITTING || s == WORKER_RUNNING;
}

/* The one setter: rejects a move that the drawing in runtime.h does not have. */
static void
worker_set(struct worker *w, enum worker_state to)
{
    CHK(allowed[w->state] & 1u << to);
    STAT_ADD(workers_ready, (int)is_ready(to) - (int)is_ready(w->state));
    STAT_ADD(workers_busy, (int)is_busy(to) - (int)is_busy(w->state));
    w->state = to;
}

/* A file of proc(5) about the process, as a string; false when it cannot be read. */
static bool
read_proc(const struct worker *w, const char *name, char *text, size_t size)
{
    char path[64];
    if (!w->has_process)
        return false;
    snprintf(path, sizeof path, "/proc/%d/%s", w->process.pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, size - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n > 0;
}

int64_t
worker_rss(const struct worker *w)
{
    char text[128];
    const char *resident = read_proc(w, "statm", text, sizeof text) ? strchr(text, ' ') : NULL;
    return resident == NULL ? 0 : strtoll(resident, NULL, 10) * sysconf(_SC_PAGESIZE);
}

/* The most since it was executed; 0 when unknown. What getrusage(2) tells the worker itself begins
 * with the pages of the server that it was forked from. */
static int64_t
rss_peak(const struct worker *w)
{
    static const char name[] = "\nVmHWM:";
    char text[4096];
    const char *line = read_proc(w, "status", text, sizeof text) ? strstr(text, name) : NULL;
    return line == NULL ? 0 : strtoll(line + sizeof name - 1, NULL, 10) * 1024;
}

/* ---- processor time ---- */

/* What a live process has used since the last reading. */
static int64_t
cpu_used(struct worker *w)
{
    int64_t now = w->has_process ? clock_cpu_us_of(w->process.pid) : -1;
    int64_t used = now > w->cpu_seen_us ? now - w->cpu_seen_us : 0;
    w->cpu_seen_us += used;
    STAT_ADD(worker_cpu_us, used);
    return used;
}

/* What the dead have used that no reading has seen. */
static int64_t
cpu_left_behind(struct runtime *rt)
{
    int64_t left = runtime_children_cpu_us() - rt->dead_cpu_seen_us;
    if (left < 0)
        return 0;
    rt->dead_cpu_seen_us += left;
    STAT_ADD(worker_cpu_us, left);
    return left;
}

/* ---- the end of an invocation ---- */

static void
finish(struct worker *w, enum invoke_outcome outcome, const char *reason)
{
    struct invocation *inv = w->inv;
    if (inv == NULL)
        return;
    w->inv = NULL;
    runtime_release(w->rt, w);
    inv->outcome = outcome;
    snprintf(inv->reason, sizeof inv->reason, "%s", reason);
    inv->run_us = clock_mono_us() - w->started_us;
    inv->stderr_tail = arena_dup(inv->arena, slice_of(w->tail, w->tail_n));
    STAT_ADD(invocation_us, inv->run_us);
    if (outcome != INVOKE_ANSWERED)
        STAT_INC(invocations_failed_total);
    inv->done(inv);
}

/* ---- dying ---- */

/* Last words for the reason: the last line with something in it. */
static struct slice
last_line(const struct worker *w)
{
    struct slice rest = slice_trim(slice_of(w->tail, w->tail_n));
    while (rest.n > 0 && (rest.p[rest.n - 1] == '\n' || rest.p[rest.n - 1] == '\r'))
        rest.n--;
    for (size_t i = rest.n; i > 0; i--) {
        if (rest.p[i - 1] == '\n')
            return slice_skip(rest, i);
    }
    return rest;
}

static void
describe_exit(struct worker *w, int64_t status, int signum)
{
    char quoted[LOG_QUOTE_MAX];
    struct slice last = last_line(w);
    size_t n = strlen(w->fate_reason);
    if (n > 0) /* we killed it and know why */
        return;
    if (signum != 0)
        snprintf(w->fate_reason, sizeof w->fate_reason, "worker ended by signal %d", signum);
    else
        snprintf(w->fate_reason, sizeof w->fate_reason, "worker ended with status %lld",
                 (long long)status);
    n = strlen(w->fate_reason);
    if (last.n > 0)
        snprintf(w->fate_reason + n, sizeof w->fate_reason - n, ": %s", log_quote(last, quoted));
}

static void
on_closed(uv_handle_t *handle)
{
    struct worker *w = handle->data;
    if (--w->open_handles > 0)
        return;
    int64_t cpu_us = cpu_left_behind(w->rt);
    if (w->inv != NULL)
        w->inv->cpu_us += cpu_us;
    else
        w->rt->idle_cpu_us += cpu_us;
    if (w->inv != NULL)
        finish(w, w->fate, w->fate_reason);
    worker_set(w, WORKER_DOWN);
    runtime_worker_down(w->rt, w);
}

static void
tail_put(struct worker *w, const char *p, size_t n)
{
    if (n >= sizeof w->tail) {
        p += n - sizeof w->tail;
        n = sizeof w->tail;
    }
    if (w->tail_n + n > sizeof w->tail) {
        size_t drop = w->tail_n + n - sizeof w->tail;
        memmove(w->tail, w->tail + drop, w->tail_n - drop);
        w->tail_n -= drop;
    }
    memcpy(w->tail + w->tail_n, p, n);
    w->tail_n += n;
}

/* What is left in the pipe after the process is gone. Not without end: a process that it started
 * may still write. */
static void
tail_drain(struct worker *w)
{
    char step[1024];
    uv_os_fd_t fd;
    ssize_t n, all = 0;
    if (uv_fileno((uv_handle_t *)&w->errors, &fd) != 0)
        return;
    while (all < DRAIN_BYTES_MAX && (n = read(fd, step, sizeof step)) > 0) {
        tail_put(w, step, (size_t)n);
        all += n;
    }
}

/* The process and all that it started. It heads a process group of its own from its first steps on
 * (sandbox_prepare()), and before these it has started nothing. Also right after its exit was
 * collected: then its number is still that of the group, while any process is left in it. */
static void
kill_group(const struct worker *w)
{
    if (kill(-w->process.pid, SIGKILL) != 0 && w->has_process)
        kill(w->process.pid, SIGKILL);
}

static void
close_handles(struct worker *w)
{
    uv_timer_stop(&w->timer);
    uv_poll_stop(&w->poll);
    uv_close((uv_handle_t *)&w->poll, on_closed);
    uv_close((uv_handle_t *)&w->errors, on_closed);
    uv_close((uv_handle_t *)&w->process, on_closed);
    close(w->sock);
    w->sock = -1;
}

static void
on_process_exit(uv_process_t *process, int64_t status, int signum)
{
    struct worker *w = process->data;
    bool was_working = w->inv != NULL;
    w->has_process = false;
    w->rt->dead_cpu_seen_us += w->cpu_seen_us;
    w->cpu_seen_us = 0;
    if (signum == SIGSYS)
        STAT_INC(sandbox_kills_total);
    kill_group(w);
    tail_drain(w);
    if (w->state != WORKER_DYING) {
        worker_set(w, WORKER_DYING);
        w->fate = INVOKE_CRASHED;
    }
    describe_exit(w, status, signum);
    if (!w->planned_end && w->fate == INVOKE_CRASHED)
        STAT_INC(workers_crashed_total);
    if (!w->planned_end) {
        w->replaces = false;
        char quoted[LOG_QUOTE_MAX]; /* a worker's last words are in it */
        log_line(LOG_WARN, "worker_ended", "pid=%d outcome=\"%s\" reason=%s", process->pid,
                 invoke_outcome_name(w->fate), log_quote(slice_str(w->fate_reason), quoted));
        runtime_problem(w->rt, w->fate_reason);
    }
    w->failures = was_working || w->planned_end ? 0 : w->failures + 1;
    close_handles(w);
}

/* From here on it is neither heard nor told anything, and holds nothing of the memory budget. */
static void
begin_dying(struct worker *w, enum invoke_outcome fate)
{
    worker_set(w, WORKER_DYING);
    w->fate = fate;
    uv_timer_stop(&w->timer);
    uv_poll_stop(&w->poll);
    runtime_release(w->rt, w);
}

void
worker_kill(struct worker *w, enum invoke_outcome fate, const char *reason)
{
    if (w->state == WORKER_DYING && w->has_process)
        kill_group(w); /* its fate is known, but it need not have come */
    if (w->state == WORKER_DYING || w->state == WORKER_DOWN)
        return;
    begin_dying(w, fate);
    snprintf(w->fate_reason, sizeof w->fate_reason, "%s", reason);
    if (fate == INVOKE_TIMEOUT || fate == INVOKE_MEMORY || fate == INVOKE_BAD_ANSWER)
        STAT_INC(workers_killed_total);
    if (w->has_process)
        kill_group(w);
}

void
worker_recycle(struct worker *w)
{
    w->planned_end = w->replaces = true;
    worker_kill(w, INVOKE_CANCELED, "recycled");
}

/* ---- messages ---- */

static void
on_hello(struct worker *w, struct wire_reader *reader)
{
    struct fn_hello hello;
    struct runtime *rt = w->rt;
    char reason[RUNTIME_REASON_MAX];
    struct arena *a = arena_new(HELLO_ARENA_BYTES);
    if (a == NULL || fn_hello_read(reader, a, &hello) != ERR_NONE) {
        worker_kill(w, INVOKE_BAD_ANSWER, "worker sent a malformed hello");
    } else if (hello.problem.n > 0) {
        snprintf(reason, sizeof reason, "worker cannot work: %.*s",
                 (int)(hello.problem.n < 400 ? hello.problem.n : 400), hello.problem.p);
        worker_kill(w, INVOKE_CRASHED, reason);
    } else {
        snprintf(rt->formats, sizeof rt->formats, "%.*s", SLICE_FMT(hello.formats));
        snprintf(rt->optional, sizeof rt->optional, "%.*s", SLICE_FMT(hello.optional));
        snprintf(rt->refused, sizeof rt->refused, "%.*s", SLICE_FMT(hello.refused));
        snprintf(rt->written, sizeof rt->written, "%.*s", SLICE_FMT(hello.written));
        snprintf(rt->missing, sizeof rt->missing, "%.*s", SLICE_FMT(hello.missing));
        uv_timer_stop(&w->timer);
        w->rt->idle_cpu_us += cpu_used(w);
        worker_set(w, WORKER_IDLE);
        w->replaces = false;
        if (w->memory_mb < rt->options.memory_mb)
            worker_recycle(w);
        else
            runtime_became_idle(rt);
    }
    arena_free(&a);
}

static void
on_admit(struct worker *w, struct wire_reader *reader)
{
    int64_t id = 0, bytes = 0;
    if (fn_admit_read(reader, &id, &bytes) != ERR_NONE || id != w->inv->request.id || bytes < 0 ||
        bytes > w->inv->request.memory_bytes_max || w->wanted != 0) {
        worker_kill(w, INVOKE_BAD_ANSWER, "worker asked for memory out of turn");
        return;
    }
    uv_timer_stop(&w->timer); /* waiting for others is not its fault */
    runtime_admit(w->rt, w, bytes);
}

static void
on_result(struct worker *w, struct wire_reader *reader)
{
    struct invocation *inv = w->inv;
    if (fn_result_read(reader, inv->arena, &inv->request, &inv->result) != ERR_NONE) {
        worker_kill(w, INVOKE_BAD_ANSWER, "worker sent a malformed result");
        return;
    }
    uv_timer_stop(&w->timer);
    inv->cpu_us = cpu_used(w);
    w->failures = 0;
    w->invocations++;
    w->rss_bytes = worker_rss(w);
    int64_t peak = rss_peak(w);
    peak = peak > 0 ? peak : inv->result.rss_peak_bytes;
    inv->rss_peak_bytes = peak > inv->rss_peak_bytes ? peak : inv->rss_peak_bytes;
    bool tired = w->invocations >= w->rt->options.recycle_invocations ||
                 w->rss_bytes > w->rt->options.recycle_rss_bytes ||
                 w->memory_mb < w->rt->options.memory_mb;
    if (tired)
        worker_recycle(w);
    else
        worker_set(w, WORKER_IDLE);
    finish(w, INVOKE_ANSWERED, ""); /* may invoke again at once */
    if (w->state == WORKER_IDLE)
        runtime_became_idle(w->rt);
}

/* Which message is allowed when. */
static void
on_message(struct worker *w, struct wire_reader *reader)
{
    static const struct {
        enum worker_state state;
        enum fn_msg type;
        void (*handle)(struct worker *w, struct wire_reader *reader);
    } table[] = {
        {WORKER_STARTING, FN_MSG_HELLO, on_hello},
        {WORKER_ADMITTING, FN_MSG_ADMIT, on_admit},
        {WORKER_ADMITTING, FN_MSG_RESULT, on_result}, /* nothing to do for this source */
        {WORKER_RUNNING, FN_MSG_RESULT, on_result},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (table[i].state == w->state && (uint32_t)table[i].type == reader->type) {
            table[i].handle(w, reader);
            return;
        }
    }
    worker_kill(w, INVOKE_BAD_ANSWER, "worker sent a message out of turn");
}

static void
on_exit_late(uv_timer_t *timer)
{
    struct worker *w = timer->data;
    snprintf(w->fate_reason, sizeof w->fate_reason, "worker closed its connection");
    kill_group(w);
}

/* Its exit should follow and say why. But a worker may close its socket and live: libvips with a
 * wrong descriptor, a hostile picture. */
static void
connection_lost(struct worker *w)
{
    begin_dying(w, INVOKE_CRASHED);
    uv_timer_start(&w->timer, on_exit_late, EXIT_LATE_MS, 0);
}

static void
on_readable(uv_poll_t *poll, int status, int events)
{
    struct worker *w = poll->data;
    struct wire_reader *reader = &w->rt->reader;
    int err = ERR_NONE;
    (void)events;
    while (status == 0 && w->state != WORKER_DYING && err == ERR_NONE) {
        err = wire_recv(w->sock, reader);
        if (err == ERR_NONE)
            on_message(w, reader);
        else if (err == ERR_CLOSED)
            connection_lost(w);
        else if (err != ERR_BUSY)
            worker_kill(w, INVOKE_BAD_ANSWER, "worker sent a malformed packet");
    }
    wire_reader_clear(reader);
}

/* ---- starting ---- */

static void
on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    static char room[4096]; /* one loop, one thread: read and taken before the next */
    (void)handle;
    (void)suggested;
    *buf = uv_buf_init(room, sizeof room);
}

static void
on_stderr(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct worker *w = stream->data;
    if (n > 0)
        tail_put(w, buf->base, (size_t)n);
    else if (n < 0)
        uv_read_stop(stream);
}

static void
on_hello_late(uv_timer_t *timer)
{
    worker_kill(timer->data, INVOKE_TIMEOUT, "worker did not say hello in time");
}

/* Secrets of the server's environment are nobody else's. */
static void
environment_pick(char *out[ENVIRONMENT_MAX + 1])
{
    static const char *const names[] = {
        "PATH=",         "HOME=",          "TMPDIR=",       "LANG=",         "LC_ALL=",
        "ASAN_OPTIONS=", "UBSAN_OPTIONS=", "LSAN_OPTIONS=", "TSAN_OPTIONS=", "LD_LIBRARY_PATH="};
    size_t count = 0;
    for (char **e = environ; *e != NULL; e++) {
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
            if (strncmp(*e, names[i], strlen(names[i])) == 0 && count < ENVIRONMENT_MAX)
                out[count++] = *e;
        }
    }
    out[count] = NULL;
}

static int
spawn(struct worker *w, int child_sock)
{
    const struct runtime_options *o = &w->rt->options;
    char program[4096], sandbox[16], memory[24], formats[256], profile[4096];
    char *environment[ENVIRONMENT_MAX + 1];
    snprintf(program, sizeof program, "%s", o->program);
    snprintf(sandbox, sizeof sandbox, "%s", o->sandbox);
    snprintf(memory, sizeof memory, "%d", o->memory_mb);
    char fd_flag[] = "--fd", fd_value[] = "3", sandbox_flag[] = "--sandbox";
    snprintf(formats, sizeof formats, "%s", o->formats == NULL ? "" : o->formats);
    snprintf(profile, sizeof profile, "%s", o->cmyk_profile == NULL ? "" : o->cmyk_profile);
    char memory_flag[] = "--memory-mb", formats_flag[] = "--formats";
    char profile_flag[] = "--cmyk-profile";
    char *args[] = {program, fd_flag,      fd_value, sandbox_flag, sandbox, memory_flag,
                    memory,  formats_flag, formats,  profile_flag, profile, NULL};
    uv_stdio_container_t stdio[4] = {
        {.flags = UV_IGNORE},
        {.flags = UV_IGNORE},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&w->errors},
        {.flags = UV_INHERIT_FD, .data.fd = child_sock},
    };
    environment_pick(environment);
    uv_process_options_t options = {.exit_cb = on_process_exit,
                                    .file = program,
                                    .args = args,
                                    .env = environment,
                                    .stdio = stdio,
                                    .stdio_count = ARRAY_LEN(stdio)};
    return uv_spawn(o->loop, &w->process, &options);
}

void
worker_start(struct worker *w)
{
    int pair[2];
    uv_loop_t *loop = w->rt->options.loop;
    CHK(w->state == WORKER_DOWN && w->inv == NULL);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        runtime_problem(w->rt, "no socket for a worker");
        w->failures++;
        w->replaces = false;
        runtime_worker_down(w->rt, w);
        return;
    }
    CHK(fcntl(pair[0], F_SETFL, O_NONBLOCK) == 0);
    w->sock = pair[0];
    w->planned_end = false;
    w->memory_mb = w->rt->options.memory_mb;
    w->invocations = w->rss_bytes = w->nice = 0;
    w->tail_n = 0;
    w->fate_reason[0] = '\0';
    w->open_handles = 3;
    CHK(uv_pipe_init(loop, &w->errors, 0) == 0);
    CHK(uv_poll_init(loop, &w->poll, w->sock) == 0);
    worker_set(w, WORKER_STARTING);
    int rc = spawn(w, pair[1]);
    close(pair[1]);
    w->process.data = w->poll.data = w->errors.data = w;
    if (rc != 0) {
        snprintf(w->fate_reason, sizeof w->fate_reason, "cannot start %s: %s",
                 w->rt->options.program, uv_strerror(rc));
        log_line(LOG_ERROR, "worker_start_failed", "reason=\"%s\"", w->fate_reason);
        runtime_problem(w->rt, w->fate_reason);
        w->failures++;
        w->replaces = false;
        worker_set(w, WORKER_DYING);
        close_handles(w);
        return;
    }
    w->has_process = true;
    STAT_INC(workers_started_total);
    uv_poll_start(&w->poll, UV_READABLE, on_readable);
    uv_read_start((uv_stream_t *)&w->errors, on_alloc, on_stderr);
    uv_timer_start(&w->timer, on_hello_late, (uint64_t)w->rt->options.hello_ms_max, 0);
}

/* ---- invoking ---- */

static void
on_deadline(uv_timer_t *timer)
{
    struct worker *w = timer->data;
    char reason[64];
    int64_t ms = w->inv->timeout_ms;
    if (ms % 1000 == 0)
        snprintf(reason, sizeof reason, "timeout after %lld s", (long long)ms / 1000);
    else
        snprintf(reason, sizeof reason, "timeout after %lld ms", (long long)ms);
    worker_kill(w, INVOKE_TIMEOUT, reason);
}

/* All threads of its process. To be nicer is allowed to everybody; to be less nice again wants
 * CAP_SYS_NICE or RLIMIT_NICE (getrlimit(2)), and without these it stays as it is. */
static void
set_nice(struct worker *w, int nice)
{
    if (w->nice != nice && setpriority(PRIO_PGRP, (id_t)w->process.pid, nice) == 0)
        w->nice = nice;
}

void
worker_invoke(struct worker *w, struct invocation *inv)
{
    struct wire_msg m;
    w->inv = inv;
    w->rt->idle_cpu_us += cpu_used(w);
    set_nice(w, inv->nice);
    w->started_us = clock_mono_us();
    w->tail_n = 0; /* of another invocation, or of none */
    inv->cpu_us = 0;
    inv->pid = w->process.pid;
    inv->started_ms = clock_wall_ms();
    inv->rss_peak_bytes = 0;
    worker_set(w, WORKER_ADMITTING);
    STAT_INC(invocations_total);
    fn_request_write(&m, &inv->request, inv->source_fd);
    int err = wire_send(w->sock, &m);
    wire_msg_fini(&m);
    close(inv->source_fd);
    inv->source_fd = -1;
    uv_timer_start(&w->timer, on_deadline, (uint64_t)inv->timeout_ms, 0);
    runtime_watch_on(w->rt);
    if (err == ERR_CLOSED)
        connection_lost(w); /* it has just died, or only seems to */
    else if (err != ERR_NONE)
        worker_kill(w, INVOKE_CRASHED, "the request could not be sent to the worker");
}

void
worker_grant(struct worker *w)
{
    struct wire_msg m;
    fn_grant_write(&m, w->inv->request.id);
    int err = wire_send(w->sock, &m);
    wire_msg_fini(&m);
    worker_set(w, WORKER_RUNNING);
    uv_timer_start(&w->timer, on_deadline, (uint64_t)w->inv->timeout_ms, 0);
    if (err != ERR_NONE && err != ERR_CLOSED)
        worker_kill(w, INVOKE_CRASHED, "the grant could not be sent to the worker");
}
