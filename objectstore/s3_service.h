/*
 * The S3 REST face of the store: an operation table maps method and query to a handler.
 */
#ifndef DARKROOM_OBJECTSTORE_S3_SERVICE_H
#define DARKROOM_OBJECTSTORE_S3_SERVICE_H

#include "base/account.h"
#include "base/http.h"
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

/* True when this Host header names a bucket ("photos.localhost"): then "/_/x" is a key. */
bool s3_host_is_bucket(const struct s3_service *s, struct slice host);

#endif
