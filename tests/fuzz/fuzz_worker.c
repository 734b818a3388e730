/*
 * What a worker sends, read by the server: through a real socket, with real descriptors.
 *
 *   byte 1   the type in the packet's head; 128: the rest is the packet, head and all
 *   byte 2   memfds that travel with it: count in the low half, whose of them are not sealed above
 *
 * A message is refused, or it can be written and read again and says the same; either way no
 * descriptor is left behind.
 */
#include "functions/fn.h"
#include "metadata/item.h"
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define MEMFDS 8
#define RAW 128

static int pair[2] = {-1, -1};
static int sealed[MEMFDS], loose[MEMFDS];
static struct wire_reader reader;

static const struct fn_request request = {
    .id = 7,
    .source_bytes = 1,
    .pixels_frame_max = 1,
    .pixels_total_max = 1,
    .memory_bytes_max = 1,
    .deadline_ms = 1,
    .calls = {{{"thumbnail", 9}, {NULL, 0}}, {{"metadata", 8}, {NULL, 0}}},
    .call_count = 2,
};

static int
memfd_of(size_t bytes, bool seal)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHK(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
    if (seal)
        CHK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK) == 0);
    return fd;
}

static void
prepare(void)
{
    if (pair[0] >= 0)
        return;
    CHK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair) == 0);
    CHK(wire_reader_init(&reader) == ERR_NONE);
    for (size_t i = 0; i < MEMFDS; i++) {
        sealed[i] = memfd_of(1 + i, true);
        loose[i] = memfd_of(1 + i, false);
    }
}

/* The lowest free number: it rises when somebody forgot to close. */
static int
next_fd(void)
{
    int fd = dup(pair[0]);
    CHK(fd >= 0);
    close(fd);
    return fd;
}

static void
send_message(unsigned type, unsigned fds, struct slice payload)
{
    struct wire_msg m;
    wire_msg_init(&m, type);
    for (unsigned i = 0; i < (fds & 15) && i < MEMFDS; i++)
        m.fds[m.fd_count++] = (fds >> 4 & 1u << (i & 3)) != 0 ? loose[i] : sealed[i];
    buf_put_slice(&m.bytes, payload);
    CHK(wire_send(pair[0], &m) == ERR_NONE);
    wire_msg_fini(&m);
}

static void
check_result(const struct fn_result *res)
{
    CHK(res->id == request.id && res->answer_count == request.call_count);
    for (int i = 0; i < reader.fd_count; i++)
        CHK(reader.fds[i] == -1); /* they have one owner, the result */
    struct arena *a = fuzz_arena();
    for (size_t i = 0; i < res->answer_count; i++) {
        const struct fn_answer *ans = &res->answers[i];
        CHK(ans->output_count <= FN_OUTPUTS_MAX && ans->attr_count <= FN_ATTRS_MAX);
        for (size_t k = 0; k < ans->output_count; k++) {
            const struct fn_output *o = &ans->outputs[k];
            CHK((o->status == FN_OK) == (o->fd >= 0));
            CHK(o->status != FN_OK || lseek(o->fd, 0, SEEK_END) == o->bytes);
            CHK(o->status != FN_OK || (fcntl(o->fd, F_GET_SEALS) & F_SEAL_WRITE) != 0);
        }
        for (size_t k = 0; k < ans->attr_count; k++) {
            struct slice number;
            /* What the table would refuse must not come so far. */
            if (ans->attrs[k].type == 'N')
                CHK(number_canonical(a, ans->attrs[k].value, &number) == ERR_NONE);
        }
    }
    arena_free(&a);
}

static void
check_again(const struct fn_result *res)
{
    struct arena *a = fuzz_arena();
    struct wire_msg one, two;
    struct fn_result again;
    fn_result_write(&one, res);
    CHK(wire_send(pair[0], &one) == ERR_NONE && wire_recv(pair[1], &reader) == ERR_NONE);
    CHK(fn_result_read(&reader, a, &request, &again) == ERR_NONE);
    fn_result_write(&two, &again);
    CHK(slice_eq(buf_slice(&one.bytes), buf_slice(&two.bytes)));
    fn_result_close(&again);
    wire_msg_fini(&one);
    wire_msg_fini(&two);
    arena_free(&a);
}

static void
receive(void)
{
    struct arena *a = fuzz_arena();
    struct fn_hello hello;
    struct fn_result res;
    int64_t id, bytes;
    if (wire_recv(pair[1], &reader) == ERR_NONE) {
        if (reader.type == FN_MSG_HELLO) {
            fn_hello_read(&reader, a, &hello);
        } else if (reader.type == FN_MSG_ADMIT) {
            CHK(fn_admit_read(&reader, &id, &bytes) != ERR_NONE || bytes >= 0);
        } else if (fn_result_read(&reader, a, &request, &res) == ERR_NONE) {
            check_result(&res);
            check_again(&res);
            fn_result_close(&res);
        }
    }
    arena_free(&a);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_of(data, size);
    unsigned type = fuzz_byte(&in), fds = fuzz_byte(&in);
    prepare();
    int before = next_fd();
    if (in.n > WIRE_BYTES_MAX / 2)
        return 0;
    if (type == RAW && in.n > 0)
        CHK(send(pair[0], in.p, in.n, MSG_NOSIGNAL) == (ssize_t)in.n);
    else
        send_message(type, fds, in);
    receive();
    /* What nobody took goes with the next message: an empty one of no type. */
    send_message(0, 0, SLICE_NONE);
    CHK(wire_recv(pair[1], &reader) == ERR_NONE);
    CHK(next_fd() == before);
    return 0;
}
