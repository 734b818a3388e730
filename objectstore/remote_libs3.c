/*
 * libs3 2.0 behind the driver table. It calls back; each request here runs to its end in the
 * calling thread (a NULL request context). It dates requests by gmtime(), whose buffer all threads
 * share; the program's own one, below, stands in front of libc's and gives each thread its own.
 *
 * It sets CURLOPT_SSL_VERIFYPEER to 0, and has no way to change that. Whoever stands in between
 * could read and replace everything, so https is refused here.
 */
#include "base/chk.h"
#include "base/err.h"
#include "base/fsio.h"
#include "objectstore/remote_priv.h"

#include <libs3.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define LIBS3_BUCKET_MAX 256

struct libs3_state {
    char *host; /* with the port */
    char *access_key_id;
    char *secret_access_key;
};

/* What the callbacks of one request share. */
struct libs3_call {
    remote_entry_fn entry;
    remote_sink_fn sink;
    void *arg;
    struct remote_object *object; /* NULL, or filled from the answer's header */
    const struct remote_body *body;
    int64_t sent;
    bool truncated;
    bool stopped;
    int sink_err;
    char etag[REMOTE_ETAG_MAX];
    struct buf marker; /* the next page begins behind it */
    S3Status status;
    char message[256];
};

struct tm *
gmtime(const time_t *t)
{
    static _Thread_local struct tm mine;
    return gmtime_r(t, &mine);
}

/* The size is that of what comes: right for whole objects and HEAD; ranges ask for no object. */
static S3Status
on_properties(const S3ResponseProperties *p, void *data)
{
    struct libs3_call *call = data;
    struct remote_object *o = call->object;
    if (p->eTag != NULL)
        remote_etag_text(slice_str(p->eTag), call->etag);
    if (o == NULL)
        return S3StatusOK;
    remote_object_init(o);
    if (p->contentLength > REMOTE_OBJECT_SIZE_MAX) {
        call->sink_err = ERR_INVALID;
        return S3StatusAbortedByCallback;
    }
    o->bytes = (int64_t)p->contentLength;
    o->mtime_ms = p->lastModified > 0 ? p->lastModified * 1000 : 0;
    o->etag = arena_dup(o->arena, slice_str(call->etag));
    call->sink_err = ERR_NONE;
    if (p->contentType != NULL)
        call->sink_err = remote_object_add(o, SLICE_LIT("content-type"), slice_str(p->contentType));
    for (int i = 0; i < p->metaDataCount && call->sink_err == ERR_NONE; i++) {
        char name[REMOTE_ETAG_MAX + S3_MAX_METADATA_SIZE];
        snprintf(name, sizeof name, "x-amz-meta-%s", p->metaData[i].name);
        call->sink_err = remote_object_add(o, slice_str(name), slice_str(p->metaData[i].value));
    }
    return call->sink_err == ERR_NONE ? S3StatusOK : S3StatusAbortedByCallback;
}

static void
on_complete(S3Status status, const S3ErrorDetails *details, void *data)
{
    struct libs3_call *call = data;
    const char *text = details != NULL && details->message != NULL ? details->message : "";
    call->status = status;
    snprintf(call->message, sizeof call->message, "%s", text);
}

static S3Status
on_list(int truncated, const char *next_marker, int count, const S3ListBucketContent *contents,
        int prefix_count, const char **prefixes, void *data)
{
    struct libs3_call *call = data;
    const char *last = NULL;
    call->truncated = truncated != 0;
    for (int i = 0; i < count && !call->stopped; i++) {
        if (contents[i].size > REMOTE_OBJECT_SIZE_MAX) {
            call->sink_err = ERR_INVALID;
            return S3StatusAbortedByCallback;
        }
        struct remote_entry e = {.name = slice_str(contents[i].key),
                                 .size = (int64_t)contents[i].size,
                                 .mtime_ms = contents[i].lastModified * 1000,
                                 .etag = remote_bare_etag(slice_str(contents[i].eTag))};
        last = contents[i].key;
        call->stopped = call->entry(call->arg, &e) != 0;
    }
    for (int i = 0; i < prefix_count && !call->stopped; i++) {
        struct remote_entry e = {.is_prefix = true, .name = slice_str(prefixes[i])};
        if (last == NULL || strcmp(prefixes[i], last) > 0)
            last = prefixes[i];
        call->stopped = call->entry(call->arg, &e) != 0;
    }
    if (next_marker != NULL && next_marker[0] != '\0')
        last = next_marker;
    if (last != NULL) {
        buf_reset(&call->marker);
        buf_puts(&call->marker, last);
    }
    return call->stopped ? S3StatusAbortedByCallback : S3StatusOK;
}

static S3Status
on_data(int n, const char *p, void *data)
{
    struct libs3_call *call = data;
    call->sink_err = call->sink(call->arg, p, (size_t)n);
    return call->sink_err == ERR_NONE ? S3StatusOK : S3StatusAbortedByCallback;
}

static int
on_body(int n, char *p, void *data)
{
    struct libs3_call *call = data;
    int64_t left = call->body->bytes - call->sent;
    if (n > left)
        n = (int)left;
    if (n > 0 &&
        fsio_pread_all(call->body->fd, p, (size_t)n, call->body->offset + call->sent) != ERR_NONE)
        return -1;
    call->sent += n;
    return n;
}

static int
outcome(const struct libs3_call *call, struct buf *why)
{
    if (call->status == S3StatusOK || call->stopped)
        return ERR_NONE;
    if (call->sink_err != ERR_NONE) {
        if (call->sink_err == ERR_INVALID)
            buf_puts(why, "the server says no size that an object can have");
        return call->sink_err;
    }
    const char *name = S3_get_status_name(call->status);
    if (call->message[0] == '\0') /* the library's own word: nothing was answered */
        buf_printf(why, "libs3: %s", name);
    else /* S3's, which the library calls Error... */
        buf_printf(why, "%s (%s)", call->message, strncmp(name, "Error", 5) == 0 ? name + 5 : name);
    switch (call->status) {
    case S3StatusErrorNoSuchBucket:
        return ERR_NOPARENT;
    case S3StatusErrorNoSuchKey:
    case S3StatusHttpErrorNotFound:
        return ERR_NOTFOUND;
    case S3StatusErrorAccessDenied:
    case S3StatusErrorInvalidAccessKeyId:
    case S3StatusErrorSignatureDoesNotMatch:
    case S3StatusHttpErrorForbidden:
        return ERR_DENIED;
    case S3StatusErrorPreconditionFailed:
        return ERR_PRECONDITION;
    case S3StatusErrorBadDigest:
        return ERR_DIGEST;
    case S3StatusErrorSlowDown:
    case S3StatusErrorInternalError:
    case S3StatusErrorRequestTimeout:
        return ERR_BUSY;
    case S3StatusFailedToConnect:
    case S3StatusNameLookupError:
    case S3StatusConnectionFailed:
        return ERR_CLOSED;
    default:
        return S3_status_is_retryable(call->status) ? ERR_BUSY : ERR_INVALID;
    }
}

static void
bucket_context(const struct libs3_state *state, const char *bucket, S3BucketContext *context)
{
    *context = (S3BucketContext){.hostName = state->host,
                                 .bucketName = bucket,
                                 .protocol = S3ProtocolHTTP,
                                 .uriStyle = S3UriStylePath,
                                 .accessKeyId = state->access_key_id,
                                 .secretAccessKey = state->secret_access_key};
}

static int
libs3_page(struct remote *r, struct slice bucket, struct slice prefix, struct slice delimiter,
           struct buf *token, remote_entry_fn fn, void *arg, struct buf *why)
{
    static const S3ListBucketHandler handler = {{on_properties, on_complete}, on_list};
    struct libs3_call call = {.entry = fn, .arg = arg};
    S3BucketContext context;
    char name[LIBS3_BUCKET_MAX];
    if (!remote_can_send(REMOTE_LIBS3, buf_slice(token))) {
        buf_printf(why,
                   "libs3 cannot go on behind the key \"%s\" (it turns a space into '+'); "
                   "use --signature v4",
                   token->p);
        return ERR_UNSUPPORTED;
    }
    char *prefix_text = strndup(prefix.n > 0 ? prefix.p : "", prefix.n);
    char *delimiter_text = strndup(delimiter.n > 0 ? delimiter.p : "", delimiter.n);
    CHK(prefix_text != NULL && delimiter_text != NULL);
    snprintf(name, sizeof name, "%.*s", SLICE_FMT(bucket));
    bucket_context(r->state, name, &context);
    buf_init(&call.marker, REMOTE_TOKEN_MAX);
    S3_list_bucket(&context, prefix_text, token->n > 0 ? token->p : NULL,
                   delimiter.n > 0 ? delimiter_text : NULL, REMOTE_PAGE_KEYS, NULL, &handler,
                   &call);
    int err = outcome(&call, why);
    if (err == ERR_NONE) {
        buf_reset(token);
        if (call.truncated)
            buf_put_slice(token, buf_slice(&call.marker));
        err = token->err;
    }
    buf_fini(&call.marker);
    free(prefix_text);
    free(delimiter_text);
    return err;
}

/* The texts that a request about one object needs. */
struct named {
    S3BucketContext context;
    char bucket[LIBS3_BUCKET_MAX];
    char *key;
};

static void
named_init(struct named *n, struct remote *r, struct slice bucket, struct slice key)
{
    n->key = strndup(key.p, key.n);
    CHK(n->key != NULL);
    snprintf(n->bucket, sizeof n->bucket, "%.*s", SLICE_FMT(bucket));
    bucket_context(r->state, n->bucket, &n->context);
}

static int
libs3_head(struct remote *r, struct slice bucket, struct slice key, bool parts,
           struct remote_object *o, struct buf *why)
{
    static const S3ResponseHandler handler = {on_properties, on_complete};
    struct libs3_call call = {.object = o};
    struct named n;
    (void)parts;
    named_init(&n, r, bucket, key);
    S3_head_object(&n.context, n.key, NULL, &handler, &call);
    free(n.key);
    return outcome(&call, why);
}

static int
libs3_fetch(struct remote *r, struct slice bucket, struct slice key,
            const struct remote_range *range, remote_sink_fn sink, void *arg,
            struct remote_object *o, struct buf *why)
{
    static const S3GetObjectHandler handler = {{on_properties, on_complete}, on_data};
    struct libs3_call call = {.sink = sink, .arg = arg, .object = o};
    char etag[REMOTE_ETAG_MAX + 2];
    S3GetConditions conditions = {-1, -1, NULL, NULL};
    struct named n;
    if (range->etag.n > 0) {
        snprintf(etag, sizeof etag, "\"%.*s\"", SLICE_FMT(range->etag));
        conditions.ifMatchETag = etag;
    }
    named_init(&n, r, bucket, key);
    /* Not tried again: bytes may have gone to the sink already. */
    S3_get_object(&n.context, n.key, &conditions, (uint64_t)range->offset,
                  range->bytes > 0 ? (uint64_t)range->bytes : 0, NULL, &handler, &call);
    free(n.key);
    return outcome(&call, why);
}

/* What S3PutProperties can say exactly; ERR_UNSUPPORTED names what it cannot. */
static int
put_properties(const struct remote_object *o, S3PutProperties *p, S3NameValue *meta,
               struct buf *why)
{
    for (size_t i = 0; i < o->header_count; i++) {
        const struct sign_header *h = &o->headers[i]; /* values end in NUL: arena_dup() */
        if (strcmp(h->name, "content-type") == 0)
            p->contentType = h->value.p;
        else if (strcmp(h->name, "cache-control") == 0)
            p->cacheControl = h->value.p;
        else if (strcmp(h->name, "content-encoding") == 0)
            p->contentEncoding = h->value.p;
        else if (strncmp(h->name, "x-amz-meta-", 11) == 0)
            meta[p->metaDataCount++] = (S3NameValue){h->name + 11, h->value.p};
        else {
            buf_printf(why, "libs3 cannot send its %s; use --signature v4", h->name);
            return ERR_UNSUPPORTED;
        }
    }
    return ERR_NONE;
}

static int
libs3_put(struct remote *r, struct slice bucket, struct slice key, const struct remote_object *o,
          const struct remote_body *body, char etag[REMOTE_ETAG_MAX], struct buf *why)
{
    static const S3PutObjectHandler handler = {{on_properties, on_complete}, on_body};
    struct libs3_call call = {.body = body};
    S3NameValue meta[REMOTE_HEADERS_MAX];
    S3PutProperties properties = {.expires = -1, .metaData = meta};
    struct buf md5;
    struct named n;
    int err = put_properties(o, &properties, meta, why);
    if (err != ERR_NONE)
        return err;
    buf_init(&md5, DIGEST_BASE64_MAX);
    base64_encode(&md5, body->md5, MD5_BYTES);
    properties.md5 = md5.p;
    named_init(&n, r, bucket, key);
    S3_put_object(&n.context, n.key, (uint64_t)body->bytes, &properties, NULL, &handler, &call);
    free(n.key);
    buf_fini(&md5);
    remote_etag_text(slice_str(call.etag), etag);
    return outcome(&call, why);
}

static void
libs3_close(struct remote *r)
{
    struct libs3_state *state = r->state;
    S3_deinitialize();
    explicit_bzero(state->secret_access_key, strlen(state->secret_access_key));
    free(state->host);
    free(state->access_key_id);
    free(state->secret_access_key);
    free(state);
}

int
remote_libs3_open(struct remote *r, const struct remote_options *options, struct buf *why)
{
    static const struct remote_ops ops = {
        .page = libs3_page,
        .head = libs3_head,
        .fetch = libs3_fetch,
        .put = libs3_put,
        .close = libs3_close,
    };
    bool tls = strncmp(options->endpoint, "https://", 8) == 0;
    if (!tls && strncmp(options->endpoint, "http://", 7) != 0) {
        buf_printf(why, "endpoint \"%s\" is not http[s]://HOST[:PORT]", options->endpoint);
        return ERR_INVALID;
    }
    if (tls) {
        buf_puts(why, "libs3 does not check the certificate of https: use --signature v4");
        return ERR_UNSUPPORTED;
    }
    struct libs3_state *state = chk_calloc(1, sizeof *state);
    state->host = strdup(options->endpoint + 7);
    state->access_key_id = strndup(options->access_key_id.p, options->access_key_id.n);
    state->secret_access_key = strndup(options->secret_access_key.p, options->secret_access_key.n);
    CHK(state->host != NULL && state->access_key_id != NULL && state->secret_access_key != NULL);
    state->host[strcspn(state->host, "/")] = '\0';
    r->ops = &ops;
    r->state = state;
    S3Status status = S3_initialize("darkroom", S3_INIT_ALL, state->host);
    if (status == S3StatusOK)
        return ERR_NONE;
    buf_printf(why, "libs3 cannot be started: %s", S3_get_status_name(status));
    free(state->host);
    free(state->access_key_id);
    free(state->secret_access_key);
    free(state);
    return ERR_IO;
}
