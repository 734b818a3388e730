/*
 * Buckets and the documents kept with them. A bucket's id comes from the global counter, so the
 * next bucket of that name has another one and nothing cached for the old can be taken for its own.
 *
 * Any change of a bucket or its policy raises the one bucket stamp: buckets change rarely.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "objectstore/cors.h"
#include "objectstore/lifecycle.h"
#include "objectstore/lock_config.h"
#include "objectstore/policy.h"
#include "objectstore/store_priv.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <stdlib.h>

#define BUCKET_NAME_MIN 3
#define BUCKET_NAME_MAX 63
#define WHY_MAX 512

/* ---- names ---- */

static bool
is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool
is_ip_address(struct slice name)
{
    char text[BUCKET_NAME_MAX + 1];
    struct in_addr addr;
    memcpy(text, name.p, name.n);
    text[name.n] = '\0';
    return inet_pton(AF_INET, text, &addr) == 1;
}

/* Beginnings and ends that S3 keeps for itself, and pairs no name may hold. */
static bool
is_reserved(struct slice name)
{
    static const char *const heads[] = {"xn--", "sthree-", "amzn-s3-demo-"};
    static const char *const tails[] = {"-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"};
    static const char *const pairs[] = {"..", ".-", "-."};
    for (size_t i = 0; i < ARRAY_LEN(heads); i++)
        if (slice_starts(name, slice_str(heads[i])))
            return true;
    for (size_t i = 0; i < ARRAY_LEN(tails); i++) {
        struct slice tail = slice_str(tails[i]);
        if (name.n >= tail.n && slice_eq(slice_skip(name, name.n - tail.n), tail))
            return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
        if (slice_find(name, slice_str(pairs[i])) >= 0)
            return true;
    return false;
}

/* https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html; a dash beside a dot
 * is an empty-ended DNS label. */
bool
store_bucket_name_ok(struct slice name)
{
    if (name.n < BUCKET_NAME_MIN || name.n > BUCKET_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.n; i++) {
        bool inner = i > 0 && i < name.n - 1;
        char c = name.p[i];
        if (!is_alnum(c) && !(inner && (c == '-' || c == '.')))
            return false;
    }
    return !is_reserved(name) && !is_ip_address(name);
}

/* ---- records ---- */

/* Documents that every request may need, kept with the record as they are. */
static const struct {
    const char *name;
    size_t at;
} kept_docs[] = {
    {"acl", offsetof(struct store_bucket, acl)},
    {"ownershipControls", offsetof(struct store_bucket, ownership)},
    {"publicAccessBlock", offsetof(struct store_bucket, access_block)},
};

static struct slice *
kept_doc(struct store_bucket *b, size_t index)
{
    return (struct slice *)(void *)((char *)b + kept_docs[index].at);
}

static struct slice
text_add(char **at, struct slice s)
{
    struct slice copy = slice_of(*at, s.n);
    if (s.n > 0)
        *at = mempcpy(*at, s.p, s.n);
    return copy;
}

static struct store_bucket *
bucket_dup(const struct store_bucket *b)
{
    struct store_bucket lent = *b;
    size_t n = b->name.n + b->owner.n + b->region.n;
    for (size_t i = 0; i < ARRAY_LEN(kept_docs); i++)
        n += kept_doc(&lent, i)->n;
    struct store_bucket *copy = malloc(sizeof *copy + n);
    if (copy == NULL)
        return NULL;
    char *at = (char *)(copy + 1);
    *copy = *b;
    copy->refs = 1;
    copy->name = text_add(&at, b->name);
    copy->owner = text_add(&at, b->owner);
    copy->region = text_add(&at, b->region);
    for (size_t i = 0; i < ARRAY_LEN(kept_docs); i++)
        *kept_doc(copy, i) = text_add(&at, *kept_doc(&lent, i));
    return copy;
}

void
store_bucket_unref(const struct store_bucket **bp)
{
    struct store_bucket *b = (struct store_bucket *)(uintptr_t)*bp;
    *bp = NULL;
    if (b == NULL)
        return;
    int before = __atomic_fetch_sub(&b->refs, 1, __ATOMIC_ACQ_REL);
    CHK(before > 0);
    if (before == 1) {
        policy_free(&b->policy);
        cors_free(&b->cors);
        lifecycle_free(&b->lifecycle);
        free(b);
    }
}

/* DB_ROW with the document in column 0, DB_DONE without one, or an error. */
static int
config_find(struct db_conn *conn, int64_t bucket_id, const char *name, struct db_stmt **q)
{
    *q = db_prepare(conn, "SELECT body FROM bucket_config WHERE bucket_id = ?1 AND name = ?2");
    db_bind_int(*q, 1, bucket_id);
    db_bind_blob(*q, 2, slice_str(name));
    return db_step(*q);
}

/* A document that no longer parses counts for nothing: a policy grants nothing, so that the owner
 * alone gets in, CORS rules allow nothing, lifecycle rules remove nothing. */
static void
unreadable(const struct store_bucket *b, const char *document, const struct buf *why)
{
    log_line(LOG_ERROR, "document_unreadable", "bucket=%.*s document=%s why=\"%s\"",
             SLICE_FMT(b->name), document, why->n > 0 ? why->p : "");
}

/* Documents that are kept parsed. */
static void
parsed_load(struct store_bucket *b, struct slice name, struct slice body)
{
    struct buf why;
    buf_init(&why, WHY_MAX);
    if (slice_eqs(name, "policy") && policy_parse(body, b->name, &b->policy, &why) != ERR_NONE)
        unreadable(b, "policy", &why);
    else if (slice_eqs(name, "cors") && cors_parse(body, &b->cors, &why) != ERR_NONE)
        unreadable(b, "cors", &why);
    else if (slice_eqs(name, "lifecycle") && lifecycle_parse(body, &b->lifecycle, &why) != ERR_NONE)
        unreadable(b, "lifecycle", &why);
    else if (slice_eqs(name, "object-lock") &&
             lock_config_parse(body, &b->lock_default) != ERR_NONE)
        unreadable(b, "object-lock", &why);
    buf_fini(&why);
}

/* Fills in what requests need of the bucket's documents; the kept ones in `texts`. */
static int
docs_load(struct db_conn *conn, struct store_bucket *b, struct buf *texts)
{
    size_t from[ARRAY_LEN(kept_docs)] = {0};
    struct db_stmt *q =
        db_prepare(conn, "SELECT name, body FROM bucket_config WHERE bucket_id = ?1");
    int rc;
    db_bind_int(q, 1, b->id);
    while ((rc = db_step(q)) == DB_ROW) {
        struct slice name = db_column_blob(q, 0), body = db_column_blob(q, 1);
        parsed_load(b, name, body);
        b->has_notification = b->has_notification || slice_eqs(name, "notification");
        for (size_t i = 0; i < ARRAY_LEN(kept_docs); i++) {
            if (!slice_eqs(name, kept_docs[i].name))
                continue;
            from[i] = texts->n;
            kept_doc(b, i)->n = body.n;
            buf_put_slice(texts, body);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(kept_docs); i++)
        kept_doc(b, i)->p = kept_doc(b, i)->n > 0 ? texts->p + from[i] : NULL;
    return rc < 0 ? rc : texts->err;
}

static void
bucket_from_row(struct store_bucket *b, struct db_stmt *q)
{
    *b = (struct store_bucket){.id = db_column_int(q, 0),
                               .name = db_column_blob(q, 1),
                               .owner = db_column_blob(q, 2),
                               .created_ms = db_column_int(q, 3),
                               .region = db_column_blob(q, 4),
                               .versioning = (enum store_versioning)db_column_int(q, 5),
                               .object_lock = db_column_int(q, 6) != 0};
}

static int
bucket_load(struct db_conn *conn, struct slice name, struct store_bucket **out)
{
    struct store_bucket lent;
    struct buf texts;
    struct db_stmt *q =
        db_prepare(conn, "SELECT id, name, owner, created_ms, region, versioning, object_lock"
                         " FROM bucket WHERE name = ?1");
    db_bind_blob(q, 1, name);
    *out = NULL;
    int rc = db_step(q);
    if (rc != DB_ROW)
        return rc == DB_DONE ? ERR_NOTFOUND : rc;
    bucket_from_row(&lent, q);
    buf_init(&texts, ARRAY_LEN(kept_docs) * STORE_CONFIG_BYTES_MAX);
    rc = docs_load(conn, &lent, &texts);
    if (rc == ERR_NONE) {
        *out = bucket_dup(&lent);
        rc = *out == NULL ? ERR_NOMEM : ERR_NONE;
    }
    if (rc != ERR_NONE) {
        policy_free(&lent.policy);
        cors_free(&lent.cors);
        lifecycle_free(&lent.lifecycle);
    }
    db_reset(q);
    buf_fini(&texts);
    return rc;
}

/* Lent by this thread's cache until its next call, or counted in *loaded when the cache could not
 * hold it. */
static int
bucket_find(struct store *s, struct slice name, const struct store_bucket **lent,
            const struct store_bucket **loaded)
{
    struct cache *cache = cache_mine(s->caches);
    uint64_t stamp = caches_bucket_stamp(s->caches); /* before the snapshot */
    struct db_conn *conn = NULL;
    struct store_bucket *b = NULL;
    uint64_t seen;
    *loaded = NULL;
    if (cache_bucket_find(cache, name, stamp, lent, &seen)) {
        db_seen_raise(s->db, seen);
        return *lent == NULL ? ERR_NOTFOUND : ERR_NONE;
    }
    int err = db_read_begin(s->db, &conn);
    if (err != ERR_NONE)
        return err;
    err = bucket_load(conn, name, &b);
    db_read_end(s->db, &conn);
    if (err == ERR_NONE || err == ERR_NOTFOUND)
        cache_bucket_put(cache, name, stamp, db_seen(s->db), b);
    *lent = *loaded = b;
    return err;
}

int
store_bucket_get(struct store *s, struct slice name, const struct store_bucket **out)
{
    CHK_MAGIC(s, STORE_MAGIC);
    const struct store_bucket *lent = NULL, *loaded = NULL;
    *out = NULL;
    int err = name.n > BUCKET_NAME_MAX ? ERR_NOTFOUND : bucket_find(s, name, &lent, &loaded);
    if (err != ERR_NONE)
        return err;
    if (loaded == NULL)
        __atomic_fetch_add(&((struct store_bucket *)(uintptr_t)lent)->refs, 1, __ATOMIC_RELAXED);
    *out = lent;
    return ERR_NONE;
}

int
bucket_id_get(struct store *s, struct slice name, int64_t *id)
{
    const struct store_bucket *lent = NULL, *loaded = NULL;
    int err = name.n > BUCKET_NAME_MAX ? ERR_NOTFOUND : bucket_find(s, name, &lent, &loaded);
    if (err == ERR_NONE)
        *id = lent->id;
    store_bucket_unref(&loaded);
    return err == ERR_NOTFOUND ? ERR_NOPARENT : err;
}

int
bucket_row_find(struct db_conn *conn, struct slice name, struct bucket_row *row)
{
    struct db_stmt *q = db_prepare(conn, "SELECT id, versioning FROM bucket WHERE name = ?1");
    db_bind_blob(q, 1, name);
    int rc = db_step(q);
    if (rc != DB_ROW)
        return rc == DB_DONE ? ERR_NOPARENT : rc;
    *row = (struct bucket_row){.id = db_column_int(q, 0),
                               .versioning = (enum store_versioning)db_column_int(q, 1)};
    db_reset(q);
    return ERR_NONE;
}

static int
bucket_id_find(struct db_conn *conn, struct slice name, int64_t *id)
{
    struct bucket_row row;
    int err = bucket_row_find(conn, name, &row);
    *id = err == ERR_NONE ? row.id : 0;
    return err;
}

int
store_bucket_list(struct store *s, struct slice owner, struct slice after, store_bucket_fn fn,
                  void *arg)
{
    struct db_conn *conn = NULL;
    int rc = db_read_begin(s->db, &conn);
    if (rc != ERR_NONE)
        return rc;
    struct db_stmt *q = db_prepare(conn, "SELECT id, name, owner, created_ms, region FROM bucket"
                                         " WHERE name > ?1 ORDER BY name");
    db_bind_blob(q, 1, after);
    while ((rc = db_step(q)) == DB_ROW) {
        struct store_bucket b;
        bucket_from_row(&b, q);
        if (owner.n > 0 && !slice_eq(owner, b.owner))
            continue;
        b.refs = 1; /* lent for the call */
        if (fn(arg, &b) != 0) {
            rc = ERR_NONE;
            break;
        }
    }
    db_read_end(s->db, &conn);
    return rc;
}

int
bucket_next_with(struct store *s, const char *config, struct slice after, struct buf *name)
{
    struct db_conn *conn = NULL;
    int rc = db_read_begin(s->db, &conn);
    if (rc != ERR_NONE)
        return rc;
    struct db_stmt *q = db_prepare(conn, "SELECT name FROM bucket AS b WHERE name > ?1 AND EXISTS"
                                         " (SELECT 1 FROM bucket_config AS c"
                                         "  WHERE c.bucket_id = b.id AND c.name = ?2)"
                                         " ORDER BY name LIMIT 1");
    db_bind_blob(q, 1, after);
    db_bind_blob(q, 2, slice_str(config));
    rc = db_step(q);
    buf_reset(name);
    if (rc == DB_ROW)
        buf_put_slice(name, db_column_blob(q, 0));
    db_read_end(s->db, &conn);
    return rc == DB_ROW ? name->err : rc == DB_DONE ? ERR_NOTFOUND : rc;
}

/* ---- changes ---- */

int
store_apply_bucket_get(struct store *s, struct db_conn *conn, struct slice name, int64_t *id,
                       struct arena *a, struct slice *owner)
{
    CHK_MAGIC(s, STORE_MAGIC);
    struct db_stmt *q = db_prepare(conn, "SELECT id, owner FROM bucket WHERE name = ?1");
    db_bind_blob(q, 1, name);
    int rc = db_step(q);
    if (rc != DB_ROW)
        return rc == DB_DONE ? ERR_NOTFOUND : rc;
    *id = db_column_int(q, 0);
    rc = ERR_NONE;
    if (owner != NULL) {
        *owner = arena_dup(a, db_column_blob(q, 1));
        rc = owner->p == NULL ? ERR_NOMEM : ERR_NONE;
    }
    db_reset(q);
    return rc;
}

int
store_bucket_name(struct db_conn *conn, int64_t id, struct arena *a, struct slice *name)
{
    struct db_stmt *q = db_prepare(conn, "SELECT name FROM bucket WHERE id = ?1");
    db_bind_int(q, 1, id);
    int rc = db_step(q);
    if (rc != DB_ROW)
        return rc == DB_DONE ? ERR_NOTFOUND : rc;
    *name = arena_dup(a, db_column_blob(q, 0));
    db_reset(q);
    return name->p == NULL ? ERR_NOMEM : ERR_NONE;
}

/* ERR_NONE when the name is free and there is room. */
static int
bucket_may_create(struct db_conn *conn, struct slice name, struct slice owner, bool *owner_is_same)
{
    struct db_stmt *q = db_prepare(conn, "SELECT owner FROM bucket WHERE name = ?1");
    db_bind_blob(q, 1, name);
    int rc = db_step(q);
    if (rc == DB_ROW) {
        *owner_is_same = slice_eq(db_column_blob(q, 0), owner);
        db_reset(q);
        return ERR_EXISTS;
    }
    if (rc != DB_DONE)
        return rc;
    q = db_prepare(conn, "SELECT count(*) FROM bucket");
    rc = db_step(q);
    if (rc != DB_ROW)
        return rc == DB_DONE ? ERR_CORRUPT : rc;
    int64_t count = db_column_int(q, 0);
    db_reset(q);
    return count < STORE_BUCKETS_MAX ? ERR_NONE : ERR_TOOBIG;
}

int
store_apply_bucket_create(struct store *s, struct db_conn *conn, struct slice name,
                          struct slice owner, struct slice region, bool *owner_is_same)
{
    CHK_MAGIC(s, STORE_MAGIC);
    *owner_is_same = false;
    if (!store_bucket_name_ok(name))
        return ERR_INVALID;
    int err = bucket_may_create(conn, name, owner, owner_is_same);
    if (err != ERR_NONE)
        return err;
    struct db_stmt *q = db_prepare(conn, "INSERT INTO bucket (id, name, owner, created_ms, region)"
                                         " VALUES (?1, ?2, ?3, ?4, ?5)");
    db_bind_int(q, 1, db_next(conn));
    db_bind_blob(q, 2, name);
    db_bind_blob(q, 3, owner);
    db_bind_int(q, 4, clock_wall_ms());
    db_bind_blob(q, 5, region);
    s->changes.buckets = true;
    return db_run(q);
}

/* DB_ROW, DB_DONE or an error: does the query find anything for this bucket? */
static int
probe(struct db_conn *conn, const char *sql, int64_t bucket_id)
{
    struct db_stmt *q = db_prepare(conn, sql);
    db_bind_int(q, 1, bucket_id);
    int rc = db_step(q);
    if (rc == DB_ROW)
        db_reset(q);
    return rc;
}

int
store_apply_bucket_delete(struct store *s, struct db_conn *conn, struct slice name)
{
    CHK_MAGIC(s, STORE_MAGIC);
    int64_t id = 0;
    int rc = bucket_id_find(conn, name, &id);
    if (rc != ERR_NONE)
        return rc == ERR_NOPARENT ? ERR_NOTFOUND : rc;
    rc = probe(conn, "SELECT 1 FROM object WHERE bucket_id = ?1 LIMIT 1", id);
    if (rc == DB_DONE)
        rc = probe(conn, "SELECT 1 FROM object_version WHERE bucket_id = ?1 LIMIT 1", id);
    if (rc == DB_DONE)
        rc = probe(conn, "SELECT 1 FROM upload WHERE bucket_id = ?1 LIMIT 1", id);
    if (rc != DB_DONE)
        return rc == DB_ROW ? ERR_NOTEMPTY : rc;
    s->changes.buckets = true;
    rc = probe(conn, "DELETE FROM bucket_config WHERE bucket_id = ?1", id);
    return rc != DB_DONE ? rc : probe(conn, "DELETE FROM bucket WHERE id = ?1", id);
}

static int
versioning_set(struct store *s, struct db_conn *conn, int64_t id, enum store_versioning versioning)
{
    struct db_stmt *q = db_prepare(conn, "UPDATE bucket SET versioning = ?2 WHERE id = ?1");
    db_bind_int(q, 1, id);
    db_bind_int(q, 2, versioning);
    s->changes.buckets = true;
    return db_run(q);
}

int
store_apply_bucket_versioning(struct store *s, struct db_conn *conn, struct slice bucket,
                              enum store_versioning versioning)
{
    CHK_MAGIC(s, STORE_MAGIC);
    int64_t id = 0;
    CHK(versioning != STORE_VERSIONING_OFF);
    int err = bucket_id_find(conn, bucket, &id);
    if (err != ERR_NONE)
        return err == ERR_NOPARENT ? ERR_NOTFOUND : err;
    int locked = probe(conn, "SELECT 1 FROM bucket WHERE id = ?1 AND object_lock <> 0", id);
    if (locked < 0)
        return locked;
    if (locked == DB_ROW && versioning == STORE_VERSIONING_SUSPENDED)
        return ERR_CONFLICT;
    return versioning_set(s, conn, id, versioning);
}

int
store_apply_bucket_object_lock(struct store *s, struct db_conn *conn, struct slice bucket)
{
    CHK_MAGIC(s, STORE_MAGIC);
    int64_t id = 0;
    int err = bucket_id_find(conn, bucket, &id);
    if (err != ERR_NONE)
        return err == ERR_NOPARENT ? ERR_NOTFOUND : err;
    int rc = probe(conn, "UPDATE bucket SET object_lock = 1 WHERE id = ?1", id);
    return rc != DB_DONE ? rc : versioning_set(s, conn, id, STORE_VERSIONING_ENABLED);
}

int
store_apply_bucket_config_set(struct store *s, struct db_conn *conn, struct slice bucket,
                              const char *name, struct slice body)
{
    CHK_MAGIC(s, STORE_MAGIC);
    int64_t id = 0;
    if (body.n > STORE_CONFIG_BYTES_MAX)
        return ERR_TOOBIG;
    int err = bucket_id_find(conn, bucket, &id);
    if (err != ERR_NONE)
        return err == ERR_NOPARENT ? ERR_NOTFOUND : err;
    s->changes.buckets = true;
    struct db_stmt *q;
    if (body.n == 0) {
        q = db_prepare(conn, "DELETE FROM bucket_config WHERE bucket_id = ?1 AND name = ?2");
    } else {
        q = db_prepare(conn, "INSERT INTO bucket_config (bucket_id, name, body) VALUES (?1, ?2, ?3)"
                             " ON CONFLICT (bucket_id, name) DO UPDATE SET body = excluded.body");
        db_bind_blob(q, 3, body);
    }
    db_bind_int(q, 1, id);
    db_bind_blob(q, 2, slice_str(name));
    return db_run(q);
}

int
store_bucket_config_get(struct store *s, struct slice bucket, const char *name, struct arena *a,
                        struct slice *body)
{
    struct db_conn *conn = NULL;
    int64_t id = 0;
    int rc = db_read_begin(s->db, &conn);
    if (rc != ERR_NONE)
        return rc;
    rc = bucket_id_find(conn, bucket, &id);
    if (rc == ERR_NONE) {
        struct db_stmt *q = NULL;
        rc = config_find(conn, id, name, &q);
        if (rc == DB_ROW) {
            *body = arena_dup(a, db_column_blob(q, 0));
            rc = body->p == NULL ? ERR_NOMEM : ERR_NONE;
        } else if (rc == DB_DONE) {
            rc = ERR_NOTFOUND;
        }
    }
    db_read_end(s->db, &conn);
    return rc;
}
