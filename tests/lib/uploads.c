#include "tests/lib/uploads.h"
#include "base/err.h"
#include "tests/lib/fakereq.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

static struct accounts *accounts;

void
uploads_begin(void)
{
    accounts = fakereq_accounts();
}

void
uploads_end(void)
{
    accounts_free(&accounts);
}

struct http_request *
upload_head(const char *head, const char *hash)
{
    struct auth_options o = {.accounts = accounts, .now_ms = fakereq_root.now_ms};
    struct http_request *r = fakereq_new(head);
    if (hash != NULL)
        fakereq_sign(r, &fakereq_root, hash);
    assert_int_equal(auth_check(r, &o), ERR_NONE);
    assert_int_equal(r->auth->result, hash != NULL ? AUTH_OK : AUTH_ANONYMOUS);
    return r;
}

struct http_request *
upload_new(const char *fields, const char *hash)
{
    char head[1000];
    snprintf(head, sizeof head, "PUT /b/k HTTP/1.1\nHost: h\n%s", fields);
    return upload_head(head, hash);
}

int
upload_sink(void *arg, const void *p, size_t n)
{
    struct upload_outcome *o = arg;
    assert_true(n > 0);
    buf_put(&o->plain, p, n);
    return o->plain.err;
}

void
upload_run(struct http_request *r, struct slice wire, size_t step, int64_t bytes_max,
           struct upload_outcome *o)
{
    struct payload *p = NULL;
    const char *base64 = NULL;
    memset(o, 0, sizeof *o);
    buf_init(&o->plain, 1u << 20);
    o->fault = payload_begin(&p, r, bytes_max, upload_sink, o);
    if (o->fault != PAYLOAD_NONE) {
        assert_null(p);
        return;
    }
    for (size_t at = 0; at < wire.n; at += step) {
        struct slice piece = slice_skip(wire, at);
        enum payload_fault fault = payload_feed(p, piece.p, piece.n < step ? piece.n : step);
        assert_true(o->fault == PAYLOAD_NONE || fault == o->fault);
        o->fault = fault;
    }
    enum payload_fault end = payload_end(p);
    assert_true(o->fault == PAYLOAD_NONE || end == o->fault);
    o->fault = end;
    if (end == PAYLOAD_NONE) {
        assert_int_equal(payload_received(p), (int64_t)o->plain.n);
        assert_true(payload_length(p) == -1 || payload_length(p) == (int64_t)o->plain.n);
        memcpy(o->md5, payload_md5(p), MD5_BYTES);
    }
    o->checksum = payload_checksum(p, &base64);
    snprintf(o->base64, sizeof o->base64, "%s", base64);
    payload_fini(&p);
    assert_null(p);
}

enum payload_fault
upload_fault(struct http_request *r, struct slice wire, size_t step)
{
    struct upload_outcome o;
    upload_run(r, wire, step, UPLOAD_BYTES_MAX, &o);
    buf_fini(&o.plain);
    return o.fault;
}

void
assert_upload_fault(struct http_request *r, struct slice wire, enum payload_fault expected)
{
    static const size_t steps[] = {SIZE_MAX / 2, 1, 3, 7, 1000};
    for (size_t i = 0; i < LEN(steps); i++) {
        enum payload_fault fault = upload_fault(r, wire, steps[i]);
        if (fault != expected)
            print_error("step %zu: %d (%s) for %.*s\n", steps[i], (int)fault,
                        payload_refusal(fault)->code, wire.n > 300 ? 300 : (int)wire.n, wire.p);
        assert_int_equal(fault, expected);
    }
}

void
assert_upload_good(struct http_request *r, struct slice wire, struct slice plain)
{
    static const size_t steps[] = {SIZE_MAX / 2, 1, 2, 5, 8191};
    uint8_t md5[MD5_BYTES];
    digest_md5(plain.p, plain.n, md5);
    for (size_t i = 0; i < LEN(steps); i++) {
        struct upload_outcome o;
        upload_run(r, wire, steps[i], UPLOAD_BYTES_MAX, &o);
        if (o.fault != PAYLOAD_NONE)
            print_error("step %zu: %s\n", steps[i], payload_refusal(o.fault)->code);
        assert_int_equal(o.fault, PAYLOAD_NONE);
        assert_true(slice_eq(buf_slice(&o.plain), plain));
        assert_memory_equal(o.md5, md5, MD5_BYTES);
        buf_fini(&o.plain);
    }
}

void
assert_upload_wires(const char *fields, const char *hash, const char *plain,
                    const struct upload_wire *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct http_request *r = upload_new(fields, hash);
        if (cases[i].expected == PAYLOAD_NONE)
            assert_upload_good(r, slice_str(cases[i].wire), slice_str(plain));
        else
            assert_upload_fault(r, slice_str(cases[i].wire), cases[i].expected);
        fakereq_free(&r);
    }
}
