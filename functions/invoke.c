/*
 *   look     size and magic bytes: is it a picture we decode?
 *   header   map it, read its header, judge the budgets
 *   admit    tell the server what the decode will take, wait for its grant
 *   decode   once, as large as the largest wish
 *   run      every function called, on the one decoded picture
 *   answer   results and sealed memfds
 *
 * A source that ends the road early (no picture, over budget, unreadable) still runs every
 * function: each says what it can about it. No step loops on what the source says.
 */
#include "functions/invoke.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fsio.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* The job, and what only this file needs of it. */
struct invocation {
    struct fn_job job;
    struct slice source; /* mapped; n = 0 when not */
    int64_t waited_us;   /* for the grant */
    struct buf why;
};

static void
verdict(struct invocation *in, enum fn_status status, const char *reason)
{
    in->job.status = status;
    in->job.reason = arena_dup(in->job.arena, slice_str(reason));
}

/* A failure of the image modules; only a lack of memory is worth another attempt. */
static void
verdict_err(struct invocation *in, int err)
{
    verdict(in, err == ERR_NOMEM ? FN_ERROR : FN_FAILED,
            in->why.n == 0 ? err_text(err) : in->why.p);
}

/* ---- the source ---- */

/* Says of a source that is no picture we decode what it is instead. */
static void
judge_format(struct invocation *in)
{
    enum sniff_format f = in->job.format;
    if (image_reads(f))
        return;
    if (f == SNIFF_EMPTY) {
        verdict(in, FN_SKIPPED, "empty object");
    } else if (f == SNIFF_UNKNOWN) {
        verdict(in, FN_SKIPPED, "not an image");
    } else {
        buf_printf(&in->why, "unsupported format: %s", sniff_name(f));
        verdict(in, FN_SKIPPED, in->why.p);
    }
}

static void
look(struct invocation *in)
{
    char head[SNIFF_BYTES];
    struct stat st;
    int64_t n = in->job.req->source_bytes;
    size_t take = n < SNIFF_BYTES ? (size_t)n : SNIFF_BYTES;
    if (fstat(in->job.source_fd, &st) != 0 || st.st_size < n ||
        fsio_pread_all(in->job.source_fd, head, take, 0) != ERR_NONE) {
        verdict(in, FN_ERROR, "the source cannot be read");
        return;
    }
    in->job.format = sniff(slice_of(head, take));
    judge_format(in);
}

/* The file as memory. The address space is bounded, so its size is judged first. */
static void
map_source(struct invocation *in)
{
    const struct fn_request *req = in->job.req;
    size_t n = (size_t)req->source_bytes;
    if (req->source_bytes > req->memory_bytes_max) {
        verdict(in, FN_FAILED,
                "memory budget: the source alone is larger than the memory it may use");
        return;
    }
    void *p = mmap(NULL, n, PROT_READ, MAP_PRIVATE, in->job.source_fd, 0);
    if (p == MAP_FAILED)
        verdict(in, FN_ERROR, "the source cannot be mapped");
    else
        in->source = slice_of(p, n);
}

static void
read_header(struct invocation *in)
{
    const struct fn_request *req = in->job.req;
    struct image_limits limits = {req->pixels_frame_max, req->pixels_total_max};
    map_source(in);
    if (in->job.status == FN_OK && in->job.format == SNIFF_TIFF) {
        in->job.format = sniff_tiff(in->source);
        judge_format(in);
    }
    if (in->job.status != FN_OK)
        return;
    int err = image_open(&in->job.image, in->source, in->job.format, &limits, &in->why);
    if (err != ERR_NONE)
        verdict_err(in, err);
}

/* ---- pixels ---- */

static const struct fn_handler *
handler_of(const struct invoke_env *env, struct slice name)
{
    for (size_t i = 0; i < env->handler_count; i++)
        if (slice_eqs(name, env->handlers[i].name))
            return &env->handlers[i];
    return NULL;
}

static double
largest_wish(const struct invoke_env *env, const struct invocation *in)
{
    double scale = 0;
    for (size_t i = 0; i < in->job.req->call_count; i++) {
        const struct fn_call *call = &in->job.req->calls[i];
        const struct fn_handler *h = handler_of(env, call->name);
        double s = h == NULL ? 0 : h->scale(&in->job, call);
        scale = s > scale ? s : scale;
    }
    return scale;
}

/* Waits until the server has room for so much memory. */
static int
ask_admission(const struct invoke_env *env, int64_t id, int64_t bytes)
{
    struct wire_msg m;
    int64_t granted;
    fn_admit_write(&m, id, bytes);
    int err = wire_send(env->sock, &m);
    wire_msg_fini(&m);
    if (err == ERR_NONE)
        err = wire_recv(env->sock, env->reader);
    if (err == ERR_NONE)
        err = fn_grant_read(env->reader, &granted);
    return err == ERR_NONE && granted != id ? ERR_INVALID : err;
}

static int
decode(const struct invoke_env *env, struct invocation *in)
{
    double scale = largest_wish(env, in);
    if (scale <= 0)
        return ERR_NONE;
    int64_t bytes = image_decode_bytes(in->job.image, scale);
    if (bytes > in->job.req->memory_bytes_max) {
        buf_printf(&in->why, "memory budget: decoding takes %lld MB, it may use %lld",
                   (long long)(bytes >> 20), (long long)(in->job.req->memory_bytes_max >> 20));
        verdict(in, FN_FAILED, in->why.p);
        return ERR_NONE;
    }
    int64_t asked_us = clock_mono_us();
    int err = ask_admission(env, in->job.req->id, bytes);
    in->waited_us = clock_mono_us() - asked_us;
    if (err != ERR_NONE)
        return err;
    int rc = image_decode(in->job.image, scale, &in->why);
    if (rc != ERR_NONE)
        verdict_err(in, rc);
    return ERR_NONE;
}

/* ---- the answer ---- */

struct fn_cost
fn_cost_start(void)
{
    return (struct fn_cost){.cpu_us = clock_cpu_us(), .run_us = clock_mono_us()};
}

struct fn_cost
fn_cost_since(const struct fn_cost *since)
{
    struct fn_cost now = fn_cost_start();
    return (struct fn_cost){.cpu_us = now.cpu_us - since->cpu_us,
                            .run_us = now.run_us - since->run_us};
}

static int64_t
rss_peak_bytes(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (int64_t)u.ru_maxrss * 1024;
}

static void
run(const struct invoke_env *env, const struct invocation *in, struct fn_result *res)
{
    for (size_t i = 0; i < in->job.req->call_count; i++) {
        const struct fn_call *call = &in->job.req->calls[i];
        const struct fn_handler *h = handler_of(env, call->name);
        struct fn_answer *answer = &res->answers[res->answer_count++];
        answer->name = call->name;
        if (h != NULL) {
            struct fn_cost started = fn_cost_start();
            h->run(&in->job, call, answer);
            answer->cost = fn_cost_since(&started);
        } else {
            answer->status = FN_ERROR;
            answer->reason = SLICE_LIT("this worker has no such function");
        }
    }
}

static int
answer(const struct invoke_env *env, const struct fn_result *res)
{
    struct wire_msg m;
    fn_result_write(&m, res);
    int err = wire_send(env->sock, &m);
    wire_msg_fini(&m);
    return err;
}

/* What could not be sent as it is becomes a failed attempt that can. */
static int
answer_error(const struct invoke_env *env, const struct fn_result *res, int why)
{
    struct fn_result plain = {.id = res->id, .answer_count = res->answer_count};
    for (size_t i = 0; i < res->answer_count; i++) {
        plain.answers[i].name = res->answers[i].name;
        plain.answers[i].status = FN_ERROR;
        plain.answers[i].reason = slice_str(err_text(why));
    }
    return answer(env, &plain);
}

int
invoke(const struct invoke_env *env, const struct fn_request *req, int source_fd)
{
    struct invocation in = {
        .job = {.req = req, .arena = env->arena, .source_fd = source_fd, .status = FN_OK}};
    struct fn_result res = {.id = req->id};
    struct fn_cost started = fn_cost_start();
    int err = ERR_NONE;
    buf_init(&in.why, IMAGE_WHY_MAX);
    look(&in);
    if (in.job.status == FN_OK)
        read_header(&in);
    if (in.job.status == FN_OK)
        err = decode(env, &in);
    if (err != ERR_NONE)
        goto out;
    res.decode = fn_cost_since(&started);
    res.decode.run_us -= in.waited_us;
    run(env, &in, &res);
    res.rss_peak_bytes = rss_peak_bytes();
    err = answer(env, &res);
    if (err == ERR_TOOBIG || err == ERR_NOMEM)
        err = answer_error(env, &res, err);
out:
    fn_result_close(&res);
    image_free(&in.job.image);
    if (in.source.n > 0)
        munmap((void *)in.source.p, in.source.n);
    buf_fini(&in.why);
    close(source_fd);
    return err;
}
