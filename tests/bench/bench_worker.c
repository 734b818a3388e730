#include "tests/bench/bench_worker.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHILD_SOCK 3
#define ANSWER_SECONDS_MAX 60
#define ARENA_BYTES (64u << 10)
#define ASLEEP_MS_MAX 1000
#define PIXELS_FRAME_MAX 50000000
#define PIXELS_TOTAL_MAX 100000000
#define MEMORY_BYTES_MAX ((int64_t)1024 << 20)
#define DEADLINE_MS 30000

void
bench_die(const char *what, const char *detail)
{
    fprintf(stderr, "%s: %s\n", what, detail);
    exit(EXIT_FAILURE);
}

static _Noreturn void
become(const char *program, int sock)
{
    char *args[] = {(char *)program, "--fd", "3", "--sandbox", "auto", "--memory-mb", "1024", NULL};
    char *environment[] = {NULL};
    /* A duplicate onto itself would keep close-on-exec. */
    if (sock == CHILD_SOCK ? fcntl(sock, F_SETFD, 0) == 0 : dup2(sock, CHILD_SOCK) == CHILD_SOCK)
        execve(program, args, environment);
    _exit(EXIT_FAILURE);
}

static void
hear_hello(struct bench_worker *w)
{
    struct fn_hello hello;
    struct arena *a = arena_new(ARENA_BYTES);
    CHK(a != NULL);
    if (wire_recv(w->sock, &w->reader) != ERR_NONE || w->reader.type != FN_MSG_HELLO ||
        fn_hello_read(&w->reader, a, &hello) != ERR_NONE)
        bench_die("worker", "no hello");
    if (hello.problem.n > 0)
        bench_die("worker cannot work", hello.problem.p);
    arena_free(&a);
}

void
bench_worker_start(struct bench_worker *w, const char *program)
{
    int pair[2];
    struct timeval limit = {.tv_sec = ANSWER_SECONDS_MAX};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        bench_die("worker", "no socket pair");
    w->pid = fork();
    if (w->pid == 0)
        become(program, pair[1]);
    close(pair[1]);
    w->sock = pair[0];
    w->last_id = 0;
    CHK(setsockopt(w->sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    CHK(w->pid > 0 && wire_reader_init(&w->reader) == ERR_NONE);
    hear_hello(w);
}

static void
send_request(struct bench_worker *w, const struct fn_request *req, int source_fd)
{
    struct wire_msg m;
    fn_request_write(&m, req, source_fd);
    if (wire_send(w->sock, &m) != ERR_NONE)
        bench_die("worker", "takes no request");
    wire_msg_fini(&m);
}

/* Whatever memory it asks for is granted at once. */
static void
grant(struct bench_worker *w)
{
    struct wire_msg m;
    int64_t id, bytes;
    if (fn_admit_read(&w->reader, &id, &bytes) != ERR_NONE)
        bench_die("worker", "asks for memory in a wrong way");
    fn_grant_write(&m, id);
    if (wire_send(w->sock, &m) != ERR_NONE)
        bench_die("worker", "takes no grant");
    wire_msg_fini(&m);
}

void
bench_worker_invoke(struct bench_worker *w, const char *path, const struct fn_call *calls,
                    size_t call_count, struct arena *a, struct fn_result *result)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0)
        bench_die("cannot open", path);
    struct fn_request req = {.id = ++w->last_id,
                             .source_bytes = st.st_size,
                             .source_type = SLICE_LIT("application/octet-stream"),
                             .pixels_frame_max = PIXELS_FRAME_MAX,
                             .pixels_total_max = PIXELS_TOTAL_MAX,
                             .memory_bytes_max = MEMORY_BYTES_MAX,
                             .deadline_ms = DEADLINE_MS,
                             .call_count = call_count};
    memcpy(req.calls, calls, call_count * sizeof *calls);
    send_request(w, &req, fd);
    close(fd);
    for (;;) {
        if (wire_recv(w->sock, &w->reader) != ERR_NONE)
            bench_die("worker gave no answer for", path);
        if (w->reader.type != FN_MSG_ADMIT)
            break;
        grant(w);
    }
    if (w->reader.type != FN_MSG_RESULT || fn_result_read(&w->reader, a, &req, result) != ERR_NONE)
        bench_die("worker gave a wrong answer for", path);
}

/* One small file of /proc/PID. */
static void
proc_read(pid_t pid, const char *name, char *text, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);
    if (n <= 0)
        bench_die("cannot read", path);
    close(fd);
    text[n] = '\0';
}

/* It answers first and frees then: it has done so when it sleeps, waiting for the next request. */
static void
wait_asleep(pid_t pid)
{
    char text[512];
    int64_t end_ms = clock_mono_ms() + ASLEEP_MS_MAX;
    do {
        sched_yield();
        proc_read(pid, "stat", text, sizeof text);
    } while (strstr(text, ") S ") == NULL && clock_mono_ms() < end_ms);
}

int64_t
bench_worker_rss_bytes(const struct bench_worker *w)
{
    char text[256];
    wait_asleep(w->pid);
    proc_read(w->pid, "statm", text, sizeof text);
    char *resident = strchr(text, ' ');
    return resident == NULL ? 0 : strtoll(resident, NULL, 10) * sysconf(_SC_PAGESIZE);
}

static int64_t
clock_us(clockid_t clock)
{
    struct timespec t;
    CHK(clock_gettime(clock, &t) == 0);
    return t.tv_sec * (int64_t)1000000 + t.tv_nsec / 1000;
}

int64_t
bench_worker_cpu_us(const struct bench_worker *w)
{
    clockid_t clock;
    wait_asleep(w->pid);
    CHK(clock_getcpuclockid(w->pid, &clock) == 0);
    return clock_us(clock);
}

int64_t
bench_cpu_us(void)
{
    return clock_us(CLOCK_PROCESS_CPUTIME_ID);
}

void
bench_worker_stop(struct bench_worker *w)
{
    close(w->sock);
    wire_reader_fini(&w->reader);
    waitpid(w->pid, NULL, 0);
}
