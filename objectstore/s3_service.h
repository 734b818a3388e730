/*
 * The S3 REST face of the store: an operation table maps method and query to a handler.
 */
#ifndef DARKROOM_OBJECTSTORE_S3_SERVICE_H
#define DARKROOM_OBJECTSTORE_S3_SERVICE_H

#include "base/account.h"
#include "base/http.h"
#include "base/refusal.h"
#include "objectstore/store.h"

struct s3_hooks {
    void *arg;
    /* Judges a notification document before it is stored, on the writer thread in its transaction.
     * ERR_INVALID or ERR_LOOP with one sentence in `why`; ERR_INVALID answers InvalidArgument,
     * ERR_LOOP InvalidRequest. NULL: notifications are refused. */
    int (*notification_set)(void *arg, struct db_conn *conn, const struct store_bucket *bucket,
                            struct slice xml, struct buf *why);
    /* False: writes are answered 503 SlowDown before acceptance (queue full). Any thread. */
    bool (*accepting)(void *arg);
    /* HEAD of a current version that may be read: adds headers of its own with http_header().
     * HTTP thread. NULL: none. */
    void (*describe)(void *arg, struct http_request *r, const struct store_bucket *bucket,
                     const struct store_object *object);
    /* Is this object, made by a function, of its source's current version? Asked when `?v=` would
     * make the answer immutable. HTTP thread. NULL: it is. */
    bool (*is_fresh)(void *arg, const struct store_object *object);
};

struct s3_options {
    struct store *store;
    struct db *db;
    const struct accounts *accounts;
    const char *domain; /* bucket-style host suffix, "localhost" */
    const char *region;
    int64_t day_ms; /* length of a lifecycle rule's day; 0: 24 hours */
    struct s3_hooks hooks;
};

struct s3_service;

struct s3_service *s3_service_new(const struct s3_options *options);
void s3_service_free(struct s3_service **s);

/* The router sets r->service to this and r->service_arg to the struct s3_service. */
extern const struct http_service s3_http_service;

/* ---- for other services that give out objects ---- */

/* May the sender of this request (r->auth) do s3:GetObject there? As S3 judges it, whether the
 * object is there or not. ERR_NONE; ERR_DENIED; ERR_NOPARENT: no such bucket, which S3 tells
 * anybody; storage errors. *may_list: may be told that something is missing. HTTP thread. */
int s3_may_get(struct s3_service *s, struct http_request *r, struct slice bucket, struct slice key,
               bool *may_list);
/* Answers r with that object as S3's GetObject or HeadObject would (conditions, ranges, headers,
 * errors), without asking for permission: the caller has. `cache_control` n = 0: S3's own. Headers
 * added before stay. ERR_NONE: answered. ERR_STALE, and nothing is answered, when `generation` is
 * not 0 and another one is there, or when the bytes are missing; ERR_NOTFOUND likewise when
 * there is none. HTTP thread, in begin(), end() or resumed(). */
struct s3_serve {
    struct slice bucket, key;
    int64_t generation;
    struct slice cache_control;
    const char *header; /* one more, which comes only with the object; NULL: none */
    struct slice header_value;
    /* How to say what S3 refuses (a range, a condition): replies. NULL: as S3 does, in XML. */
    void (*refuse)(struct http_request *r, const struct refusal *refusal);
};
int s3_serve_object(struct s3_service *s, struct http_request *r, const struct s3_serve *what);

/* True when this Host header names a bucket ("photos.localhost"): then "/_/x" is a key. */
bool s3_host_is_bucket(const struct s3_service *s, struct slice host);

#endif
