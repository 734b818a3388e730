/*
 * Headers in the query of a presigned request. Who presigns moves x-amz-* headers there, so that
 * the one who gets the URL need not send them; the signature covers them as it covers the rest of
 * the query, and they count as if they had been sent.
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
 *
 * Version 2 signs few parameters, so nothing is taken from its queries.
 */
#include "objectstore/s3_priv.h"
#include "base/chk.h"
#include "base/err.h"

#include <strings.h>

/* The signature's own, and what is about a body: who presigned had none yet, and SDKs state the
 * checksum of an empty one. */
static const char *const not_hoisted[] = {
    "x-amz-algorithm",      "x-amz-checksum-", /* ends in '-': a prefix */
    "x-amz-content-sha256", "x-amz-credential",
    "x-amz-date",           "x-amz-decoded-content-length",
    "x-amz-expires",        "x-amz-sdk-",
    "x-amz-security-token", "x-amz-signature",
    "x-amz-signedheaders",  "x-amz-trailer",
    "x-amz-user-agent",
};

static bool
is_hoisted(struct slice name)
{
    if (name.n <= 6 || strncasecmp(name.p, "x-amz-", 6) != 0)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(not_hoisted); i++) {
        size_t n = strlen(not_hoisted[i]);
        bool prefix = not_hoisted[i][n - 1] == '-';
        if (name.n >= n && (prefix || name.n == n) && strncasecmp(name.p, not_hoisted[i], n) == 0)
            return false;
    }
    return true;
}

bool
s3_hoisted_headers(struct s3_request *q)
{
    struct http_request *r = q->r;
    size_t count = 0;
    for (size_t i = 0; i < r->param_count; i++)
        count += is_hoisted(r->params[i].name);
    if (count == 0 || r->auth->scope.n == 0)
        return true;
    struct http_field *fields = arena_alloc(r->arena, (r->field_count + count) * sizeof *fields);
    if (fields == NULL) {
        s3_fail_err(q, ERR_NOMEM);
        return false;
    }
    memcpy(fields, r->fields, r->field_count * sizeof *fields);
    count = r->field_count;
    for (size_t i = 0; i < r->param_count; i++) {
        if (is_hoisted(r->params[i].name))
            fields[count++] = (struct http_field){r->params[i].name, r->params[i].value};
    }
    r->fields = fields;
    r->field_count = count;
    return true;
}
