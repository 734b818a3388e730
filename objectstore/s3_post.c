/*
 * POST Object: an upload from a browser's form.
 *
 *   prepare()  multipart/form-data? then the form's parser (post_form.h) stands ready
 *   body       fields ... | file begins: variables, signer, policy, permission, put | its bytes ...
 *   end        the form is whole, the file long enough; then the road of PutObject
 *
 * Who calls is known when the file begins, so the row judges permission itself. S3 says of POST
 * that "parameters that are passed to PUT through HTTP headers are instead passed as form fields",
 * and that is how it is done: from there on the form's fields are the request's fields, the file
 * is its body of unknown length, and description, digests and checksums go PutObject's way. The
 * first refusal ends it; nothing is stored before everything was judged.
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTForms.html (fields)
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/HTTPPOSTForms.html (V2)
 */
#include "objectstore/s3_priv.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/stat.h"
#include "objectstore/post_form.h"
#include "objectstore/post_policy.h"

#include <stdio.h>

#define WHY_MAX 4096
#define FILENAME_VARIABLE "${filename}"
#define NOT_A_FORM "Bucket POST must be of the enclosure-type multipart/form-data"
#define ONE_FILE "POST requires exactly one file upload per request."

struct s3_post {
    struct post_form *form;
    struct post_policy_range range;
    struct slice host; /* as sent, with its port */
};

/* ---- refusals ---- */

static void
refuse_argument(struct s3_request *q, const char *name, struct slice value, const char *message)
{
    s3_extra(q, "ArgumentName", slice_str(name));
    s3_extra(q, "ArgumentValue", value);
    s3_fail_why(q, S3_INVALID_ARGUMENT, message);
}

static void
refuse_missing(struct s3_request *q, const char *name)
{
    char *message = arena_printf(q->r->arena,
                                 "Bucket POST must contain a field named '%s'.  If it is "
                                 "specified, please check the order of the fields.",
                                 name);
    if (message == NULL)
        s3_fail_err(q, ERR_NOMEM);
    else
        refuse_argument(q, name, slice_str(""), message);
}

static void
refuse_form(struct s3_request *q, enum post_form_fault fault)
{
    static const char limit[] = "20480";
    _Static_assert(POST_FORM_BYTES_MAX == 20480, "the refusal names the limit");
    CHK(fault != POST_FORM_OK);
    if (fault == POST_FORM_MALFORMED) {
        s3_fail(q, S3_MALFORMED_POST);
    } else if (fault == POST_FORM_TOO_LARGE) {
        s3_extra(q, "MaxPostPreDataLengthBytes", slice_str(limit));
        s3_fail(q, S3_POST_FIELDS_TOO_LARGE);
    } else if (fault == POST_FORM_TWO_FILES) {
        refuse_argument(q, "file", SLICE_LIT("2"), ONE_FILE);
    } else {
        s3_fail_err(q, ERR_NOMEM);
    }
}

/* EntityTooLarge or EntityTooSmall, with the numbers S3 gives. `size` < 0: not known yet. */
static void
refuse_size(struct s3_request *q, enum s3_fault fault, int64_t size)
{
    const struct s3_post *post = q->post;
    bool large = fault == S3_ENTITY_TOO_LARGE;
    char *proposed = arena_printf(q->r->arena, "%lld", (long long)size);
    char *limit =
        arena_printf(q->r->arena, "%lld", (long long)(large ? post->range.max : post->range.min));
    if (size >= 0 && proposed != NULL)
        s3_extra(q, "ProposedSize", slice_str(proposed));
    if (limit != NULL)
        s3_extra(q, large ? "MaxSizeAllowed" : "MinSizeAllowed", slice_str(limit));
    s3_fail_why(q, fault,
                large ? "Your proposed upload exceeds the maximum allowed size"
                      : "Your proposed upload is smaller than the minimum allowed size");
}

/* ---- the file begins: variables ---- */

/* `text` with the file's name for every variable; p = NULL: longer than a form may be, or no
 * memory. */
static struct slice
expanded(struct arena *a, struct slice text, struct slice filename)
{
    struct buf b;
    struct slice result = SLICE_NONE, variable = SLICE_LIT(FILENAME_VARIABLE);
    ptrdiff_t at;
    buf_init(&b, POST_FORM_BYTES_MAX);
    while ((at = slice_find(text, variable)) >= 0) {
        buf_put(&b, text.p, (size_t)at);
        buf_put_slice(&b, filename);
        text = slice_skip(text, (size_t)at + variable.n);
    }
    buf_put_slice(&b, text);
    if (b.err == ERR_NONE)
        result = b.n == 0 ? slice_str("") : arena_dup(a, buf_slice(&b));
    buf_fini(&b);
    return result;
}

/* S3 leaves the variable as it stands when the file came without a name. False: answered. */
static bool
variables(struct s3_request *q, struct http_field *fields, size_t count)
{
    struct slice filename = post_form_filename(q->post->form);
    for (size_t i = 0; filename.p != NULL && i < count; i++) {
        if (slice_find(fields[i].value, SLICE_LIT(FILENAME_VARIABLE)) < 0)
            continue;
        fields[i].value = expanded(q->r->arena, fields[i].value, filename);
        if (fields[i].value.p == NULL) {
            refuse_form(q, POST_FORM_TOO_LARGE);
            return false;
        }
    }
    return true;
}

/* ---- who, and may they ---- */

/* Of each version all fields or none. NULL: nothing is missing. */
static const char *
missing_field(const struct auth_form *f)
{
    bool v4 = f->algorithm.p != NULL || f->credential.p != NULL || f->signature.p != NULL;
    bool v2 = f->v2_access_key_id.p != NULL || f->v2_signature.p != NULL;
    const struct {
        const char *name;
        struct slice value;
        bool needed;
    } fields[] = {
        {"Policy", f->policy, v4 || v2},
        {"X-Amz-Algorithm", f->algorithm, v4},
        {"X-Amz-Credential", f->credential, v4},
        {"X-Amz-Date", f->date, v4},
        {"X-Amz-Signature", f->signature, v4},
        {"AWSAccessKeyId", f->v2_access_key_id, v2 && !v4},
        {"Signature", f->v2_signature, v2 && !v4},
    };
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (fields[i].needed && fields[i].value.p == NULL)
            return fields[i].name;
    }
    return NULL;
}

/* S3 names the field where a header would have had an error of its own. */
static void
refuse_signer(struct s3_request *q, const struct auth_form *f)
{
    switch (q->r->auth->result) {
    case AUTH_MALFORMED:
        refuse_argument(q, "X-Amz-Credential", f->credential,
                        "the Credential is mal-formed; expecting "
                        "\"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".");
        break;
    case AUTH_NO_DATE:
        refuse_argument(q, "X-Amz-Date", f->date,
                        "X-Amz-Date must be formated via ISO8601 Long format");
        break;
    case AUTH_UNSUPPORTED:
        refuse_argument(q, "X-Amz-Algorithm", f->algorithm,
                        "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"");
        break;
    default:
        s3_fail_auth(q);
    }
}

/* Sets q->account. False: answered. */
static bool
signer(struct s3_request *q)
{
    const struct http_request *r = q->r;
    const struct auth_form f = {
        .policy = http_field(r, "policy"),
        .algorithm = http_field(r, "x-amz-algorithm"),
        .credential = http_field(r, "x-amz-credential"),
        .date = http_field(r, "x-amz-date"),
        .signature = http_field(r, "x-amz-signature"),
        .v2_access_key_id = http_field(r, "AWSAccessKeyId"),
        .v2_signature = http_field(r, "signature"),
    };
    const char *missing = missing_field(&f);
    if (missing != NULL) {
        refuse_missing(q, missing);
        return false;
    }
    int err = auth_check_form(q->r, q->s->accounts, clock_wall_ms(), &f);
    if (err != ERR_NONE) {
        s3_fail_err(q, err);
        return false;
    }
    q->account = r->auth->account;
    if (q->account != NULL || r->auth->result == AUTH_ANONYMOUS)
        return true;
    refuse_signer(q, &f);
    return false;
}

/* The signed policy against the form. False: answered. */
static bool
policy_holds(struct s3_request *q)
{
    struct s3_post *post = q->post;
    struct buf why;
    const struct post_policy_form form = {
        .fields = q->r->fields,
        .field_count = q->r->field_count,
        .bucket = q->bucket->name,
        .now_ms = clock_wall_ms(),
    };
    post->range = (struct post_policy_range){0, INT64_MAX};
    if (q->account == NULL)
        return true; /* nobody signed one */
    buf_init(&why, WHY_MAX);
    int err = post_policy_check(http_field(q->r, "policy"), &form, &post->range, &why);
    if (err == ERR_INVALID || err == ERR_DENIED)
        s3_fail_why(q, err == ERR_INVALID ? S3_INVALID_POLICY_DOCUMENT : S3_ACCESS_DENIED,
                    why.n > 0 ? why.p : s3_refusal(S3_INVALID_POLICY_DOCUMENT)->message);
    else if (err != ERR_NONE)
        s3_fail_err(q, err);
    buf_fini(&why);
    return err == ERR_NONE;
}

/* Sets q->key. False: answered. */
static bool
key_read(struct s3_request *q)
{
    struct slice key = http_field(q->r, "key");
    if (key.n == 0) {
        refuse_missing(q, "key");
        return false;
    }
    if (key.n > STORE_KEY_MAX || !slice_is_utf8(key)) {
        s3_fail(q, key.n > STORE_KEY_MAX ? S3_KEY_TOO_LONG : S3_INVALID_URI);
        return false;
    }
    q->key = key;
    return true;
}

/* ---- the file's bytes ---- */

/* From here on the form stands for the headers, and the file for the body. False: answered. */
static bool
become_put(struct s3_request *q, struct http_field *fields, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct http_field *f = &fields[i];
        if (slice_ieqs(f->name, "acl")) {
            f->name = SLICE_LIT("x-amz-acl");
        } else if (slice_ieqs(f->name, "tagging")) {
            f->name = SLICE_LIT("x-amz-tagging");
            if (!s3_tags_of_form(q, f->value, &f->value))
                return false;
        }
    }
    q->r->content_length = -1;
    q->r->chunked = true;
    return true;
}

static bool
put_begin(struct s3_request *q)
{
    int64_t max =
        q->post->range.max < STORE_PUT_BYTES_MAX ? q->post->range.max : STORE_PUT_BYTES_MAX;
    q->fault = payload_begin(&q->payload, q->r, max < 0 ? 0 : max, s3_put_sink, q);
    if (q->fault != PAYLOAD_NONE) {
        s3_fail_payload(q);
        return false;
    }
    int err = s3_put_begin(q, -1);
    if (err != ERR_NONE)
        s3_fail_err(q, err);
    return err == ERR_NONE;
}

static bool
file_begin(void *arg)
{
    struct s3_request *q = arg;
    size_t count;
    struct http_field *fields = post_form_fields(q->post->form, &count);
    q->r->fields = fields;
    q->r->field_count = count;
    if (!variables(q, fields, count) || !key_read(q) || !signer(q) || !policy_holds(q) ||
        !become_put(q, fields, count))
        return false;
    if (!s3_may(q, q->bucket, q->op->action, q->key)) {
        s3_fail(q, S3_ACCESS_DENIED);
        return false;
    }
    return s3_spec_fill(q, STORE_CREATED_POST, true) && put_begin(q);
}

static bool
file_bytes(void *arg, const void *p, size_t n)
{
    struct s3_request *q = arg;
    q->fault = payload_feed(q->payload, p, n);
    if (q->fault == PAYLOAD_TOO_LARGE && q->post->range.max < STORE_PUT_BYTES_MAX)
        refuse_size(q, S3_ENTITY_TOO_LARGE, -1);
    else if (q->fault != PAYLOAD_NONE)
        s3_fail_payload(q);
    return q->fault == PAYLOAD_NONE;
}

/* ---- the life of the request ---- */

void
s3_prepare_post_object(struct s3_request *q)
{
    bool is_form;
    struct http_request *r = q->r;
    struct slice boundary = post_form_boundary(r->arena, http_field(r, "Content-Type"), &is_form);
    if (!is_form) {
        s3_extra(q, "Condition", SLICE_LIT(NOT_A_FORM));
        s3_fail(q, S3_PRECONDITION_FAILED);
        return;
    }
    if (boundary.n == 0) {
        s3_fail(q, S3_MALFORMED_POST);
        return;
    }
    if (q->account != NULL) { /* the form names its signer */
        s3_refuse(q, auth_refusal(AUTH_TWO_MECHANISMS));
        return;
    }
    if (!s3_write_begin(q))
        return;
    const struct post_form_sink sink = {q, file_begin, file_bytes};
    struct s3_post *post = arena_alloc(r->arena, sizeof *post);
    if (post != NULL)
        post->form = post_form_new(r->arena, boundary, &sink);
    if (post == NULL || post->form == NULL) {
        s3_fail_err(q, ERR_NOMEM);
        return;
    }
    post->host = http_field(r, "Host");
    q->post = post;
}

void
s3_post_body(struct s3_request *q, const void *p, size_t n)
{
    enum post_form_fault fault = post_form_feed(q->post->form, p, n);
    if (fault != POST_FORM_OK && !http_replied(q->r))
        refuse_form(q, fault);
}

bool
s3_post_end(struct s3_request *q)
{
    const struct s3_post *post = q->post;
    enum post_form_fault fault = post_form_end(post->form);
    if (fault != POST_FORM_OK)
        refuse_form(q, fault);
    else if (!post_form_has_file(post->form))
        refuse_argument(q, "file", SLICE_LIT("0"), ONE_FILE);
    else if (payload_received(q->payload) > post->range.max) /* a range below 0 */
        refuse_size(q, S3_ENTITY_TOO_LARGE, payload_received(q->payload));
    else if (payload_received(q->payload) < post->range.min)
        refuse_size(q, S3_ENTITY_TOO_SMALL, payload_received(q->payload));
    return !http_replied(q->r);
}

void
s3_post_fini(struct s3_request *q)
{
    if (q->post != NULL)
        post_form_fini(&q->post->form);
}

/* ---- the answer ---- */

/* Percent-encoded as in a form: a blank is '+'. */
static void
form_escape(struct buf *b, struct slice text)
{
    while (text.p != NULL) {
        http_escape(b, slice_cut(text, ' ', &text), false);
        if (text.p != NULL)
            buf_putc(b, '+');
    }
}

/* Where the object is, its key percent-encoded as S3 does, '/' too. */
static void
put_location(const struct s3_request *q, struct buf *b)
{
    bool by_host = q->r->path.n <= 1;
    buf_printf(b, "%s://%.*s/", q->r->secure ? "https" : "http", SLICE_FMT(q->post->host));
    if (!by_host)
        buf_printf(b, "%.*s/", SLICE_FMT(q->bucket->name));
    http_escape(b, q->key, false);
}

/* Where the form wants the browser to go; n = 0: nowhere we could name. */
static struct slice
redirect_of(const struct http_request *r)
{
    struct slice url = http_field(r, "success_action_redirect");
    if (url.n == 0)
        url = http_field(r, "redirect");
    size_t scheme = slice_starts(url, SLICE_LIT("http://"))    ? 7
                    : slice_starts(url, SLICE_LIT("https://")) ? 8
                                                               : 0;
    for (size_t i = 0; i < url.n; i++) {
        if ((unsigned char)url.p[i] < ' ' || url.p[i] == 0x7f)
            return SLICE_NONE;
    }
    return scheme > 0 && url.n > scheme ? url : SLICE_NONE;
}

static void
answer_redirect(struct s3_request *q, struct slice url)
{
    struct buf b;
    buf_init(&b, 2 * POST_FORM_BYTES_MAX);
    buf_put_slice(&b, url);
    buf_putc(&b, memchr(url.p, '?', url.n) == NULL ? '?' : '&');
    buf_puts(&b, "bucket=");
    form_escape(&b, q->bucket->name);
    buf_puts(&b, "&key=");
    form_escape(&b, q->key);
    buf_printf(&b, "&etag=%%22%s%%22", q->w->result.etag);
    if (b.err == ERR_NONE)
        http_header(q->r, "Location", buf_slice(&b));
    s3_reply_empty(q, b.err == ERR_NONE ? 303 : 204, b.err == ERR_NONE ? 0 : -1);
    buf_fini(&b);
}

static void
answer_document(struct s3_request *q, struct slice location)
{
    struct buf b;
    buf_init(&b, S3_REPLY_BYTES_MAX);
    xml_head(&b);
    xml_open(&b, "PostResponse");
    xml_put(&b, "Location", location);
    xml_put(&b, "Bucket", q->bucket->name);
    xml_put(&b, "Key", q->key);
    s3_etag_xml(&b, q->w->result.etag);
    xml_close(&b, "PostResponse");
    s3_reply_xml(q, 201, &b);
}

static void
answer_stored(struct s3_request *q)
{
    struct slice status = http_field(q->r, "success_action_status");
    struct slice redirect = redirect_of(q->r);
    struct buf location;
    if (redirect.n > 0) {
        answer_redirect(q, redirect);
        return;
    }
    buf_init(&location, 2 * POST_FORM_BYTES_MAX);
    put_location(q, &location);
    http_header(q->r, "Location", buf_slice(&location));
    if (slice_eqs(status, "201"))
        answer_document(q, buf_slice(&location));
    else if (slice_eqs(status, "200"))
        s3_reply_empty(q, 200, 0);
    else
        s3_reply_empty(q, 204, -1);
    buf_fini(&location);
}

static void
answer_post(struct s3_request *q, int err)
{
    if (s3_put_made(q, err))
        answer_stored(q);
}

void
s3_run_post_object(struct s3_request *q)
{
    s3_spec_seal(q);
    s3_seal_and_commit(q, s3_apply_put, answer_post);
}
