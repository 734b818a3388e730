/*
 * libs3 2.0 behind the driver table. It calls back; each request here runs to its end in the
 * calling thread (a NULL request context).
 */
#include "base/chk.h"
#include "base/err.h"
#include "objectstore/remote.h"

#include <libs3.h>
#include <stdio.h>
#include <stdlib.h>

#define LIBS3_TRIES 3
#define LIBS3_PAGE 1000
#define LIBS3_BUCKET_MAX 256

struct libs3_state {
    char *host; /* with the port */
    char *access_key_id;
    char *secret_access_key;
    S3Protocol protocol;
};

/* What the callbacks of one request share. */
struct libs3_call {
    remote_entry_fn entry;
    remote_sink_fn sink;
    void *arg;
    bool truncated;
    bool stopped;
    int sink_err;
    struct buf marker; /* the next page begins behind it */
    S3Status status;
    char message[256];
};

static S3Status
on_properties(const S3ResponseProperties *properties, void *data)
{
    (void)properties;
    (void)data;
    return S3StatusOK;
}

static void
on_complete(S3Status status, const S3ErrorDetails *details, void *data)
{
    struct libs3_call *call = data;
    const char *text = details != NULL && details->message != NULL ? details->message : "";
    call->status = status;
    snprintf(call->message, sizeof call->message, "%s", text);
}

static struct slice
bare_etag(const char *etag)
{
    struct slice s = slice_str(etag);
    if (s.n >= 2 && s.p[0] == '"')
        s = slice_of(s.p + 1, s.n - 2);
    return s;
}

static S3Status
on_list(int truncated, const char *next_marker, int count, const S3ListBucketContent *contents,
        int prefix_count, const char **prefixes, void *data)
{
    struct libs3_call *call = data;
    const char *last = NULL;
    call->truncated = truncated != 0;
    for (int i = 0; i < count && !call->stopped; i++) {
        struct remote_entry e = {.name = slice_str(contents[i].key),
                                 .size = (int64_t)contents[i].size,
                                 .mtime_ms = contents[i].lastModified * 1000,
                                 .etag = bare_etag(contents[i].eTag)};
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
outcome(const struct libs3_call *call, struct buf *why)
{
    if (call->status == S3StatusOK || call->stopped)
        return ERR_NONE;
    if (call->sink_err != ERR_NONE)
        return call->sink_err;
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
    case S3StatusFailedToConnect:
    case S3StatusNameLookupError:
    case S3StatusConnectionFailed:
        return ERR_CLOSED;
    default:
        return ERR_INVALID;
    }
}

static void
bucket_context(const struct libs3_state *state, const char *bucket, S3BucketContext *context)
{
    *context = (S3BucketContext){.hostName = state->host,
                                 .bucketName = bucket,
                                 .protocol = state->protocol,
                                 .uriStyle = S3UriStylePath,
                                 .accessKeyId = state->access_key_id,
                                 .secretAccessKey = state->secret_access_key};
}

static int
libs3_list(struct remote *r, struct slice bucket, struct slice prefix, struct slice delimiter,
           remote_entry_fn fn, void *arg, struct buf *why)
{
    static const S3ListBucketHandler handler = {{on_properties, on_complete}, on_list};
    struct libs3_call call = {.entry = fn, .arg = arg};
    S3BucketContext context;
    char name[LIBS3_BUCKET_MAX];
    char *prefix_text = strndup(prefix.n > 0 ? prefix.p : "", prefix.n);
    char *delimiter_text = strndup(delimiter.n > 0 ? delimiter.p : "", delimiter.n);
    int err = ERR_NONE;
    CHK(prefix_text != NULL && delimiter_text != NULL);
    snprintf(name, sizeof name, "%.*s", SLICE_FMT(bucket));
    bucket_context(r->state, name, &context);
    buf_init(&call.marker, 4096);
    do {
        int tries = LIBS3_TRIES;
        call.truncated = false;
        if (call.marker.n > 0 && !remote_can_send(REMOTE_LIBS3, buf_slice(&call.marker))) {
            buf_printf(why,
                       "libs3 cannot go on behind the key \"%s\" (it turns a space into '+'); "
                       "use --signature v4",
                       call.marker.p);
            err = ERR_UNSUPPORTED;
            break;
        }
        do {
            S3_list_bucket(&context, prefix_text, call.marker.n > 0 ? call.marker.p : NULL,
                           delimiter.n > 0 ? delimiter_text : NULL, LIBS3_PAGE, NULL, &handler,
                           &call);
        } while (S3_status_is_retryable(call.status) && --tries > 0);
        err = outcome(&call, why);
    } while (err == ERR_NONE && call.truncated && !call.stopped);
    buf_fini(&call.marker);
    free(prefix_text);
    free(delimiter_text);
    return err;
}

static int
libs3_get(struct remote *r, struct slice bucket, struct slice key, remote_sink_fn sink, void *arg,
          struct buf *why)
{
    static const S3GetObjectHandler handler = {{on_properties, on_complete}, on_data};
    struct libs3_call call = {.sink = sink, .arg = arg};
    S3BucketContext context;
    char name[LIBS3_BUCKET_MAX];
    char *key_text = strndup(key.p, key.n);
    CHK(key_text != NULL);
    snprintf(name, sizeof name, "%.*s", SLICE_FMT(bucket));
    bucket_context(r->state, name, &context);
    /* Not tried again: bytes may have gone to the sink already. */
    S3_get_object(&context, key_text, NULL, 0, 0, NULL, &handler, &call);
    free(key_text);
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
    static const struct remote_ops ops = {libs3_list, libs3_get, libs3_close};
    bool tls = strncmp(options->endpoint, "https://", 8) == 0;
    if (!tls && strncmp(options->endpoint, "http://", 7) != 0) {
        buf_printf(why, "endpoint \"%s\" is not http[s]://HOST[:PORT]", options->endpoint);
        return ERR_INVALID;
    }
    if (tls && options->ca_file != NULL) {
        buf_puts(why, "libs3 takes no CA file: use --signature v4");
        return ERR_INVALID;
    }
    struct libs3_state *state = chk_calloc(1, sizeof *state);
    state->protocol = tls ? S3ProtocolHTTPS : S3ProtocolHTTP;
    state->host = strdup(options->endpoint + (tls ? 8 : 7));
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
