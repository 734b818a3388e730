/*
 * Listings. Their cost grows with what is returned: a common prefix is sought past, whatever it
 * holds. Each runs in one short read of the database, so callbacks must not call the store.
 */
#ifndef DARKROOM_OBJECTSTORE_STORE_LIST_H
#define DARKROOM_OBJECTSTORE_STORE_LIST_H

#include "objectstore/store_object.h"

#define STORE_LIST_MAX 1000

struct store;

struct store_list_spec {
    struct slice bucket;
    struct slice prefix;
    struct slice delimiter;     /* n = 0: none; any length */
    struct slice after;         /* names up to and including it are left out; a common prefix that
                                   starts before or equals it too */
    struct slice after_version; /* store_list_versions(): of the key `after`, those behind this
                                   version id still come; n = 0: none of them do */
    int max;                    /* entries, versions and common prefixes together */
};

struct store_list_entry {
    bool is_prefix;
    struct slice name; /* key or common prefix; lent during the call */
    int64_t size;
    int64_t mtime_ms;
    const char *etag;
    struct slice owner;
    const char *version_id;
    const char *place; /* its place in the order, as an after_version: an id that stays good when
                          the version is gone, which "null" does not */
    int64_t seq;
    bool is_latest;
    bool is_marker;
    enum store_class storage_class;
    enum checksum checksum;
    bool checksum_composite;
    int64_t generation;
    int64_t noncurrent_ms; /* store_list_versions(): since when it is not current; 0 when latest */
    struct slice tags;     /* store_list_versions() */
    struct store_lock lock; /* store_list_versions() */
};

/* Non-zero ends the listing there (*truncated = true). */
typedef int (*store_list_fn)(void *arg, const struct store_list_entry *e);
/* Current versions, in key order. ERR_NOPARENT. `*truncated`: more follow; the last entry's name is
 * then the next `after`. ERR_INVALID: `after_version` is no version id of ours. */
int store_list(struct store *s, const struct store_list_spec *spec, store_list_fn fn, void *arg,
               bool *truncated);
/* All versions and delete markers, in key order, of each key the newest first. The last entry's
 * name and place are then the next `after` and `after_version`. */
int store_list_versions(struct store *s, const struct store_list_spec *spec, store_list_fn fn,
                        void *arg, bool *truncated);

#endif
