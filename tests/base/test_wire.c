/* Packets as sent, and everything a hostile peer can send instead. */
#include "base/err.h"
#include "base/wire.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

#define MAGIC_V1 0x44520001u

struct pair {
    int a, b;
    struct wire_reader r;
    size_t fds; /* open when it was made */
};

static size_t
count_fds(void)
{
    size_t n = 0;
    DIR *d = opendir("/proc/self/fd");
    assert_non_null(d);
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

static void
pair_init(struct pair *p)
{
    int s[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s), 0);
    p->a = s[0];
    p->b = s[1];
    assert_int_equal(wire_reader_init(&p->r), ERR_NONE);
    p->fds = count_fds();
}

static void
pair_fini(struct pair *p)
{
    wire_reader_fini(&p->r);
    if (p->a >= 0)
        close(p->a);
    close(p->b);
}

/* Bytes and descriptors just as given, past wire_send(). */
static void
send_raw(int sock, const void *bytes, size_t n, const int *fds, size_t fd_count)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(100 * sizeof(int))] = {0};
    struct iovec iov = {(void *)(uintptr_t)bytes, n};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fd_count > 0) {
        msg.msg_control = control;
        msg.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        memcpy(CMSG_DATA(c), fds, fd_count * sizeof(int));
    }
    assert_int_equal(sendmsg(sock, &msg, MSG_NOSIGNAL), n);
}

static void
test_round_trip(void **state)
{
    struct pair p;
    struct wire_msg m;
    int pipefd[2];
    (void)state;
    assert_int_equal(pipe2(pipefd, O_CLOEXEC), 0);
    pair_init(&p);
    wire_msg_init(&m, 77);
    wire_put_u32(&m, 0xfedcba98u);
    wire_put_i64(&m, INT64_MIN);
    wire_put_f64(&m, -0.1);
    wire_put_slice(&m, slice_of("a\0b", 3));
    wire_put_fd(&m, pipefd[1]);
    wire_put_slice(&m, SLICE_NONE);
    wire_put_fd(&m, pipefd[0]);
    wire_put_f64(&m, INFINITY);
    assert_int_equal(wire_send(p.a, &m), ERR_NONE);
    wire_msg_fini(&m);
    assert_int_equal(wire_recv(p.b, &p.r), ERR_NONE);
    assert_int_equal(p.r.type, 77);
    assert_int_equal(wire_get_u32(&p.r), 0xfedcba98u);
    assert_true(wire_get_i64(&p.r) == INT64_MIN);
    assert_true(wire_get_f64(&p.r) == -0.1);
    assert_true(slice_eq(wire_get_slice(&p.r), slice_of("a\0b", 3)));
    int w = wire_take_fd(&p.r);
    struct slice none = wire_get_slice(&p.r);
    assert_non_null(none.p);
    assert_int_equal(none.n, 0);
    int rd = wire_take_fd(&p.r);
    assert_true(isinf(wire_get_f64(&p.r)));
    assert_int_equal(wire_end(&p.r), ERR_NONE);
    assert_true(w >= 0 && (fcntl(w, F_GETFD) & FD_CLOEXEC) != 0);
    assert_int_equal(write(w, "!", 1), 1);
    char c = 0;
    assert_int_equal(read(rd, &c, 1), 1);
    assert_int_equal(c, '!');
    close(w);
    close(rd);
    close(pipefd[0]);
    close(pipefd[1]);
    pair_fini(&p);
}

static void
test_consumed_exactly(void **state)
{
    struct pair p;
    struct wire_msg m;
    (void)state;
    pair_init(&p);
    wire_msg_init(&m, 1);
    wire_put_u32(&m, 5);
    wire_put_fd(&m, p.a);
    assert_int_equal(wire_send(p.a, &m), ERR_NONE);
    assert_int_equal(wire_send(p.a, &m), ERR_NONE);
    assert_int_equal(wire_send(p.a, &m), ERR_NONE);
    wire_msg_fini(&m);
    /* All of it. */
    assert_int_equal(wire_recv(p.b, &p.r), ERR_NONE);
    assert_int_equal(wire_get_u32(&p.r), 5);
    int fd = wire_take_fd(&p.r);
    assert_true(fd >= 0);
    assert_int_equal(wire_end(&p.r), ERR_NONE);
    close(fd);
    /* Bytes left over, a descriptor left over; the next receive closes it. */
    assert_int_equal(wire_recv(p.b, &p.r), ERR_NONE);
    assert_int_equal(wire_get_u32(&p.r), 5);
    assert_int_equal(wire_end(&p.r), ERR_INVALID);
    assert_int_equal(wire_recv(p.b, &p.r), ERR_NONE);
    assert_int_equal(count_fds(), p.fds + 1);
    /* The index read as a number: the descriptor was not taken. */
    assert_int_equal(wire_get_i64(&p.r), 5);
    assert_int_equal(wire_end(&p.r), ERR_INVALID);
    wire_reader_fini(&p.r);
    assert_int_equal(count_fds(), p.fds);
    pair_fini(&p);
}

static void
test_past_the_end(void **state)
{
    struct pair p;
    struct wire_msg m;
    (void)state;
    pair_init(&p);
    wire_msg_init(&m, 1);
    wire_put_u32(&m, 0xffffffffu); /* as a slice: longer than the packet */
    wire_put_u32(&m, 9);
    assert_int_equal(wire_send(p.a, &m), ERR_NONE);
    assert_int_equal(wire_send(p.a, &m), ERR_NONE);
    wire_msg_fini(&m);
    assert_int_equal(wire_recv(p.b, &p.r), ERR_NONE);
    assert_null(wire_get_slice(&p.r).p);
    assert_int_equal(p.r.err, ERR_INVALID);
    assert_int_equal(wire_get_u32(&p.r), 0); /* nothing more is believed */
    assert_true(wire_get_f64(&p.r) == 0);
    assert_int_equal(wire_end(&p.r), ERR_INVALID);
    assert_int_equal(wire_recv(p.b, &p.r), ERR_NONE); /* a new message, a new start */
    assert_true(wire_get_i64(&p.r) == 0x9ffffffffLL);
    assert_int_equal(wire_get_u32(&p.r), 0);
    assert_int_equal(wire_end(&p.r), ERR_INVALID);
    pair_fini(&p);
}

static void
test_border(void **state)
{
    /* Seven bytes: one too few for the long number, and three that nobody reads. */
    struct pair p;
    const uint32_t seven[] = {MAGIC_V1, 3, 7, 5, 5};
    (void)state;
    pair_init(&p);
    for (int round = 0; round < 2; round++) {
        send_raw(p.a, seven, 12 + 7, NULL, 0);
        assert_int_equal(wire_recv(p.b, &p.r), ERR_NONE);
        if (round == 0) {
            assert_true(wire_get_i64(&p.r) == 0);
            assert_int_equal(p.r.err, ERR_INVALID);
        } else {
            assert_int_equal(wire_get_u32(&p.r), 5);
            assert_int_equal(p.r.err, ERR_NONE);
        }
        assert_int_equal(wire_end(&p.r), ERR_INVALID);
    }
    pair_fini(&p);
}

static void
expect_refused(struct pair *p, const void *bytes, size_t n, const int *fds, size_t fd_count)
{
    send_raw(p->a, bytes, n, fds, fd_count);
    assert_int_equal(wire_recv(p->b, &p->r), ERR_INVALID);
    assert_int_equal(count_fds(), p->fds);
    assert_int_equal(wire_get_u32(&p->r), 0);
    assert_int_equal(wire_take_fd(&p->r), -1);
    assert_int_equal(wire_end(&p->r), ERR_INVALID);
}

static void
test_bad_packets(void **state)
{
    struct pair p;
    const uint32_t good[] = {MAGIC_V1, 3, 4, 99};
    const uint32_t version[] = {MAGIC_V1 + 1, 3, 4, 99};
    const uint32_t magic[] = {0x12340001u, 3, 4, 99};
    const uint32_t longer[] = {MAGIC_V1, 3, 5, 99};
    const uint32_t shorter[] = {MAGIC_V1, 3, 3, 99};
    const uint32_t wraps[] = {MAGIC_V1, 3, 0xfffffff8u, 99};
    (void)state;
    pair_init(&p);
    int fds[2] = {p.a, p.b};
    send_raw(p.a, good, sizeof good, NULL, 0);
    assert_int_equal(wire_recv(p.b, &p.r), ERR_NONE);
    assert_int_equal(wire_get_u32(&p.r), 99);
    assert_int_equal(wire_end(&p.r), ERR_NONE);
    expect_refused(&p, version, sizeof version, fds, 2);
    expect_refused(&p, magic, sizeof magic, fds, 2);
    expect_refused(&p, longer, sizeof longer, fds, 2);
    expect_refused(&p, shorter, sizeof shorter, fds, 2);
    expect_refused(&p, wraps, sizeof wraps, NULL, 0);
    expect_refused(&p, good, 11, fds, 2);
    expect_refused(&p, good, 1, NULL, 0);
    expect_refused(&p, "", 0, fds, 1); /* an empty packet is no end of file when it brings one */
    pair_fini(&p);
}

static void
test_too_many_fds(void **state)
{
    struct pair p;
    const uint32_t head[] = {MAGIC_V1, 3, 0};
    int fds[WIRE_FDS_MAX + 1];
    (void)state;
    pair_init(&p);
    for (size_t i = 0; i < WIRE_FDS_MAX + 1; i++)
        fds[i] = p.a;
    expect_refused(&p, head, sizeof head, fds, WIRE_FDS_MAX + 1);
    /* As many as allowed, not one of them taken. */
    send_raw(p.a, head, sizeof head, fds, WIRE_FDS_MAX);
    assert_int_equal(wire_recv(p.b, &p.r), ERR_NONE);
    assert_int_equal(count_fds(), p.fds + WIRE_FDS_MAX);
    assert_int_equal(wire_end(&p.r), ERR_INVALID);
    wire_reader_fini(&p.r);
    assert_int_equal(count_fds(), p.fds);
    pair_fini(&p);
}

static void
test_bad_fd_index(void **state)
{
    struct pair p;
    const uint32_t twice[] = {MAGIC_V1, 3, 8, 0, 0};
    const uint32_t beyond[] = {MAGIC_V1, 3, 4, 1};
    const uint32_t huge[] = {MAGIC_V1, 3, 4, 0xffffffffu};
    (void)state;
    pair_init(&p);
    send_raw(p.a, twice, sizeof twice, &p.a, 1);
    assert_int_equal(wire_recv(p.b, &p.r), ERR_NONE);
    int fd = wire_take_fd(&p.r);
    assert_true(fd >= 0);
    assert_int_equal(wire_take_fd(&p.r), -1);
    assert_int_equal(p.r.err, ERR_INVALID);
    close(fd);
    send_raw(p.a, beyond, sizeof beyond, &p.a, 1);
    assert_int_equal(wire_recv(p.b, &p.r), ERR_NONE);
    assert_int_equal(wire_take_fd(&p.r), -1);
    send_raw(p.a, huge, sizeof huge, NULL, 0);
    assert_int_equal(wire_recv(p.b, &p.r), ERR_NONE);
    assert_int_equal(wire_take_fd(&p.r), -1);
    assert_int_equal(wire_end(&p.r), ERR_INVALID);
    assert_int_equal(count_fds(), p.fds);
    pair_fini(&p);
}

static void
test_largest_packet(void **state)
{
    /* On a socket as the kernel makes it, and one byte more. */
    struct pair p;
    struct wire_msg m;
    size_t most = WIRE_BYTES_MAX - 12 - 4;
    char *bytes = malloc(WIRE_BYTES_MAX + 1);
    (void)state;
    memset(bytes, 'z', WIRE_BYTES_MAX + 1);
    pair_init(&p);
    wire_msg_init(&m, 1);
    wire_put_slice(&m, slice_of(bytes, most));
    assert_int_equal(wire_send(p.a, &m), ERR_NONE);
    wire_put_u32(&m, 1);
    assert_int_equal(wire_send(p.a, &m), ERR_TOOBIG);
    wire_msg_fini(&m);
    assert_int_equal(wire_recv(p.b, &p.r), ERR_NONE);
    assert_true(slice_eq(wire_get_slice(&p.r), slice_of(bytes, most)));
    assert_int_equal(wire_end(&p.r), ERR_NONE);
    wire_msg_init(&m, 1);
    wire_put_slice(&m, slice_of(bytes, (size_t)1 << 33));
    assert_int_equal(wire_send(p.a, &m), ERR_TOOBIG);
    wire_msg_fini(&m);
    /* A peer that does not keep to the maximum. */
    for (uint32_t more = 0; more < 2; more++) {
        uint32_t head[] = {MAGIC_V1, 3, WIRE_BYTES_MAX - 12 + more};
        memcpy(bytes, head, sizeof head);
        expect_refused(&p, bytes, WIRE_BYTES_MAX + 1, &p.a, 1);
    }
    free(bytes);
    pair_fini(&p);
}

static void
test_put_too_many_fds(void **state)
{
    struct wire_msg m;
    (void)state;
    wire_msg_init(&m, 1);
    for (int i = 0; i < WIRE_FDS_MAX; i++)
        wire_put_fd(&m, 0);
    assert_int_equal(m.bytes.err, ERR_NONE);
    wire_put_fd(&m, 0);
    assert_int_equal(m.bytes.err, ERR_TOOBIG);
    assert_int_equal(m.fd_count, WIRE_FDS_MAX);
    assert_int_equal(wire_send(-1, &m), ERR_TOOBIG);
    wire_msg_fini(&m);
}

static void
test_foreign_ancillary(void **state)
{
    struct pair p;
    const uint32_t head[] = {MAGIC_V1, 3, 0};
    int on = 1;
    (void)state;
    pair_init(&p);
    assert_int_equal(setsockopt(p.b, SOL_SOCKET, SO_PASSCRED, &on, sizeof on), 0);
    expect_refused(&p, head, sizeof head, NULL, 0);
    expect_refused(&p, head, sizeof head, &p.a, 1);
    pair_fini(&p);
}

static void
test_busy_and_closed(void **state)
{
    struct pair p;
    struct wire_msg m;
    char block[4096] = {0};
    (void)state;
    pair_init(&p);
    assert_int_equal(fcntl(p.a, F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(fcntl(p.b, F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(wire_recv(p.b, &p.r), ERR_BUSY);
    wire_msg_init(&m, 1);
    wire_put_slice(&m, slice_of(block, sizeof block));
    int rc = ERR_NONE;
    for (int i = 0; i < 10000 && rc == ERR_NONE; i++)
        rc = wire_send(p.a, &m);
    assert_int_equal(rc, ERR_BUSY);
    assert_int_equal(wire_recv(p.b, &p.r), ERR_NONE);
    /* The peer goes: what it sent is still read, then the end is seen. */
    close(p.a);
    p.a = -1;
    int left = 0;
    while ((rc = wire_recv(p.b, &p.r)) == ERR_NONE)
        assert_true(++left < 10000);
    assert_int_equal(rc, ERR_CLOSED);
    assert_true(left > 0);
    assert_int_equal(wire_send(p.b, &m), ERR_CLOSED); /* and no SIGPIPE */
    wire_msg_fini(&m);
    pair_fini(&p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),       cmocka_unit_test(test_consumed_exactly),
        cmocka_unit_test(test_past_the_end),     cmocka_unit_test(test_border),
        cmocka_unit_test(test_bad_packets),      cmocka_unit_test(test_too_many_fds),
        cmocka_unit_test(test_bad_fd_index),     cmocka_unit_test(test_largest_packet),
        cmocka_unit_test(test_put_too_many_fds), cmocka_unit_test(test_foreign_ancillary),
        cmocka_unit_test(test_busy_and_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
