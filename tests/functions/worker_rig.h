/* The real darkroom-worker at the other end of a socket pair, driven as a server would. */
#ifndef DARKROOM_TESTS_FUNCTIONS_WORKER_RIG_H
#define DARKROOM_TESTS_FUNCTIONS_WORKER_RIG_H

#include "functions/fn.h"
#include "base/chk.h"
#include "base/err.h"
#include "base/fsio.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PICTURE(array) slice_of(array, sizeof(array))

struct worker {
    pid_t pid;
    int sock;
    struct wire_reader r;
    struct arena *arena; /* of the last answer */
    struct fn_hello hello;
    int64_t admitted; /* bytes asked for in the last invocation, -1 when it did not ask */
};

static char program[PATH_MAX];
static bool plain_build;

static inline bool
find_program(void)
{
    char self[PATH_MAX] = "";
    if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
        return false;
    for (int up = 0; up < 5; up++) {
        char *slash = strrchr(self, '/');
        if (slash == NULL)
            return false;
        *slash = '\0';
        snprintf(program, sizeof(program), "%.*s/darkroom-worker", PATH_MAX - 32, self);
        plain_build = up == 4;
        if (access(program, X_OK) == 0)
            return true;
    }
    return false;
}

/* ---- the worker as a child ---- */

static inline pid_t
spawn(int sock, const char *sandbox)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char fd[16];
        snprintf(fd, sizeof(fd), "%d", sock);
        fcntl(sock, F_SETFD, 0);
        execl(program, "darkroom-worker", "--fd", fd, "--sandbox", sandbox, (char *)NULL);
        _exit(127);
    }
    return pid;
}

static inline void
worker_start(struct worker *w)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    *w = (struct worker){.sock = fds[0], .pid = spawn(fds[1], "auto")};
    close(fds[1]);
    assert_int_equal(wire_reader_init(&w->r), ERR_NONE);
    w->arena = arena_new(8 << 20);
    assert_int_equal(wire_recv(w->sock, &w->r), ERR_NONE);
    assert_int_equal(fn_hello_read(&w->r, w->arena, &w->hello), ERR_NONE);
    if (w->hello.problem.n > 0)
        fail_msg("%.*s", SLICE_FMT(w->hello.problem));
}

static inline int
worker_status(struct worker *w)
{
    int status;
    assert_int_equal(waitpid(w->pid, &status, 0), w->pid);
    return status;
}

/* Closes our end: it ends by itself, with success. */
static inline void
worker_stop(struct worker *w)
{
    close(w->sock);
    assert_int_equal(worker_status(w), 0);
    wire_reader_fini(&w->r);
    arena_free(&w->arena);
}

/* ---- one invocation ---- */

static inline void
send_request(struct worker *w, const struct fn_request *req, int fd)
{
    struct wire_msg m;
    fn_request_write(&m, req, fd);
    assert_int_equal(wire_send(w->sock, &m), ERR_NONE);
    wire_msg_fini(&m);
}

static inline void
send_grant(struct worker *w, int64_t id)
{
    struct wire_msg m;
    fn_grant_write(&m, id);
    assert_int_equal(wire_send(w->sock, &m), ERR_NONE);
    wire_msg_fini(&m);
}

/* Sends it, grants what is asked for, reads the result. */
static inline void
invoke_fd(struct worker *w, const struct fn_request *req, int fd, struct fn_result *res)
{
    arena_free(&w->arena);
    w->arena = arena_new(8 << 20);
    w->admitted = -1;
    send_request(w, req, fd);
    for (;;) {
        int64_t id;
        assert_int_equal(wire_recv(w->sock, &w->r), ERR_NONE);
        if (w->r.type != FN_MSG_ADMIT)
            break;
        assert_int_equal(fn_admit_read(&w->r, &id, &w->admitted), ERR_NONE);
        assert_int_equal(id, req->id);
        send_grant(w, id);
    }
    assert_int_equal(fn_result_read(&w->r, w->arena, req, res), ERR_NONE);
}

static inline void
invoke(struct worker *w, const struct fn_request *req, struct slice source, struct fn_result *res)
{
    int fd = fsio_memfd("source", source);
    assert_true(fd >= 0);
    invoke_fd(w, req, fd, res);
    close(fd);
}

static inline const struct fn_answer *
answer_of(const struct fn_result *res, const char *name)
{
    for (size_t i = 0; i < res->answer_count; i++)
        if (slice_eqs(res->answers[i].name, name))
            return &res->answers[i];
    fail_msg("no answer of %s", name);
    return NULL;
}

/* "T" and "F" for those two types, the value else, "" when absent. */
static inline struct slice
attr(const struct fn_answer *a, const char *name)
{
    for (size_t i = 0; i < a->attr_count; i++)
        if (slice_eqs(a->attrs[i].name, name))
            return a->attrs[i].value.n > 0 ? a->attrs[i].value : slice_of(&a->attrs[i].type, 1);
    return SLICE_LIT("");
}

static inline void
assert_attr(const struct fn_answer *a, const char *name, const char *want)
{
    struct slice got = attr(a, name);
    if (!slice_eqs(got, want))
        fail_msg("%s is \"%.*s\", want \"%s\"", name, SLICE_FMT(got), want);
}

static inline void
read_proc(pid_t pid, const char *leaf, struct buf *out)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, leaf);
    buf_init(out, 4 << 20);
    if (fsio_read_file(path, out) != ERR_NONE)
        buf_reset(out);
}

static inline void
assert_nothing_foreign(struct slice maps)
{
    static const char *const foreign[] = {"poppler", "Magick", "openslide", "sqlite", "microhttpd"};
    for (size_t i = 0; i < ARRAY_LEN(foreign); i++)
        if (slice_find(maps, slice_str(foreign[i])) >= 0)
            fail_msg("%s is mapped", foreign[i]);
}

/* Both functions over a source of that size, with the presets given. */
static inline struct fn_request
worker_request(size_t bytes, const char *presets)
{
    static int64_t id = 1000;
    return (struct fn_request){
        .id = ++id,
        .source_bytes = (int64_t)bytes,
        .source_type = SLICE_LIT("application/x-claim"),
        .pixels_frame_max = 1000000,
        .pixels_total_max = 2000000,
        .memory_bytes_max = 256 << 20,
        .deadline_ms = 30000,
        .calls = {{SLICE_LIT("thumbnail"), slice_str(presets)}, {SLICE_LIT("metadata"), {NULL, 0}}},
        .call_count = 2,
    };
}

#endif
