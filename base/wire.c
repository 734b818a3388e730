/*
 * A packet is a header of three 32-bit numbers (magic and version, type, bytes that follow) and
 * the payload, all little-endian; descriptors travel beside it, and the payload holds their index
 * where they were put.
 *
 * Reading distrusts everything: one recvmsg() takes the packet, all of its descriptors are in the
 * reader's list (or closed) before anything is judged, and the first doubt empties the message and
 * sticks in `err`, after which every getter answers nothing. A descriptor is owned by the reader
 * until wire_take_fd() gives it away; -1 marks the place of one that is gone.
 */
#include "base/wire.h"
#include "base/chk.h"
#include "base/err.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define WIRE_MAGIC (0x44520000u | WIRE_VERSION)
#define HEAD_BYTES 12
#define HEAD_TYPE 4
#define HEAD_LENGTH 8

#define CONTROL_BYTES CMSG_SPACE(WIRE_FDS_MAX * sizeof(int))

static void
store_u32(char *p, uint32_t v)
{
    v = htole32(v);
    memcpy(p, &v, sizeof v);
}

static uint32_t
load_u32(const char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return le32toh(v);
}

/* ---- writing ---- */

void
wire_msg_init(struct wire_msg *m, uint32_t type)
{
    m->fd_count = 0;
    buf_init(&m->bytes, WIRE_BYTES_MAX);
    wire_put_u32(m, WIRE_MAGIC);
    wire_put_u32(m, type);
    wire_put_u32(m, 0); /* the length, known when it is sent */
}

void
wire_msg_fini(struct wire_msg *m)
{
    buf_fini(&m->bytes);
    m->fd_count = 0;
}

void
wire_put_u32(struct wire_msg *m, uint32_t v)
{
    v = htole32(v);
    buf_put(&m->bytes, &v, sizeof v);
}

static void
put_u64(struct wire_msg *m, uint64_t v)
{
    v = htole64(v);
    buf_put(&m->bytes, &v, sizeof v);
}

void
wire_put_i64(struct wire_msg *m, int64_t v)
{
    put_u64(m, (uint64_t)v);
}

void
wire_put_f64(struct wire_msg *m, double v)
{
    uint64_t bits;
    _Static_assert(sizeof bits == sizeof v, "a double has 64 bits");
    memcpy(&bits, &v, sizeof bits);
    put_u64(m, bits);
}

void
wire_put_slice(struct wire_msg *m, struct slice s)
{
    if (s.n > WIRE_BYTES_MAX) {
        m->bytes.err = m->bytes.err == ERR_NONE ? ERR_TOOBIG : m->bytes.err;
        return;
    }
    wire_put_u32(m, (uint32_t)s.n);
    buf_put_slice(&m->bytes, s);
}

void
wire_put_fd(struct wire_msg *m, int fd)
{
    CHK(fd >= 0);
    if (m->bytes.err != ERR_NONE)
        return;
    if (m->fd_count == WIRE_FDS_MAX) {
        m->bytes.err = ERR_TOOBIG;
        return;
    }
    wire_put_u32(m, (uint32_t)m->fd_count);
    m->fds[m->fd_count++] = fd;
}

int
wire_send(int sock, const struct wire_msg *m)
{
    if (m->bytes.err != ERR_NONE)
        return m->bytes.err;
    CHK(m->bytes.n >= HEAD_BYTES);
    char head[HEAD_BYTES];
    memcpy(head, m->bytes.p, HEAD_BYTES);
    store_u32(head + HEAD_LENGTH, (uint32_t)(m->bytes.n - HEAD_BYTES));
    struct iovec iov[] = {{head, HEAD_BYTES}, {m->bytes.p + HEAD_BYTES, m->bytes.n - HEAD_BYTES}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = ARRAY_LEN(iov)};
    _Alignas(struct cmsghdr) char control[CONTROL_BYTES] = {0};
    if (m->fd_count > 0) {
        size_t fds_bytes = (size_t)m->fd_count * sizeof(int);
        msg.msg_control = control;
        msg.msg_controllen = CMSG_SPACE(fds_bytes);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(fds_bytes);
        memcpy(CMSG_DATA(c), m->fds, fds_bytes);
    }
    ssize_t n;
    do {
        n = sendmsg(sock, &msg, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return err_from_errno(errno);
    return (size_t)n == m->bytes.n ? ERR_NONE : ERR_IO;
}

/* ---- reading ---- */

void
wire_reader_clear(struct wire_reader *r)
{
    for (int i = 0; i < r->fd_count; i++) {
        if (r->fds[i] >= 0)
            close(r->fds[i]);
    }
    r->fd_count = 0;
    r->n = r->at = 0;
    r->type = 0;
}

int
wire_reader_init(struct wire_reader *r)
{
    *r = (struct wire_reader){.bytes = malloc(WIRE_BYTES_MAX)};
    return r->bytes == NULL ? ERR_NOMEM : ERR_NONE;
}

void
wire_reader_fini(struct wire_reader *r)
{
    wire_reader_clear(r);
    free(r->bytes);
    r->bytes = NULL;
}

/* Every descriptor that came is listed or closed, whatever else is wrong with the message. */
static bool
collect_fds(struct wire_reader *r, struct msghdr *msg)
{
    bool good = true;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            good = false;
            continue;
        }
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (r->fd_count < WIRE_FDS_MAX) {
                r->fds[r->fd_count++] = fd;
            } else {
                close(fd);
                good = false;
            }
        }
    }
    return good;
}

static int
receive(int sock, struct wire_reader *r)
{
    _Alignas(struct cmsghdr) char control[CONTROL_BYTES];
    struct iovec iov = {r->bytes, WIRE_BYTES_MAX};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t n;
    do {
        n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return err_from_errno(errno);
    bool good = collect_fds(r, &msg);
    if (n == 0 && r->fd_count == 0 && good && (msg.msg_flags & MSG_CTRUNC) == 0)
        return ERR_CLOSED;
    if (!good || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 || n < HEAD_BYTES)
        return ERR_INVALID;
    if (load_u32(r->bytes) != WIRE_MAGIC ||
        load_u32(r->bytes + HEAD_LENGTH) != (size_t)n - HEAD_BYTES)
        return ERR_INVALID;
    r->type = load_u32(r->bytes + HEAD_TYPE);
    r->n = (size_t)n;
    r->at = HEAD_BYTES;
    return ERR_NONE;
}

int
wire_recv(int sock, struct wire_reader *r)
{
    CHK(r->bytes != NULL);
    wire_reader_clear(r);
    r->err = receive(sock, r);
    if (r->err != ERR_NONE)
        wire_reader_clear(r);
    return r->err;
}

/* The next n bytes, or NULL for good once there are too few. */
static const char *
take(struct wire_reader *r, size_t n)
{
    if (r->err == ERR_NONE && n > r->n - r->at)
        r->err = ERR_INVALID;
    if (r->err != ERR_NONE)
        return NULL;
    const char *p = r->bytes + r->at;
    r->at += n;
    return p;
}

uint32_t
wire_get_u32(struct wire_reader *r)
{
    const char *p = take(r, 4);
    return p == NULL ? 0 : load_u32(p);
}

static uint64_t
get_u64(struct wire_reader *r)
{
    uint64_t v = 0;
    const char *p = take(r, sizeof v);
    if (p != NULL)
        memcpy(&v, p, sizeof v);
    return le64toh(v);
}

int64_t
wire_get_i64(struct wire_reader *r)
{
    return (int64_t)get_u64(r);
}

double
wire_get_f64(struct wire_reader *r)
{
    uint64_t bits = get_u64(r);
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

struct slice
wire_get_slice(struct wire_reader *r)
{
    uint32_t n = wire_get_u32(r);
    const char *p = take(r, n);
    return p == NULL ? SLICE_NONE : slice_of(p, n);
}

int
wire_take_fd(struct wire_reader *r)
{
    uint32_t i = wire_get_u32(r);
    if (r->err == ERR_NONE && (i >= (uint32_t)r->fd_count || r->fds[i] < 0))
        r->err = ERR_INVALID;
    if (r->err != ERR_NONE)
        return -1;
    int fd = r->fds[i];
    r->fds[i] = -1;
    return fd;
}

int
wire_end(struct wire_reader *r)
{
    for (int i = 0; i < r->fd_count && r->err == ERR_NONE; i++) {
        if (r->fds[i] >= 0)
            r->err = ERR_INVALID;
    }
    if (r->err == ERR_NONE && r->at != r->n)
        r->err = ERR_INVALID;
    return r->err;
}
