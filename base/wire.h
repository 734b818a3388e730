/*
 * Messages between the server and its workers: one packet of a SOCK_SEQPACKET pair each, at most
 * WIRE_BYTES_MAX, with passed descriptors. Packets keep their borders, so there is no framing to
 * get out of step. What a worker sends is untrusted: it is read by a cursor that cannot pass the
 * end, and a message must be consumed exactly.
 */
#ifndef DARKROOM_BASE_WIRE_H
#define DARKROOM_BASE_WIRE_H

#include "base/buf.h"
#include "base/slice.h"

#define WIRE_BYTES_MAX (128u << 10)
#define WIRE_FDS_MAX 64
#define WIRE_VERSION 1

/* ---- writing: integers little-endian, strings with a 32-bit length ---- */

struct wire_msg {
    struct buf bytes;
    int fds[WIRE_FDS_MAX]; /* borrowed: wire_send() does not close them */
    int fd_count;
};

void wire_msg_init(struct wire_msg *m, uint32_t type);
void wire_msg_fini(struct wire_msg *m);
void wire_put_u32(struct wire_msg *m, uint32_t v);
void wire_put_i64(struct wire_msg *m, int64_t v);
void wire_put_f64(struct wire_msg *m, double v);
void wire_put_slice(struct wire_msg *m, struct slice s);
/* The reader gets it as an index; ERR_TOOBIG in m->bytes.err past WIRE_FDS_MAX. */
void wire_put_fd(struct wire_msg *m, int fd);
/* One sendmsg(). ERR_CLOSED when the peer is gone, ERR_BUSY when a non-blocking socket is full,
 * ERR_TOOBIG, or m->bytes.err. */
int wire_send(int sock, const struct wire_msg *m);

/* ---- reading ---- */

struct wire_reader {
    char *bytes; /* WIRE_BYTES_MAX, owned */
    size_t n, at;
    int fds[WIRE_FDS_MAX]; /* owned until taken */
    int fd_count;
    uint32_t type;
    int err; /* sticky: ERR_INVALID after reading past the end */
};

int wire_reader_init(struct wire_reader *r);
/* Closes descriptors nobody took. */
void wire_reader_fini(struct wire_reader *r);
/* Forgets the message at hand and closes its untaken descriptors now: a reader that waits long for
 * the next one must not hold what its peer sent. */
void wire_reader_clear(struct wire_reader *r);
/* One recvmsg() (close-on-exec); forgets the last message and closes its untaken descriptors.
 * ERR_CLOSED at end of file, ERR_BUSY when nothing waits on a non-blocking socket, ERR_INVALID for
 * a truncated packet, truncated descriptors, foreign ancillary data or another WIRE_VERSION. */
int wire_recv(int sock, struct wire_reader *r);
uint32_t wire_get_u32(struct wire_reader *r);
int64_t wire_get_i64(struct wire_reader *r);
double wire_get_f64(struct wire_reader *r);
struct slice wire_get_slice(struct wire_reader *r); /* lent until the next wire_recv() */
/* Takes the next descriptor as put by wire_put_fd(); -1 and err when there is none. */
int wire_take_fd(struct wire_reader *r);
/* ERR_NONE only when no error stuck, every byte was read and every descriptor taken. */
int wire_end(struct wire_reader *r);

#endif
