/*
 * A worker program that misbehaves on purpose, for tests of the runtime that keeps workers.
 *
 * How it starts is the end of its own name, which a test chooses by a symbolic link:
 *
 *   badworker          says hello and serves        badworker-boxed   the same in the real sandbox
 *   badworker-silent   never says hello             ... `starts` has the others
 *
 * How it serves an invocation is in the object's metadata, "x-amz-meta-bad: KIND" (`kinds`);
 * without it, and for a kind that is not in the list, it answers well: an output of five bytes per
 * preset. What it sends well is made by functions/fn.c, the lies are bent from that.
 */
#include "base/chk.h"
#include "base/err.h"
#include "base/fsio.h"
#include "functions/fn.h"
#include "functions/preset.h"
#include "functions/sandbox.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ARENA_BYTES (2u << 20)
#define NOISE_BYTES ((size_t)100 << 20)
#define OVER_BYTES ((int64_t)64 << 20)
#define FORKS 40
#define FDS_KERNEL_MAX 253 /* SCM_MAX_FD: of one message */
#define UID_NOBODY 65534
#define UNKNOWN_LENGTH 0xffffffffu

static int sock;
static struct fn_request req;
static struct wire_reader reader;

/* By a call that the sandbox allows. */
static void
wait_for_ever(void)
{
    const struct timespec hour = {3600, 0};
    for (;;)
        nanosleep(&hour, NULL);
}

/* ---- a good answer ---- */

struct reply {
    struct fn_result result;
    struct fn_output outputs[FN_OUTPUTS_MAX + 1];
    struct preset_list presets;
    char hashes[PRESETS_MAX][PRESET_HASH_TEXT];
};

static void
reply_outputs(struct reply *r, struct fn_answer *answer, struct slice config)
{
    CHK(preset_config_read(config, &r->presets) == ERR_NONE);
    answer->outputs = r->outputs;
    answer->output_count = r->presets.count;
    for (size_t i = 0; i < r->presets.count; i++) {
        const struct preset *p = &r->presets.presets[i];
        preset_hash(p, r->hashes[i]);
        r->outputs[i] =
            (struct fn_output){.name = slice_str(p->name),
                               .extension = slice_str(preset_extension(p->format)),
                               .content_type = slice_str(preset_content_type(p->format)),
                               .config_hash = slice_str(r->hashes[i]),
                               .status = FN_OK,
                               .bytes = 5,
                               .width = 1,
                               .height = 1,
                               .fd = fsio_memfd("out", SLICE_LIT("bytes"))};
    }
}

static void
reply_make(struct reply *r)
{
    *r = (struct reply){.result = {.id = req.id, .answer_count = req.call_count}};
    for (size_t i = 0; i < req.call_count; i++) {
        struct fn_answer *answer = &r->result.answers[i];
        *answer = (struct fn_answer){.name = req.calls[i].name, .status = FN_OK};
        if (slice_eqs(answer->name, "thumbnail"))
            reply_outputs(r, answer, req.calls[i].config);
    }
}

static void
say(struct wire_msg *m)
{
    (void)wire_send(sock, m); /* the server may have gone, or killed us already */
    wire_msg_fini(m);
}

static void
reply_send(struct reply *r)
{
    struct wire_msg m;
    fn_result_write(&m, &r->result);
    say(&m);
    fn_result_close(&r->result);
}

static void
answer_well(void)
{
    struct reply r;
    reply_make(&r);
    reply_send(&r);
}

static void
ask(int64_t id, int64_t bytes)
{
    struct wire_msg m;
    fn_admit_write(&m, id, bytes);
    say(&m);
}

static void
be_admitted(void)
{
    int64_t id;
    ask(req.id, 1 << 20);
    if (wire_recv(sock, &reader) != ERR_NONE || fn_grant_read(&reader, &id) != ERR_NONE)
        _exit(1);
}

static void
say_hello(const char *problem)
{
    struct wire_msg m;
    struct fn_hello hello = {.pid = getpid(),
                             .formats = SLICE_LIT("none"),
                             .missing = SLICE_LIT("everything"),
                             .problem = slice_str(problem)};
    fn_hello_write(&m, &hello);
    say(&m);
}

/* ---- no answer ---- */

static void
kind_loop(void)
{
    volatile uint64_t n = 0;
    be_admitted();
    for (;;)
        n++;
}

static void
kind_stubborn(void)
{
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    wait_for_ever();
}

static void
kind_stops(void)
{
    for (;;)
        raise(SIGSTOP);
}

/* As much as is over the limit by all means, and not much more: the machine has other work. */
static void
kind_memory(void)
{
    size_t n = (size_t)(req.memory_bytes_max + OVER_BYTES);
    char *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    be_admitted();
    CHK(p != MAP_FAILED);
    for (size_t at = 0; at < n; at += 4096)
        p[at] = 1;
    wait_for_ever();
}

static void
kind_exits(void)
{
    be_admitted();
    fprintf(stderr, "first words\nthe colour table is on fire\n");
    _exit(3);
}

static void
kind_aborts(void)
{
    abort();
}

static void
kind_closes(void)
{
    close(sock);
    wait_for_ever();
}

static void
kind_half_closes(void)
{
    shutdown(sock, SHUT_WR);
    wait_for_ever();
}

static void
kind_answers_and_closes(void)
{
    answer_well();
    kind_half_closes();
}

/* ---- out of turn ---- */

static void
kind_twice(void)
{
    answer_well();
    answer_well();
    wait_for_ever();
}

static void
kind_other_id(void)
{
    struct reply r;
    reply_make(&r);
    r.result.id++;
    reply_send(&r);
    wait_for_ever();
}

static void
kind_hello_again(void)
{
    say_hello("");
    wait_for_ever();
}

static void
kind_admit_twice(void)
{
    be_admitted();
    ask(req.id, 1 << 20);
    wait_for_ever();
}

static void
kind_admit_huge(void)
{
    ask(req.id, INT64_C(1) << 62);
    wait_for_ever();
}

static void
kind_admit_less(void)
{
    ask(req.id, -1);
    wait_for_ever();
}

static void
kind_admit_other_id(void)
{
    ask(req.id + 1, 1);
    wait_for_ever();
}

/* ---- bytes ---- */

static void
send_raw(const void *p, size_t n)
{
    (void)send(sock, p, n, MSG_NOSIGNAL);
}

/* The good answer as bytes and descriptors: wire_send() fills in the length of its head only. */
static void
bent(size_t at, uint32_t value)
{
    struct reply r;
    struct wire_msg m;
    reply_make(&r);
    fn_result_write(&m, &r.result);
    CHK(at + sizeof value <= m.bytes.n);
    memcpy(m.bytes.p + at, &value, sizeof value);
    say(&m);
    wait_for_ever();
}

#define HEAD_BYTES 12
#define AT_COUNT (HEAD_BYTES + 32)    /* behind id, rss_peak_bytes, decode */
#define AT_NAME_LENGTH (AT_COUNT + 4) /* of the first answer */

static void
kind_count_lies(void)
{
    bent(AT_COUNT, 0x7fffffff);
}

static void
kind_length_lies(void)
{
    bent(AT_NAME_LENGTH, UNKNOWN_LENGTH);
}

static void
kind_length_past_end(void)
{
    bent(AT_NAME_LENGTH, 100000);
}

static void
kind_bytes_lie(void)
{
    struct reply r;
    reply_make(&r);
    r.outputs[0].bytes = INT64_MIN; /* 2^63 */
    reply_send(&r);
    wait_for_ever();
}

static void
kind_head_lies(void)
{
    static const uint32_t head[3] = {0x44520000u | WIRE_VERSION, FN_MSG_RESULT, UNKNOWN_LENGTH};
    send_raw(head, sizeof head);
    wait_for_ever();
}

static void
kind_half_head(void)
{
    send_raw("DR", 2);
    wait_for_ever();
}

static void
kind_nothing_sent(void) /* a packet of no bytes */
{
    send_raw("", 0);
    wait_for_ever();
}

static void
kind_part(void)
{
    struct reply r;
    struct wire_msg m;
    reply_make(&r);
    fn_result_write(&m, &r.result);
    send_raw(m.bytes.p, m.bytes.n / 2);
    wait_for_ever();
}

static void
kind_giant(void)
{
    size_t n = WIRE_BYTES_MAX + 4096;
    char *p = calloc(1, n);
    CHK(p != NULL);
    send_raw(p, n);
    wait_for_ever();
}

static void
kind_many_outputs(void)
{
    struct reply r;
    static char names[FN_OUTPUTS_MAX + 1][8];
    reply_make(&r);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(names[i], sizeof names[i], "n%zu", i);
        r.outputs[i] = r.outputs[0];
        r.outputs[i].name = slice_str(names[i]);
        r.outputs[i].status = FN_FAILED;
        r.outputs[i].fd = -1;
    }
    for (size_t i = 0; i < req.call_count; i++)
        if (r.result.answers[i].outputs != NULL)
            r.result.answers[i].output_count = ARRAY_LEN(names);
    reply_send(&r);
    wait_for_ever();
}

/* ---- descriptors ---- */

static void
answer_with(int fd)
{
    struct reply r;
    reply_make(&r);
    r.outputs[0].fd = fd;
    reply_send(&r);
    wait_for_ever();
}

static void
kind_fd_pipe(void)
{
    int pipes[2];
    CHK(pipe(pipes) == 0);
    answer_with(pipes[0]);
}

static void
kind_fd_directory(void)
{
    answer_with(open("/", O_RDONLY | O_DIRECTORY));
}

static void
kind_fd_terminal(void)
{
    answer_with(posix_openpt(O_RDWR | O_NOCTTY));
}

static void
kind_fd_socket(void)
{
    answer_with(sock);
}

static void
kind_fd_unsealed(void)
{
    int fd = memfd_create("open", MFD_ALLOW_SEALING);
    CHK(fd >= 0 && write(fd, "bytes", 5) == 5);
    answer_with(fd);
}

static void
kind_fd_other_size(void)
{
    answer_with(fsio_memfd("long", SLICE_LIT("more bytes than announced")));
}

/* More than the message speaks of. */
static void
kind_fd_more(void)
{
    struct reply r;
    struct wire_msg m;
    reply_make(&r);
    fn_result_write(&m, &r.result);
    m.fds[m.fd_count++] = STDERR_FILENO;
    say(&m);
    wait_for_ever();
}

static void
kind_fd_none(void)
{
    struct reply r;
    struct wire_msg m;
    reply_make(&r);
    fn_result_write(&m, &r.result);
    m.fd_count = 0;
    say(&m);
    wait_for_ever();
}

static void
kind_fd_with_admit(void)
{
    struct wire_msg m;
    fn_admit_write(&m, req.id, 1);
    while (m.fd_count < WIRE_FDS_MAX)
        m.fds[m.fd_count++] = STDERR_FILENO;
    say(&m);
    wait_for_ever();
}

/* As many as the kernel takes, which is more than the server wants. */
static void
kind_fd_flood(void)
{
    char byte = 'x';
    int fds[FDS_KERNEL_MAX];
    static _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof fds)];
    struct iovec iov = {&byte, 1};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fds);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        fds[i] = STDERR_FILENO;
    memcpy(CMSG_DATA(c), fds, sizeof fds);
    CHK(sendmsg(sock, &msg, MSG_NOSIGNAL) == 1);
    wait_for_ever();
}

/* ---- noise and children ---- */

static void
make_noise(size_t bytes)
{
    char line[4096];
    memset(line, 'n', sizeof line);
    line[sizeof line - 1] = '\n';
    for (size_t done = 0; done < bytes; done += sizeof line)
        if (write(STDERR_FILENO, line, sizeof line) < 0)
            _exit(1);
}

static void
kind_noise(void)
{
    make_noise(NOISE_BYTES);
    answer_well();
}

static void
kind_noise_for_ever(void)
{
    make_noise(SIZE_MAX / 2);
}

/* Deaf to polite signals, with the socket and the standard error of the worker open. */
static void
child(void)
{
    signal(SIGHUP, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
}

static void
kind_forks(void)
{
    for (int i = 0; i < FORKS; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            child();
            (void)!fork(); /* and one more behind each */
            wait_for_ever();
        }
        CHK(pid > 0);
    }
    wait_for_ever();
}

static void
kind_leaves_children(void)
{
    if (fork() == 0) {
        child();
        wait_for_ever();
    }
    _exit(4);
}

static void
kind_leaves_a_writer(void)
{
    if (fork() == 0) {
        child();
        make_noise(SIZE_MAX / 2);
    }
    _exit(5);
}

/* ---- against the server, for badworker-boxed: the kernel ends it at the call ---- */

static void
kind_kills_server(void)
{
    kill(getppid(), SIGKILL);
    answer_well();
}

static void
kind_stops_server(void)
{
    kill(getppid(), SIGSTOP);
    answer_well();
}

static void
kind_signal_storm(void)
{
    for (int i = 0; i < 100000; i++)
        kill(getppid(), SIGTERM);
    answer_well();
}

/* The kernel would send it for us. */
static void
kind_owns_server(void)
{
    if (fcntl(sock, F_SETOWN, getppid()) == 0)
        answer_well();
}

static void
kind_limits_server(void)
{
    struct rlimit none = {0, 0};
    prlimit(getppid(), RLIMIT_NOFILE, &none, NULL);
    answer_well();
}

/* ---- which ---- */

typedef void (*run_fn)(void);

struct kind {
    const char *name;
    run_fn run;
};

static const struct kind kinds[] = {
    {"loop", kind_loop},
    {"stubborn", kind_stubborn},
    {"stops", kind_stops},
    {"memory", kind_memory},
    {"exits", kind_exits},
    {"aborts", kind_aborts},
    {"closes", kind_closes},
    {"half-closes", kind_half_closes},
    {"answers-and-closes", kind_answers_and_closes},
    {"twice", kind_twice},
    {"other-id", kind_other_id},
    {"hello-again", kind_hello_again},
    {"admit-twice", kind_admit_twice},
    {"admit-huge", kind_admit_huge},
    {"admit-less", kind_admit_less},
    {"admit-other-id", kind_admit_other_id},
    {"count-lies", kind_count_lies},
    {"length-lies", kind_length_lies},
    {"length-past-end", kind_length_past_end},
    {"bytes-lie", kind_bytes_lie},
    {"head-lies", kind_head_lies},
    {"half-head", kind_half_head},
    {"nothing-sent", kind_nothing_sent},
    {"part", kind_part},
    {"giant", kind_giant},
    {"many-outputs", kind_many_outputs},
    {"fd-pipe", kind_fd_pipe},
    {"fd-directory", kind_fd_directory},
    {"fd-terminal", kind_fd_terminal},
    {"fd-socket", kind_fd_socket},
    {"fd-unsealed", kind_fd_unsealed},
    {"fd-other-size", kind_fd_other_size},
    {"fd-more", kind_fd_more},
    {"fd-none", kind_fd_none},
    {"fd-with-admit", kind_fd_with_admit},
    {"fd-flood", kind_fd_flood},
    {"noise", kind_noise},
    {"noise-for-ever", kind_noise_for_ever},
    {"forks", kind_forks},
    {"leaves-children", kind_leaves_children},
    {"leaves-a-writer", kind_leaves_a_writer},
    {"kills-server", kind_kills_server},
    {"stops-server", kind_stops_server},
    {"signal-storm", kind_signal_storm},
    {"owns-server", kind_owns_server},
    {"limits-server", kind_limits_server},
};

static void
start_silent(void)
{
    wait_for_ever();
}

static void
start_problem(void)
{
    say_hello("no codec was willing");
    wait_for_ever();
}

static void
start_garbage(void)
{
    send_raw("good morning, server", 20);
    wait_for_ever();
}

/* The right head, and nothing in it. */
static void
start_empty_hello(void)
{
    struct wire_msg m;
    wire_msg_init(&m, FN_MSG_HELLO);
    say(&m);
    wait_for_ever();
}

static void
start_exits(void)
{
    fprintf(stderr, "libnothing.so.1: cannot open shared object file\n");
    _exit(127);
}

static void
start_hello_exits(void)
{
    say_hello("");
    _exit(6);
}

static void
start_hello_closes(void)
{
    say_hello("");
    close(sock);
    wait_for_ever();
}

static void
start_hello_answers(void)
{
    say_hello("");
    req.id = 1;
    answer_well();
    wait_for_ever();
}

static void
start_boxed(void)
{
    struct buf missing;
    struct sandbox s = {.sock = sock,
                        .uid = UID_NOBODY,
                        .memory_bytes = (int64_t)1 << 30,
                        .file_bytes = FN_OUTPUT_BYTES_MAX,
                        .parent = getppid(),
                        .missing = &missing};
    buf_init(&missing, 512);
    sandbox_prepare(&s);
    if (sandbox_close_files(&s) != ERR_NONE)
        _exit(0);
    sandbox_seal(&s);
    say_hello(missing.p == NULL ? "" : missing.p);
}

static void
start_well(void)
{
    say_hello("");
}

static const struct kind starts[] = {
    {"silent", start_silent},
    {"problem", start_problem},
    {"garbage", start_garbage},
    {"empty-hello", start_empty_hello},
    {"exits", start_exits},
    {"hello-exits", start_hello_exits},
    {"hello-closes", start_hello_closes},
    {"hello-answers", start_hello_answers},
    {"boxed", start_boxed},
};

static run_fn
find(const struct kind *list, size_t n, struct slice name, run_fn otherwise)
{
    for (size_t i = 0; i < n; i++)
        if (slice_eqs(name, list[i].name))
            return list[i].run;
    return otherwise;
}

static void
serve_one(struct arena *a)
{
    int source = -1;
    static const char name[] = "x-amz-meta-bad"; /* with its NUL */
    if (wire_recv(sock, &reader) != ERR_NONE ||
        fn_request_read(&reader, a, &req, &source) != ERR_NONE)
        _exit(0);
    close(source);
    ptrdiff_t at = slice_find(req.source_hints, slice_of(name, sizeof name));
    const char *kind = at < 0 ? "" : req.source_hints.p + at + sizeof name;
    find(kinds, ARRAY_LEN(kinds), slice_str(kind), answer_well)();
}

int
main(int argc, char **argv)
{
    static const char name[] = "badworker-";
    const char *start = strstr(argv[0], name);
    uint64_t fd = 0;
    CHK(argc > 2 && slice_to_u64(slice_str(argv[2]), &fd) == ERR_NONE); /* --fd N */
    sock = (int)fd;
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    CHK(setpgid(0, 0) == 0); /* as sandbox_prepare() does: what it forks is killed with it */
    CHK(wire_reader_init(&reader) == ERR_NONE);
    find(starts, ARRAY_LEN(starts), slice_str(start == NULL ? "" : start + sizeof name - 1),
         start_well)();
    for (;;) {
        struct arena *a = arena_new(ARENA_BYTES);
        CHK(a != NULL);
        serve_one(a);
        arena_free(&a);
    }
}
