/*
 * Another S3 store, seen by the CLI, with one of two drivers picked at the start. One thread for
 * each struct remote; remote_open() and remote_close() of all of them in one thread.
 *
 *   libs3   Signature Version 2, for stores that take it. Debian's libs3 2.0 sends a space in a key
 *           as '+', so keys and prefixes with a space are refused (ERR_UNSUPPORTED, named in
 *           `why`); names with a NUL cannot be said in its interface at all. It checks no
 *           certificates, so https is refused likewise. It shows and sends of an object's
 *           metadata Content-Type and x-amz-meta-* only, has no multipart uploads and no tags.
 *   curl    Signature Version 4 by our own signer, for everything.
 *
 * Errors, everywhere, with one sentence in `why`: ERR_NOPARENT bucket, ERR_NOTFOUND key,
 * ERR_DENIED, ERR_UNSUPPORTED (libs3), ERR_PRECONDITION (no longer that ETag), ERR_DIGEST (the
 * store says that the bytes that came are others), ERR_INVALID answer, ERR_TOOBIG answer; worth
 * another try: ERR_BUSY (429, 5xx), ERR_CLOSED, ERR_SHORT, ERR_TIMEOUT; ERR_CANCELED.
 */
#ifndef DARKROOM_OBJECTSTORE_REMOTE_H
#define DARKROOM_OBJECTSTORE_REMOTE_H

#include "base/arena.h"
#include "base/digest.h"
#include "objectstore/remote_http.h"

#define REMOTE_PAGE_KEYS 1000
#define REMOTE_PAGE_BYTES_MAX                                           \
    (8u << 20) /* 1,000 keys of 1,024 bytes, each byte as %XX, and more \
                */
#define REMOTE_TOKEN_MAX (16u << 10)
#define REMOTE_OBJECT_BYTES_MAX (64u << 10) /* of one object's metadata */
#define REMOTE_HEADERS_MAX 128              /* likewise */
#define REMOTE_ETAG_MAX 128                 /* longer ones count as none */
#define REMOTE_UPLOAD_ID_MAX 2048
#define REMOTE_PARTS_MAX 10000 /* S3 User Guide, "Amazon S3 multipart upload limits" */
#define REMOTE_PART_BYTES_MIN ((int64_t)5 << 20)
#define REMOTE_PUT_BYTES_MAX ((int64_t)5 << 30)
#define REMOTE_OBJECT_SIZE_MAX (REMOTE_PARTS_MAX * REMOTE_PUT_BYTES_MAX) /* a larger one: a lie */

struct remote;

enum remote_driver { REMOTE_LIBS3, REMOTE_CURL };

int remote_open(struct remote **out, enum remote_driver driver,
                const struct remote_options *options, struct buf *why);
void remote_close(struct remote **r);
/* What the last answer's Retry-After said; 0: nothing. */
int remote_retry_after_s(const struct remote *r);
/* Its HTTP status; 0: there was none, or it came through libs3. */
int remote_status(const struct remote *r);

/* ---- listing ---- */

struct remote_entry {
    bool is_prefix;
    struct slice name; /* lent during the call */
    int64_t size;
    int64_t mtime_ms;
    struct slice etag; /* without quotes */
};
typedef int (*remote_entry_fn)(void *arg, const struct remote_entry *entry); /* non-zero stops */

/* One page. `token`, empty at first, becomes what the next page is asked with; empty: there is
 * none. It is as it was when the call fails, so that the same page may be asked for again; entries
 * may have been handed over by then. */
int remote_page(struct remote *r, struct slice bucket, struct slice prefix, struct slice delimiter,
                struct buf *token, remote_entry_fn fn, void *arg, struct buf *why);
/* All of it, page by page. */
int remote_list(struct remote *r, struct slice bucket, struct slice prefix, struct slice delimiter,
                remote_entry_fn fn, void *arg, struct buf *why);

/* ---- objects ---- */

/* What is known of an object beside its bytes. Texts live in the arena. */
struct remote_object {
    struct arena *arena; /* NULL: nothing is known */
    int64_t bytes;       /* of the whole object */
    int64_t mtime_ms;
    struct slice etag;                              /* without quotes */
    bool etag_opaque;                               /* encrypted by the store: no digest */
    int64_t first_part_bytes;                       /* remote_head() with `parts`; 0: not said */
    struct sign_header headers[REMOTE_HEADERS_MAX]; /* kept ones, as they are sent again: */
    size_t header_count;                            /* Content-Type..., x-amz-meta-*, */
    int tag_count;                                  /* and x-amz-tagging after remote_tags() */
    enum checksum checksum;                         /* of the whole object; CHECKSUM_NONE */
    uint8_t checksum_value[DIGEST_BYTES_MAX];
};

void remote_object_fini(struct remote_object *o);
/* Adds one, copied. ERR_TOOBIG. */
int remote_object_add(struct remote_object *o, struct slice name, struct slice value);
/* p = NULL when it has none of that (lower-case) name. */
struct slice remote_object_header(const struct remote_object *o, const char *name);

struct remote_range {
    int64_t offset;
    int64_t bytes;     /* < 0: the whole object, without a range */
    struct slice etag; /* only of the object with this ETag; n = 0: of any */
};

/* `parts`: also ask how large the first part was. `o` is zeroed or fini'd, and filled. */
int remote_head(struct remote *r, struct slice bucket, struct slice key, bool parts,
                struct remote_object *o, struct buf *why);
/* `o` (may be NULL) as above. That exactly range->bytes came is the caller's to check. */
int remote_fetch(struct remote *r, struct slice bucket, struct slice key,
                 const struct remote_range *range, remote_sink_fn sink, void *arg,
                 struct remote_object *o, struct buf *why);
int remote_get(struct remote *r, struct slice bucket, struct slice key, remote_sink_fn sink,
               void *arg, struct buf *why);
/* Asks for the tags, if it has any, and adds them as x-amz-tagging. */
int remote_tags(struct remote *r, struct slice bucket, struct slice key, struct remote_object *o,
                struct buf *why);

/* A stretch of a file, and what it must be when it has arrived. */
struct remote_body {
    int fd;
    int64_t offset;
    int64_t bytes;
    uint8_t md5[MD5_BYTES];
    uint8_t sha256[SHA256_BYTES];
};

/* `etag` gets the store's, without quotes; "" when it says none. */
int remote_put(struct remote *r, struct slice bucket, struct slice key,
               const struct remote_object *o, const struct remote_body *body,
               char etag[REMOTE_ETAG_MAX], struct buf *why);

/* Multipart upload; curl only. `upload_id` is made by begin; `etags` are those of parts 1 to n. */
int remote_upload_begin(struct remote *r, struct slice bucket, struct slice key,
                        const struct remote_object *o, struct buf *upload_id, struct buf *why);
int remote_upload_part(struct remote *r, struct slice bucket, struct slice key,
                       struct slice upload_id, int number, const struct remote_body *body,
                       char etag[REMOTE_ETAG_MAX], struct buf *why);
int remote_upload_complete(struct remote *r, struct slice bucket, struct slice key,
                           struct slice upload_id, char (*etags)[REMOTE_ETAG_MAX], int n,
                           char etag[REMOTE_ETAG_MAX], struct buf *why);
int remote_upload_abort(struct remote *r, struct slice bucket, struct slice key,
                        struct slice upload_id, struct buf *why);

/* Its text without quotes, or "" for one over REMOTE_ETAG_MAX. */
void remote_etag_text(struct slice etag, char out[REMOTE_ETAG_MAX]);
/* The S3 error document of an answer as one sentence in `why`, and the code that fits. */
int remote_failure(const struct remote_response *response, struct buf *why);
/* True when this driver sends the name as it is. */
bool remote_can_send(enum remote_driver driver, struct slice name);

#endif
