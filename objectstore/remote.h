/*
 * Another S3 store, seen by the CLI: list and fetch and put, with one of two drivers picked at the
 * start. One thread.
 *
 *   libs3   Signature Version 2, for stores that take it. Debian's libs3 2.0 sends a space in a key
 *           as '+', so keys and prefixes with a space are refused (ERR_UNSUPPORTED, named in
 * `why`); names with a NUL cannot be said in its interface at all. curl    Signature Version 4 by
 * our own signer, for everything.
 */
#ifndef DARKROOM_OBJECTSTORE_REMOTE_H
#define DARKROOM_OBJECTSTORE_REMOTE_H

#include "objectstore/remote_http.h"

struct remote;

enum remote_driver { REMOTE_LIBS3, REMOTE_CURL };

int remote_open(struct remote **out, enum remote_driver driver,
                const struct remote_options *options, struct buf *why);
void remote_close(struct remote **r);

struct remote_entry {
    bool is_prefix;
    struct slice name; /* lent during the call */
    int64_t size;
    int64_t mtime_ms;
    struct slice etag; /* without quotes */
};
typedef int (*remote_entry_fn)(void *arg, const struct remote_entry *entry); /* non-zero stops */

/* All of it, page by page. On an error `why` is one sentence: ERR_NOPARENT bucket, ERR_DENIED,
 * ERR_CLOSED, ERR_UNSUPPORTED (libs3), ERR_INVALID answer. */
int remote_list(struct remote *r, struct slice bucket, struct slice prefix, struct slice delimiter,
                remote_entry_fn fn, void *arg, struct buf *why);
/* ERR_NOTFOUND key, else as above. */
int remote_get(struct remote *r, struct slice bucket, struct slice key, remote_sink_fn sink,
               void *arg, struct buf *why);
/* The S3 error document of an answer as one sentence in `why`, and the code that fits. */
int remote_failure(const struct remote_response *response, struct buf *why);
/* True when this driver sends the name as it is. */
bool remote_can_send(enum remote_driver driver, struct slice name);

/* ---- the drivers ---- */

struct remote_ops {
    int (*list)(struct remote *r, struct slice bucket, struct slice prefix, struct slice delimiter,
                remote_entry_fn fn, void *arg, struct buf *why);
    int (*get)(struct remote *r, struct slice bucket, struct slice key, remote_sink_fn sink,
               void *arg, struct buf *why);
    void (*close)(struct remote *r);
};

struct remote {
    uint32_t magic;
    enum remote_driver driver;
    const struct remote_ops *ops;
    struct remote_http *http; /* curl */
    void *state;              /* libs3 */
};

int remote_curl_open(struct remote *r, const struct remote_options *options, struct buf *why);
int remote_libs3_open(struct remote *r, const struct remote_options *options, struct buf *why);

#endif
