/*
 * The messages between server and worker, in the order fn.h draws them.
 *
 * Writers trust their caller and leave errors in the message (wire_send() reports them). Readers
 * trust nobody: every count is checked before the loop it bounds, every text before it is copied,
 * and a message must be consumed exactly. Descriptors taken from a message that turns out bad are
 * closed here; those not yet taken stay with the wire_reader, which closes them.
 */
#include "functions/fn.h"
#include "base/err.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define FN_EXTENSION_MAX 16
#define FN_HASH_MAX 64
#define FN_SIDE_MAX (1 << 20)
#define FN_COST_US_MAX (INT64_C(1) << 40) /* twelve days: sums of them stay sane */
#define FN_SEALS (F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK)

const struct fn_native fn_natives[] = {
#define FN(name, memory_mb, timeout_s) {name, memory_mb, timeout_s},
#include "functions/fn_list.h"
#undef FN
};
const size_t fn_native_count = sizeof(fn_natives) / sizeof(fn_natives[0]);

/* ---- writing ---- */

void
fn_request_write(struct wire_msg *m, const struct fn_request *req, int source_fd)
{
    wire_msg_init(m, FN_MSG_INVOKE);
    wire_put_i64(m, req->id);
    wire_put_slice(m, req->request_id);
    wire_put_i64(m, req->source_bytes);
    wire_put_slice(m, req->source_type);
    wire_put_slice(m, req->source_hints);
    wire_put_i64(m, req->pixels_frame_max);
    wire_put_i64(m, req->pixels_total_max);
    wire_put_i64(m, req->memory_bytes_max);
    wire_put_i64(m, req->deadline_ms);
    wire_put_u32(m, (uint32_t)req->call_count);
    for (size_t i = 0; i < req->call_count; i++) {
        wire_put_slice(m, req->calls[i].name);
        wire_put_slice(m, req->calls[i].config);
    }
    wire_put_fd(m, source_fd);
}

static void
cost_write(struct wire_msg *m, const struct fn_cost *c)
{
    wire_put_i64(m, c->cpu_us);
    wire_put_i64(m, c->run_us);
}

static void
output_write(struct wire_msg *m, const struct fn_output *o)
{
    wire_put_slice(m, o->name);
    wire_put_slice(m, o->extension);
    wire_put_slice(m, o->content_type);
    wire_put_slice(m, o->config_hash);
    wire_put_u32(m, (uint32_t)o->status);
    wire_put_slice(m, o->reason);
    wire_put_i64(m, o->bytes);
    wire_put_u32(m, (uint32_t)o->width);
    wire_put_u32(m, (uint32_t)o->height);
    cost_write(m, &o->cost);
    if (o->status == FN_OK)
        wire_put_fd(m, o->fd);
}

static void
answer_write(struct wire_msg *m, const struct fn_answer *a)
{
    wire_put_slice(m, a->name);
    wire_put_u32(m, (uint32_t)a->status);
    wire_put_slice(m, a->reason);
    cost_write(m, &a->cost);
    wire_put_u32(m, (uint32_t)a->output_count);
    for (size_t i = 0; i < a->output_count; i++)
        output_write(m, &a->outputs[i]);
    wire_put_u32(m, (uint32_t)a->attr_count);
    for (size_t i = 0; i < a->attr_count; i++) {
        wire_put_slice(m, a->attrs[i].name);
        wire_put_u32(m, (uint32_t)(unsigned char)a->attrs[i].type);
        wire_put_slice(m, a->attrs[i].value);
    }
}

void
fn_result_write(struct wire_msg *m, const struct fn_result *res)
{
    wire_msg_init(m, FN_MSG_RESULT);
    wire_put_i64(m, res->id);
    wire_put_i64(m, res->rss_peak_bytes);
    cost_write(m, &res->decode);
    wire_put_u32(m, (uint32_t)res->answer_count);
    for (size_t i = 0; i < res->answer_count; i++)
        answer_write(m, &res->answers[i]);
}

void
fn_hello_write(struct wire_msg *m, const struct fn_hello *hello)
{
    wire_msg_init(m, FN_MSG_HELLO);
    wire_put_i64(m, hello->pid);
    wire_put_slice(m, hello->formats);
    wire_put_slice(m, hello->optional);
    wire_put_slice(m, hello->refused);
    wire_put_slice(m, hello->written);
    wire_put_slice(m, hello->missing);
    wire_put_slice(m, hello->problem);
}

void
fn_admit_write(struct wire_msg *m, int64_t id, int64_t memory_bytes)
{
    wire_msg_init(m, FN_MSG_ADMIT);
    wire_put_i64(m, id);
    wire_put_i64(m, memory_bytes);
}

void
fn_grant_write(struct wire_msg *m, int64_t id)
{
    wire_msg_init(m, FN_MSG_GRANT);
    wire_put_i64(m, id);
}

/* ---- reading: small pieces ---- */

/* Sticks in the reader, so that a caller may go on and look once. */
static bool
reject(struct wire_reader *r)
{
    if (r->err == ERR_NONE)
        r->err = ERR_INVALID;
    return false;
}

/* A text of at most `max` bytes, copied. */
static struct slice
get_text(struct wire_reader *r, struct arena *a, size_t max)
{
    struct slice s = wire_get_slice(r);
    if (r->err != ERR_NONE)
        return SLICE_NONE;
    if (s.n > max) {
        reject(r);
        return SLICE_NONE;
    }
    struct slice copy = arena_dup(a, s);
    if (copy.p == NULL)
        r->err = ERR_NOMEM;
    return copy;
}

static struct slice
get_utf8(struct wire_reader *r, struct arena *a, size_t max)
{
    struct slice s = get_text(r, a, max);
    if (!slice_is_utf8(s))
        reject(r);
    return s;
}

static int64_t
get_count(struct wire_reader *r, int64_t min, int64_t max)
{
    int64_t v = wire_get_i64(r);
    if (v < min || v > max)
        reject(r);
    return r->err == ERR_NONE ? v : 0;
}

static uint32_t
get_small(struct wire_reader *r, uint32_t min, uint32_t max)
{
    uint32_t v = wire_get_u32(r);
    if (v < min || v > max)
        reject(r);
    return r->err == ERR_NONE ? v : 0;
}

static bool
lower_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static void
cost_read(struct wire_reader *r, struct fn_cost *c)
{
    c->cpu_us = get_count(r, 0, FN_COST_US_MAX);
    c->run_us = get_count(r, 0, FN_COST_US_MAX);
}

/* [a-z0-9] and the bytes of `more`, at least one: such a word may become part of a key. */
static struct slice
get_word(struct wire_reader *r, struct arena *a, size_t max, const char *more)
{
    struct slice s = get_text(r, a, max);
    bool good = s.n > 0;
    for (size_t i = 0; good && i < s.n; i++)
        good = lower_or_digit(s.p[i]) || (s.p[i] != '\0' && strchr(more, s.p[i]) != NULL);
    if (!good)
        reject(r);
    return s;
}

/* Goes into a header line later: visible ASCII only. */
static struct slice
get_media_type(struct wire_reader *r, struct arena *a)
{
    struct slice s = get_text(r, a, 2 * FN_NAME_MAX);
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~')
            reject(r);
    return s;
}

static enum fn_status
get_status(struct wire_reader *r)
{
    uint32_t v = get_small(r, FN_OK, FN_ERROR);
    return r->err == ERR_NONE ? (enum fn_status)v : FN_ERROR;
}

/* ---- reading: the request ---- */

static bool
call_is_repeated(const struct fn_request *req, size_t i)
{
    for (size_t j = 0; j < i; j++)
        if (slice_eq(req->calls[j].name, req->calls[i].name))
            return true;
    return false;
}

int
fn_request_read(struct wire_reader *r, struct arena *a, struct fn_request *req, int *source_fd)
{
    *req = (struct fn_request){0};
    *source_fd = -1;
    if (r->type != FN_MSG_INVOKE)
        reject(r);
    req->id = get_count(r, 0, INT64_MAX);
    req->request_id = get_text(r, a, FN_REQUEST_ID_MAX);
    req->source_bytes = get_count(r, 0, INT64_MAX);
    req->source_type = get_text(r, a, FN_TEXT_MAX);
    req->source_hints = get_text(r, a, FN_CONFIG_MAX);
    req->pixels_frame_max = get_count(r, 1, INT64_MAX);
    req->pixels_total_max = get_count(r, 1, INT64_MAX);
    req->memory_bytes_max = get_count(r, 1, INT64_MAX);
    req->deadline_ms = get_count(r, 1, INT64_MAX);
    req->call_count = get_small(r, 1, FN_PER_REQUEST_MAX);
    for (size_t i = 0; r->err == ERR_NONE && i < req->call_count; i++) {
        req->calls[i].name = get_word(r, a, FN_NAME_MAX, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_-");
        req->calls[i].config = get_text(r, a, FN_CONFIG_MAX);
        if (call_is_repeated(req, i))
            reject(r);
    }
    int fd = r->err == ERR_NONE ? wire_take_fd(r) : -1;
    int err = wire_end(r);
    if (err != ERR_NONE) {
        if (fd >= 0)
            close(fd);
        return err;
    }
    *source_fd = fd;
    return ERR_NONE;
}

/* ---- reading: the result ---- */

/* The bytes can no longer change under us, and they are as many as stated. */
static bool
fd_is_sealed(int fd, int64_t bytes)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);
    return seals >= 0 && (seals & FN_SEALS) == FN_SEALS && fstat(fd, &st) == 0 &&
           S_ISREG(st.st_mode) && st.st_size == bytes;
}

static void
output_read(struct wire_reader *r, struct arena *a, struct fn_output *o)
{
    o->fd = -1;
    o->name = get_word(r, a, FN_NAME_MAX, "-_.");
    o->extension = get_word(r, a, FN_EXTENSION_MAX, "");
    o->content_type = get_media_type(r, a);
    o->config_hash = get_word(r, a, FN_HASH_MAX, "");
    o->status = get_status(r);
    o->reason = get_utf8(r, a, FN_TEXT_MAX);
    o->bytes = get_count(r, 0, FN_OUTPUT_BYTES_MAX);
    o->width = (int)get_small(r, 0, FN_SIDE_MAX);
    o->height = (int)get_small(r, 0, FN_SIDE_MAX);
    cost_read(r, &o->cost);
    if (r->err != ERR_NONE || o->status != FN_OK)
        return;
    o->fd = wire_take_fd(r);
    if (o->fd < 0 || o->bytes == 0 || !fd_is_sealed(o->fd, o->bytes))
        reject(r);
}

static bool
output_is_repeated(const struct fn_answer *ans, size_t i)
{
    const struct fn_output *o = &ans->outputs[i];
    for (size_t j = 0; j < i; j++)
        if (slice_eq(ans->outputs[j].name, o->name) &&
            slice_eq(ans->outputs[j].extension, o->extension))
            return true;
    return false;
}

static void
outputs_read(struct wire_reader *r, struct arena *a, struct fn_answer *ans)
{
    size_t n = get_small(r, 0, FN_OUTPUTS_MAX);
    if (r->err != ERR_NONE || n == 0)
        return;
    ans->outputs = arena_alloc(a, n * sizeof(*ans->outputs));
    if (ans->outputs == NULL) {
        r->err = ERR_NOMEM;
        return;
    }
    /* Counted one by one: fn_result_close() then knows which descriptors there are. */
    while (r->err == ERR_NONE && ans->output_count < n) {
        output_read(r, a, &ans->outputs[ans->output_count]);
        if (output_is_repeated(ans, ans->output_count))
            reject(r);
        ans->output_count++;
    }
}

/* "a.b" and "a" cannot both be members of one item: "a" would be a map and not. */
static bool
attr_in_the_way(struct slice name, struct slice other)
{
    struct slice shorter = name.n < other.n ? name : other;
    struct slice longer = name.n < other.n ? other : name;
    return slice_starts(longer, shorter) && (longer.n == shorter.n || longer.p[shorter.n] == '.');
}

/* Decimal text, as much as a table's number takes. */
static bool
is_number(struct slice s)
{
    size_t i = 0, digits = 0;
    if (i < s.n && s.p[i] == '-')
        i++;
    for (; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++)
        digits++;
    if (i < s.n && s.p[i] == '.')
        for (i++; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++)
            digits++;
    return i == s.n && digits > 0 && digits <= 38;
}

static bool
attr_is_good(const struct fn_attr *at)
{
    /* Of one byte at least. NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
    if (at->name.p[0] == '.' || at->name.p[at->name.n - 1] == '.' ||
        slice_find(at->name, SLICE_LIT("..")) >= 0)
        return false;
    switch (at->type) {
    case 'S':
        return at->value.n > 0 && slice_is_utf8(at->value);
    case 'N':
        return is_number(at->value);
    case 'B':
        return at->value.n > 0;
    case 'T':
    case 'F':
        return at->value.n == 0;
    default:
        return false;
    }
}

static void
attrs_read(struct wire_reader *r, struct arena *a, struct fn_answer *ans)
{
    size_t n = get_small(r, 0, FN_ATTRS_MAX);
    if (r->err != ERR_NONE || n == 0)
        return;
    ans->attrs = arena_alloc(a, n * sizeof(*ans->attrs));
    if (ans->attrs == NULL) {
        r->err = ERR_NOMEM;
        return;
    }
    for (size_t i = 0; r->err == ERR_NONE && i < n; i++) {
        struct fn_attr *at = &ans->attrs[i];
        at->name = get_word(r, a, FN_NAME_MAX, "_.");
        at->type = (char)get_small(r, 'A', 'Z');
        at->value = get_text(r, a, FN_TEXT_MAX);
        if (r->err == ERR_NONE && !attr_is_good(at))
            reject(r);
        for (size_t j = 0; r->err == ERR_NONE && j < i; j++)
            if (attr_in_the_way(at->name, ans->attrs[j].name))
                reject(r);
    }
    ans->attr_count = r->err == ERR_NONE ? n : 0;
}

static bool
was_called(const struct fn_request *req, struct slice name)
{
    for (size_t i = 0; i < req->call_count; i++)
        if (slice_eq(req->calls[i].name, name))
            return true;
    return false;
}

static bool
already_answered(const struct fn_result *res, size_t i)
{
    for (size_t j = 0; j < i; j++)
        if (slice_eq(res->answers[j].name, res->answers[i].name))
            return true;
    return false;
}

int
fn_result_read(struct wire_reader *r, struct arena *a, const struct fn_request *req,
               struct fn_result *res)
{
    *res = (struct fn_result){0};
    if (r->type != FN_MSG_RESULT)
        reject(r);
    res->id = wire_get_i64(r);
    if (res->id != req->id)
        reject(r);
    res->rss_peak_bytes = get_count(r, 0, INT64_MAX);
    cost_read(r, &res->decode);
    /* As many answers as calls, each called, none twice: so each exactly once. */
    size_t n = get_small(r, (uint32_t)req->call_count, (uint32_t)req->call_count);
    while (r->err == ERR_NONE && res->answer_count < n) {
        struct fn_answer *ans = &res->answers[res->answer_count];
        ans->name = get_text(r, a, FN_NAME_MAX);
        ans->status = get_status(r);
        ans->reason = get_utf8(r, a, FN_TEXT_MAX);
        cost_read(r, &ans->cost);
        if (!was_called(req, ans->name) || already_answered(res, res->answer_count))
            reject(r);
        res->answer_count++;
        outputs_read(r, a, ans);
        attrs_read(r, a, ans);
    }
    int err = wire_end(r);
    if (err != ERR_NONE)
        fn_result_close(res);
    return err;
}

void
fn_result_close(struct fn_result *res)
{
    for (size_t i = 0; i < res->answer_count; i++) {
        struct fn_answer *ans = &res->answers[i];
        for (size_t j = 0; j < ans->output_count; j++) {
            if (ans->outputs[j].fd >= 0)
                close(ans->outputs[j].fd);
            ans->outputs[j].fd = -1;
        }
    }
}

/* ---- reading: the small ones ---- */

int
fn_hello_read(struct wire_reader *r, struct arena *a, struct fn_hello *hello)
{
    *hello = (struct fn_hello){0};
    if (r->type != FN_MSG_HELLO)
        reject(r);
    hello->pid = get_count(r, 1, INT32_MAX);
    hello->formats = get_utf8(r, a, FN_TEXT_MAX);
    hello->optional = get_utf8(r, a, FN_TEXT_MAX);
    hello->refused = get_utf8(r, a, FN_TEXT_MAX);
    hello->written = get_utf8(r, a, FN_TEXT_MAX);
    hello->missing = get_utf8(r, a, FN_TEXT_MAX);
    hello->problem = get_utf8(r, a, FN_TEXT_MAX);
    return wire_end(r);
}

int
fn_admit_read(struct wire_reader *r, int64_t *id, int64_t *memory_bytes)
{
    if (r->type != FN_MSG_ADMIT)
        reject(r);
    *id = wire_get_i64(r);
    *memory_bytes = get_count(r, 0, INT64_MAX);
    return wire_end(r);
}

int
fn_grant_read(struct wire_reader *r, int64_t *id)
{
    if (r->type != FN_MSG_GRANT)
        reject(r);
    *id = wire_get_i64(r);
    return wire_end(r);
}
