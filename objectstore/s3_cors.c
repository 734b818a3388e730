/*
 * Cross-origin requests: a bucket's rules, the preflight, and the headers of actual answers.
 *
 * A browser sends no credentials with a preflight, so OPTIONS is answered before anybody asks who
 * calls; it looks at the rules alone, never at keys. An actual request gets its CORS headers before
 * anything else is decided: a page may read a refusal too. A request without Origin costs one look
 * for that field.
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/cors.html
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/cors-troubleshooting.html (the refusals)
 */
#include "objectstore/s3_priv.h"
#include "base/err.h"
#include "objectstore/cors.h"

#include <ctype.h>

#define NOT_ALLOWED                                                                             \
    "CORSResponse: This CORS request is not allowed. This is usually because the evalution of " \
    "Origin, request method / Access-Control-Request-Method or Access-Control-Request-Headers " \
    "are not whitelisted by the resource's CORS spec."

/* ---- the document ---- */

static void
refuse(struct s3_request *q, int err, const struct buf *why)
{
    if (err != ERR_INVALID)
        s3_fail_err(q, err);
    else if (why->n > 0)
        s3_fail_why(q, S3_INVALID_REQUEST, why->p);
    else
        s3_fail(q, S3_MALFORMED_XML);
}

/* As it is kept. */
static int
rewritten(struct slice xml, struct buf *out, struct buf *why)
{
    struct cors *cors = NULL;
    int err = cors_parse(xml, &cors, why);
    if (err == ERR_NONE)
        cors_write(cors, out);
    cors_free(&cors);
    return err;
}

void
s3_run_put_cors(struct s3_request *q)
{
    s3_config_put_checked(q, "cors", rewritten, refuse);
}

void
s3_run_get_cors(struct s3_request *q)
{
    s3_config_reply(q, "cors", S3_NO_CORS);
}

void
s3_run_delete_cors(struct s3_request *q)
{
    s3_config_put(q, "cors", SLICE_NONE, 204);
}

/* ---- requests ---- */

/* What the request asks the rules; the method of an actual request is its own. */
static struct cors_request
asked(const struct http_request *r)
{
    struct slice method = http_field(r, "Access-Control-Request-Method");
    return (struct cors_request){.origin = http_field(r, "Origin"),
                                 .method = method.p == NULL ? r->method_name : method,
                                 .headers = http_field(r, "Access-Control-Request-Headers")};
}

/* The names asked for, each allowed: in lower case with ", " between them. */
static void
allow_headers(struct s3_request *q, struct slice list)
{
    struct buf b;
    buf_init(&b, HTTP_HEADER_BYTES_MAX * 2);
    while (list.p != NULL) {
        struct slice name = slice_trim(slice_cut(list, ',', &list));
        if (name.n > 0 && b.n > 0)
            buf_puts(&b, ", ");
        for (size_t i = 0; i < name.n; i++)
            buf_putc(&b, (char)tolower((unsigned char)name.p[i]));
    }
    if (b.n > 0)
        http_header(q->r, "Access-Control-Allow-Headers", buf_slice(&b));
    buf_fini(&b);
}

/* The headers of the first rule that allows the request; false: none does. */
static bool
allowed(struct s3_request *q)
{
    struct cors_answer a;
    const struct cors_request rq = asked(q->r);
    if (q->bucket->cors == NULL || !cors_match(q->bucket->cors, &rq, &a))
        return false;
    http_header(q->r, "Access-Control-Allow-Origin", a.any_origin ? SLICE_LIT("*") : rq.origin);
    http_header(q->r, "Access-Control-Allow-Methods", a.methods);
    allow_headers(q, rq.headers);
    if (a.exposed.n > 0)
        http_header(q->r, "Access-Control-Expose-Headers", a.exposed);
    if (a.max_age_s >= 0)
        http_headerf(q->r, "Access-Control-Max-Age", "%lld", (long long)a.max_age_s);
    if (!a.any_origin)
        http_header(q->r, "Access-Control-Allow-Credentials", SLICE_LIT("true"));
    http_header(q->r, "Vary",
                SLICE_LIT("Origin, Access-Control-Request-Headers, Access-Control-Request-Method"));
    return true;
}

void
s3_cors_headers(struct s3_request *q)
{
    if (q->bucket != NULL || (q->bucket_name.n > 0 && store_bucket_get(q->s->store, q->bucket_name,
                                                                       &q->bucket) == ERR_NONE))
        (void)allowed(q);
}

static void
forbid(struct s3_request *q, const char *message, bool about_object)
{
    struct slice method = http_field(q->r, "Access-Control-Request-Method");
    s3_extra(q, "Method", method.p == NULL ? q->r->method_name : method);
    s3_extra(q, "ResourceType", about_object ? SLICE_LIT("OBJECT") : SLICE_LIT("BUCKET"));
    s3_fail_why(q, S3_ACCESS_FORBIDDEN, message);
}

void
s3_preflight(struct s3_request *q)
{
    if (http_field(q->r, "Origin").n == 0) {
        s3_fail_why(q, S3_BAD_REQUEST, "Insufficient information. Origin request header needed.");
        return;
    }
    int err = q->bucket_name.n == 0 ? ERR_NOTFOUND
                                    : store_bucket_get(q->s->store, q->bucket_name, &q->bucket);
    if (err == ERR_NOTFOUND)
        forbid(q, "CORSResponse: Bucket not found", false);
    else if (err != ERR_NONE)
        s3_fail_err(q, err);
    else if (q->bucket->cors == NULL)
        forbid(q, s3_refusal(S3_ACCESS_FORBIDDEN)->message, false);
    else if (http_field(q->r, "Access-Control-Request-Method").p == NULL)
        s3_fail_why(q, S3_BAD_REQUEST, "Invalid Access-Control-Request-Method: null");
    else if (!allowed(q))
        forbid(q, NOT_ALLOWED, q->key.n > 0);
    else
        s3_reply_empty(q, 200, 0);
}
