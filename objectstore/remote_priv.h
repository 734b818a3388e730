/*
 * What the two drivers of objectstore/remote.h have in common.
 */
#ifndef DARKROOM_OBJECTSTORE_REMOTE_PRIV_H
#define DARKROOM_OBJECTSTORE_REMOTE_PRIV_H

#include "objectstore/remote.h"

struct remote_ops {
    int (*page)(struct remote *r, struct slice bucket, struct slice prefix, struct slice delimiter,
                struct buf *token, remote_entry_fn fn, void *arg, struct buf *why);
    int (*head)(struct remote *r, struct slice bucket, struct slice key, bool parts,
                struct remote_object *o, struct buf *why);
    int (*fetch)(struct remote *r, struct slice bucket, struct slice key,
                 const struct remote_range *range, remote_sink_fn sink, void *arg,
                 struct remote_object *o, struct buf *why);
    int (*put)(struct remote *r, struct slice bucket, struct slice key,
               const struct remote_object *o, const struct remote_body *body,
               char etag[REMOTE_ETAG_MAX], struct buf *why);
    void (*close)(struct remote *r);
};

struct remote {
    uint32_t magic;
    enum remote_driver driver;
    const struct remote_ops *ops;
    struct remote_http *http; /* curl */
    void *state;              /* libs3 */
    int retry_after_s;
    int status;
};

int remote_curl_open(struct remote *r, const struct remote_options *options, struct buf *why);
int remote_libs3_open(struct remote *r, const struct remote_options *options, struct buf *why);

/* ---- remote_curl.c ---- */

#define REMOTE_QUERY_MAX (16u << 10)
#define REMOTE_XML_MEMORY_MAX (32u << 20) /* a page as a tree */

/* remote_http_send() to "/bucket/key" (request->path is set here), with another status than 2xx as
 * remote_failure(). remote_response_fini() in any case. */
int remote_curl_send(struct remote *r, struct slice bucket, struct slice key,
                     struct remote_request *request, struct remote_response *response,
                     struct buf *why);

/* ---- remote_object.c ---- */

/* Starts an empty one. */
void remote_object_init(struct remote_object *o);
/* Without the quotes around it. */
struct slice remote_bare_etag(struct slice etag);

/* ---- remote_curl_object.c ---- */

int remote_curl_head(struct remote *r, struct slice bucket, struct slice key, bool parts,
                     struct remote_object *o, struct buf *why);
int remote_curl_fetch(struct remote *r, struct slice bucket, struct slice key,
                      const struct remote_range *range, remote_sink_fn sink, void *arg,
                      struct remote_object *o, struct buf *why);
int remote_curl_put(struct remote *r, struct slice bucket, struct slice key,
                    const struct remote_object *o, const struct remote_body *body,
                    char etag[REMOTE_ETAG_MAX], struct buf *why);

#endif
