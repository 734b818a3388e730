#include "objectstore/remote.h"
#include "base/chk.h"
#include "base/err.h"
#include "base/log.h"

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
remote_list(struct remote *r, struct slice bucket, struct slice prefix, struct slice delimiter,
            remote_entry_fn fn, void *arg, struct buf *why)
{
    CHK_MAGIC(r, REMOTE_MAGIC);
    int err = refuse(r, prefix, why);
    if (err == ERR_NONE)
        err = refuse(r, delimiter, why);
    return err != ERR_NONE ? err : r->ops->list(r, bucket, prefix, delimiter, fn, arg, why);
}

int
remote_get(struct remote *r, struct slice bucket, struct slice key, remote_sink_fn sink, void *arg,
           struct buf *why)
{
    CHK_MAGIC(r, REMOTE_MAGIC);
    int err = refuse(r, key, why);
    return err != ERR_NONE ? err : r->ops->get(r, bucket, key, sink, arg, why);
}
