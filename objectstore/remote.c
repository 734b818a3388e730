#include "base/chk.h"
#include "base/err.h"
#include "base/log.h"
#include "objectstore/remote_priv.h"

#include <stdlib.h>

#define REMOTE_MAGIC 0x4e307e00u

int
remote_open(struct remote **out, enum remote_driver driver, const struct remote_options *options,
            struct buf *why)
{
    struct remote *r = chk_calloc(1, sizeof *r);
    r->magic = REMOTE_MAGIC;
    r->driver = driver;
    int err = driver == REMOTE_LIBS3 ? remote_libs3_open(r, options, why)
                                     : remote_curl_open(r, options, why);
    if (err != ERR_NONE) {
        free(r);
        return err;
    }
    *out = r;
    return ERR_NONE;
}

void
remote_close(struct remote **rp)
{
    struct remote *r = *rp;
    *rp = NULL;
    if (r == NULL)
        return;
    CHK_MAGIC(r, REMOTE_MAGIC);
    r->ops->close(r);
    r->magic = 0;
    free(r);
}

bool
remote_can_send(enum remote_driver driver, struct slice name)
{
    return driver == REMOTE_CURL || name.n == 0 ||
           (memchr(name.p, ' ', name.n) == NULL && memchr(name.p, '\0', name.n) == NULL);
}

static int
refuse(struct remote *r, struct slice name, struct buf *why)
{
    char quoted[LOG_QUOTE_MAX];
    if (remote_can_send(r->driver, name))
        return ERR_NONE;
    buf_printf(why,
               "libs3 cannot send the name %s as it is (it turns a space into '+'); use "
               "--signature v4",
               log_quote(name, quoted));
    return ERR_UNSUPPORTED;
}

int
remote_retry_after_s(const struct remote *r)
{
    CHK_MAGIC(r, REMOTE_MAGIC);
    return r->retry_after_s;
}

int
remote_status(const struct remote *r)
{
    CHK_MAGIC(r, REMOTE_MAGIC);
    return r->status;
}

int
remote_page(struct remote *r, struct slice bucket, struct slice prefix, struct slice delimiter,
            struct buf *token, remote_entry_fn fn, void *arg, struct buf *why)
{
    CHK_MAGIC(r, REMOTE_MAGIC);
    int err = refuse(r, prefix, why);
    if (err == ERR_NONE)
        err = refuse(r, delimiter, why);
    return err != ERR_NONE ? err : r->ops->page(r, bucket, prefix, delimiter, token, fn, arg, why);
}

/* Whether the caller of remote_list() has had enough. */
struct stopper {
    remote_entry_fn fn;
    void *arg;
    bool stopped;
};

static int
hand_on(void *arg, const struct remote_entry *entry)
{
    struct stopper *s = arg;
    s->stopped = s->fn(s->arg, entry) != 0;
    return s->stopped;
}

int
remote_list(struct remote *r, struct slice bucket, struct slice prefix, struct slice delimiter,
            remote_entry_fn fn, void *arg, struct buf *why)
{
    struct stopper s = {.fn = fn, .arg = arg};
    struct buf token;
    buf_init(&token, REMOTE_TOKEN_MAX);
    int err = ERR_NONE;
    do
        err = remote_page(r, bucket, prefix, delimiter, &token, hand_on, &s, why);
    while (err == ERR_NONE && token.n > 0 && !s.stopped);
    buf_fini(&token);
    return err;
}

int
remote_head(struct remote *r, struct slice bucket, struct slice key, bool parts,
            struct remote_object *o, struct buf *why)
{
    CHK_MAGIC(r, REMOTE_MAGIC);
    int err = refuse(r, key, why);
    return err != ERR_NONE ? err : r->ops->head(r, bucket, key, parts, o, why);
}

int
remote_fetch(struct remote *r, struct slice bucket, struct slice key,
             const struct remote_range *range, remote_sink_fn sink, void *arg,
             struct remote_object *o, struct buf *why)
{
    CHK_MAGIC(r, REMOTE_MAGIC);
    int err = refuse(r, key, why);
    return err != ERR_NONE ? err : r->ops->fetch(r, bucket, key, range, sink, arg, o, why);
}

int
remote_get(struct remote *r, struct slice bucket, struct slice key, remote_sink_fn sink, void *arg,
           struct buf *why)
{
    static const struct remote_range all = {.bytes = -1};
    return remote_fetch(r, bucket, key, &all, sink, arg, NULL, why);
}

int
remote_put(struct remote *r, struct slice bucket, struct slice key, const struct remote_object *o,
           const struct remote_body *body, char etag[REMOTE_ETAG_MAX], struct buf *why)
{
    CHK_MAGIC(r, REMOTE_MAGIC);
    int err = refuse(r, key, why);
    return err != ERR_NONE ? err : r->ops->put(r, bucket, key, o, body, etag, why);
}
