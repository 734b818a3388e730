/*
 * Upload bodies: aws-chunked framing in all its forms, and plain ones.
 *
 *   byte 1   form (see forms[]), then flags: 8 Content-Length is sent, 16 the decoded length is
 *            sent, 32 a checksum is announced or stated, 64 the rest is the wire as it stands
 *   byte 2   seed of the cuts: how the wire is split may not change the outcome
 *   rest     the wire; or, without 64, chunks to build and sign a good wire from, and one byte to
 *            change in it: then the outcome is a fault, or the very bytes that were meant
 */
#include "base/auth.h"
#include "base/payload.h"
#include "base/sigv4.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/fakereq.h"

#include <stdio.h>

#define WIRE_MAX (1u << 20)
#define CHUNKS_MAX 4

enum { FLAG_LENGTH = 8, FLAG_DECODED = 16, FLAG_CHECKSUM = 32, FLAG_RAW = 64 };

static const struct form {
    const char *hash;
    bool framed, is_signed, trailer;
} forms[] = {
    {"STREAMING-UNSIGNED-PAYLOAD-TRAILER", true, false, true},
    {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", true, true, false},
    {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", true, true, true},
    {"UNSIGNED-PAYLOAD", false, false, false},
};

struct run {
    const struct form *form;
    unsigned flags;
    enum checksum checksum;
    struct buf wire;
    struct buf plain; /* what the wire means, when we made it */
    bool made;
    bool changed;
};

static struct accounts *accounts;

struct outcome {
    enum payload_fault fault;
    struct buf plain;
    enum checksum checksum;
};

static int
sink(void *arg, const void *p, size_t n)
{
    struct outcome *o = arg;
    CHK(n > 0);
    buf_put(&o->plain, p, n);
    return o->plain.err;
}

/* ---- the request that announces the body ---- */

static struct http_request *
request_of(const struct run *run)
{
    struct buf head;
    buf_init(&head, 4096);
    buf_puts(&head, "PUT /b/k HTTP/1.1\nHost: h\n");
    if ((run->flags & FLAG_LENGTH) != 0)
        buf_printf(&head, "Content-Length: %zu\n", run->wire.n);
    else
        buf_puts(&head, "Transfer-Encoding: chunked\n");
    if (run->form->framed && (run->flags & FLAG_DECODED) != 0)
        buf_printf(&head, "x-amz-decoded-content-length: %zu\n", run->plain.n);
    if (run->checksum != CHECKSUM_NONE && run->form->trailer)
        buf_printf(&head, "x-amz-trailer: x-amz-checksum-%s\n", checksum_name(run->checksum));
    CHK(head.err == ERR_NONE);
    struct http_request *r = fakereq_new(head.p);
    buf_fini(&head);
    struct auth_options o = {.accounts = accounts, .now_ms = fakereq_root.now_ms};
    fakereq_sign(r, &fakereq_root, run->form->hash);
    CHK(auth_check(r, &o) == ERR_NONE && r->auth->result == AUTH_OK);
    return r;
}

/* ---- building a good wire ---- */

static void
put_chunk(struct run *run, struct sigv4_chain *chain, const char *bytes, size_t n)
{
    uint8_t sha256[SHA256_BYTES];
    buf_printf(&run->wire, "%zx", n);
    if (run->form->is_signed) {
        digest_sha256(n == 0 ? "" : bytes, n, sha256);
        CHK(sigv4_chain_chunk(chain, sha256) == ERR_NONE);
        buf_printf(&run->wire, ";chunk-signature=%s", chain->previous);
    }
    buf_puts(&run->wire, "\r\n");
    if (n > 0) {
        buf_put(&run->wire, bytes, n);
        buf_puts(&run->wire, "\r\n");
    }
}

static void
put_trailer(struct run *run, struct sigv4_chain *chain)
{
    struct buf line;
    uint8_t sha256[SHA256_BYTES];
    buf_init(&line, 256);
    if (run->checksum != CHECKSUM_NONE) {
        struct digester *d = digester_new(0, run->checksum);
        CHK(d != NULL);
        digester_update(d, run->plain.n == 0 ? "" : run->plain.p, run->plain.n);
        digester_end(d);
        buf_printf(&line, "x-amz-checksum-%s:", checksum_name(run->checksum));
        base64_encode(&line, digester_checksum(d), checksum_bytes(run->checksum));
        buf_put_slice(&run->wire, buf_slice(&line));
        buf_puts(&run->wire, "\r\n");
        buf_putc(&line, '\n');
        digester_free(&d);
    }
    if (run->form->is_signed) {
        digest_sha256(line.n == 0 ? "" : line.p, line.n, sha256);
        CHK(sigv4_chain_trailer(chain, sha256) == ERR_NONE);
        buf_printf(&run->wire, "x-amz-trailer-signature:%s\r\n", chain->previous);
    }
    buf_fini(&line);
}

/* Sizes of the chunks: of signed ones all but the last have at least AWS_CHUNK_BYTES_MIN. */
static size_t
plan_chunks(const struct form *form, struct slice *in, size_t sizes[CHUNKS_MAX])
{
    size_t n = fuzz_byte(in) % CHUNKS_MAX;
    for (size_t i = 0; i < n; i++) {
        sizes[i] = 1 + fuzz_byte(in);
        if (form->is_signed && i + 1 < n)
            sizes[i] += 8192;
    }
    return n;
}

static void
put_plain(struct run *run, const size_t *sizes, size_t n, struct slice filling)
{
    for (size_t i = 0; i < n; i++) {
        char *p = buf_extend(&run->plain, sizes[i]);
        CHK(p != NULL);
        for (size_t k = 0; k < sizes[i]; k++)
            p[k] = filling.n == 0 ? 'a' : filling.p[(k + i) % filling.n];
    }
}

static void
build(struct run *run, struct slice in)
{
    size_t sizes[CHUNKS_MAX], n = plan_chunks(run->form, &in, sizes), at = 0;
    unsigned where = fuzz_byte(&in) << 8, with;
    where |= fuzz_byte(&in);
    with = fuzz_byte(&in);
    run->made = true;
    put_plain(run, sizes, n, in);
    if (!run->form->framed) {
        buf_put_slice(&run->wire, buf_slice(&run->plain));
        return;
    }
    struct http_request *r = request_of(run);
    struct sigv4_chain chain = {
        .key = r->auth->signing_key, .timestamp = r->auth->timestamp, .scope = r->auth->scope};
    /* The lengths are announced in signed headers: sign again once they are known. */
    for (int pass = 0; pass < 2; pass++) {
        memcpy(chain.previous, r->auth->seed_signature, sizeof chain.previous);
        buf_reset(&run->wire);
        at = 0;
        for (size_t i = 0; i < n; at += sizes[i++])
            put_chunk(run, &chain, run->plain.p + at, sizes[i]);
        put_chunk(run, &chain, NULL, 0);
        if (run->form->trailer)
            put_trailer(run, &chain);
        buf_puts(&run->wire, "\r\n");
        fakereq_free(&r);
        r = request_of(run);
        chain.key = r->auth->signing_key;
        chain.timestamp = r->auth->timestamp;
        chain.scope = r->auth->scope;
    }
    fakereq_free(&r);
    CHK(run->wire.err == ERR_NONE && run->wire.n > 0);
    run->changed = with != 0;
    run->wire.p[where % run->wire.n] = (char)(run->wire.p[where % run->wire.n] ^ (char)with);
}

/* ---- running it ---- */

/* seed 0: in one piece. */
static void
feed(const struct run *run, unsigned seed, struct outcome *o)
{
    struct http_request *r = request_of(run);
    struct payload *p = NULL;
    const char *base64 = NULL;
    uint64_t state = seed + 1;
    memset(o, 0, sizeof *o);
    buf_init(&o->plain, WIRE_MAX);
    o->fault = payload_begin(&p, r, WIRE_MAX, sink, o);
    CHK((o->fault == PAYLOAD_NONE) == (p != NULL));
    for (size_t at = 0, n; p != NULL && at < run->wire.n; at += n) {
        n = seed == 0 ? run->wire.n : 1 + fuzz_random(&state) % (at % 3 == 0 ? 3 : 300);
        n = n < run->wire.n - at ? n : run->wire.n - at;
        struct slice piece = fuzz_exact(slice_of(run->wire.p + at, n));
        enum payload_fault fault = payload_feed(p, piece.p, piece.n);
        CHK(o->fault == PAYLOAD_NONE || fault == o->fault);
        o->fault = fault;
        free((void *)(uintptr_t)piece.p);
    }
    if (p != NULL) {
        enum payload_fault end = payload_end(p);
        CHK(o->fault == PAYLOAD_NONE || end == o->fault);
        o->fault = end;
        CHK(end != PAYLOAD_NONE || payload_received(p) == (int64_t)o->plain.n);
        o->checksum = payload_checksum(p, &base64);
    }
    payload_fini(&p);
    fakereq_free(&r);
}

static void
check(const struct run *run, unsigned seed)
{
    struct outcome whole, cut;
    feed(run, 0, &whole);
    feed(run, seed + 1, &cut);
    CHK(whole.fault == cut.fault && whole.checksum == cut.checksum);
    if (whole.fault == PAYLOAD_NONE)
        CHK(slice_eq(buf_slice(&whole.plain), buf_slice(&cut.plain)));
    if (run->made && !run->changed)
        CHK(whole.fault == PAYLOAD_NONE ||
            (whole.fault == PAYLOAD_NO_DECODED_LENGTH && (run->flags & FLAG_DECODED) == 0));
    if (run->made && whole.fault == PAYLOAD_NONE && run->form->framed &&
        (run->form->is_signed || run->checksum != CHECKSUM_NONE))
        CHK(slice_eq(buf_slice(&whole.plain), buf_slice(&run->plain)));
    buf_fini(&whole.plain);
    buf_fini(&cut.plain);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_of(data, size);
    struct run run = {.flags = fuzz_byte(&in)};
    unsigned seed = fuzz_byte(&in);
    if (accounts == NULL)
        accounts = fakereq_accounts();
    run.form = &forms[run.flags % 4];
    buf_init(&run.wire, WIRE_MAX);
    buf_init(&run.plain, WIRE_MAX);
    if ((run.flags & FLAG_CHECKSUM) != 0)
        run.checksum = (enum checksum)(1 + seed % (CHECKSUM_COUNT - 1));
    if ((run.flags & FLAG_RAW) != 0) {
        run.checksum = run.checksum == CHECKSUM_NONE ? CHECKSUM_NONE : CHECKSUM_CRC32;
        size_t n = fuzz_byte(&in);
        buf_put_slice(&run.wire, in);
        if (n > 0)
            CHK(buf_extend(&run.plain, n) != NULL); /* counts only as announced length */
    } else {
        build(&run, in);
    }
    check(&run, seed);
    buf_fini(&run.wire);
    buf_fini(&run.plain);
    return 0;
}
