/*
 * Who refers to a damaged blob? Objects name their blobs, blobs do not name their objects, and an
 * index the other way would be a write for every PUT. Damage is rare, so it is looked for: one walk
 * through the current objects, one through the other versions, in pages of a short read each, for
 * all blobs that wait (TRACE_BLOBS_MAX at a time). Parts of unfinished uploads are left out: their
 * completion makes them objects.
 *
 * Each reference is written in a transaction of its own that looks the version up again, so what
 * was overwritten since the page was read is passed over.
 */
#include "base/chk.h"
#include "base/err.h"
#include "base/log.h"
#include "objectstore/scrub_priv.h"

#include <inttypes.h>
#include <stdlib.h>

#define TRACE_BLOBS_MAX 64
#define TRACE_ROWS 500 /* of a page */
#define TRACE_REFS 64  /* of a page; a fuller one is read again behind the last of them */

struct place { /* the row a page ended with */
    int64_t bucket_id;
    char key[STORE_KEY_MAX];
    size_t key_n;
    int64_t rank;
};

struct ref {
    int64_t blob;
    int64_t bucket_id;
    int64_t seq;
    size_t key_n;
    char key[STORE_KEY_MAX];
};

struct trace {
    struct store *s;
    int64_t blobs[TRACE_BLOBS_MAX];
    int count;
    bool versions; /* the walk through object_version */
    struct place at;
    struct ref refs[TRACE_REFS];
    size_t ref_count;
};

/* The damaged blob among the extents, 0: none. One is enough for a reference. */
static int64_t
damaged_blob(const struct trace *t, struct slice extents)
{
    struct store_extent e;
    while (extent_next(&extents, &e) == 1) {
        for (int i = 0; i < t->count; i++) {
            if (t->blobs[i] == e.blob)
                return e.blob;
        }
    }
    return 0;
}

/* Columns: bucket_id, key, rank (of a current version: minus its seq), extents. */
static void
row_see(struct trace *t, struct db_stmt *q)
{
    struct slice key = db_column_blob(q, 1);
    t->at.bucket_id = db_column_int(q, 0);
    t->at.key_n = key.n < sizeof t->at.key ? key.n : sizeof t->at.key;
    memcpy(t->at.key, key.p, t->at.key_n);
    t->at.rank = db_column_int(q, 2);
    int64_t blob = damaged_blob(t, db_column_blob(q, 3));
    if (blob == 0)
        return;
    struct ref *r = &t->refs[t->ref_count++];
    *r = (struct ref){
        .blob = blob, .bucket_id = t->at.bucket_id, .seq = -t->at.rank, .key_n = t->at.key_n};
    memcpy(r->key, t->at.key, r->key_n);
}

static struct db_stmt *
page_begin(const struct trace *t, struct db_conn *conn)
{
    struct db_stmt *q =
        t->versions ? db_prepare(conn, "SELECT bucket_id, key, rank, extents FROM object_version "
                                       "WHERE (bucket_id, key, rank) > (?1, ?2, ?4) "
                                       "ORDER BY bucket_id, key, rank LIMIT ?3")
                    : db_prepare(conn, "SELECT bucket_id, key, -seq, extents FROM object "
                                       "WHERE (bucket_id, key) > (?1, ?2) "
                                       "ORDER BY bucket_id, key LIMIT ?3");
    db_bind_int(q, 1, t->at.bucket_id);
    db_bind_blob(q, 2, slice_of(t->at.key, t->at.key_n));
    db_bind_int(q, 3, TRACE_ROWS);
    if (t->versions)
        db_bind_int(q, 4, t->at.rank);
    return q;
}

static int
page_read(struct trace *t, struct db_conn *conn, bool *end)
{
    int rc = DB_DONE, rows = 0;
    struct db_stmt *q = page_begin(t, conn);
    t->ref_count = 0;
    while (t->ref_count < TRACE_REFS && (rc = db_step(q)) == DB_ROW) {
        row_see(t, q);
        rows++;
    }
    bool full = t->ref_count == TRACE_REFS;
    if (full)
        db_reset(q);
    *end = !full && rows < TRACE_ROWS;
    return full || rc == DB_DONE ? ERR_NONE : rc;
}

/* ---- writing ---- */

struct ref_op {
    struct db_op op;
    struct store *s;
    const struct ref *ref;
    bool current;
    bool noted;
};

static int
ref_apply(struct db_op *op, struct db_conn *conn)
{
    struct ref_op *r = CONTAINER_OF(op, struct ref_op, op);
    const struct ref *ref = r->ref;
    const struct store_object *o = NULL;
    struct slice key = slice_of(ref->key, ref->key_n);
    bool has = false;
    r->noted = false;
    int err = quarantine_has(conn, ref->blob, &has);
    if (err != ERR_NONE || !has)
        return err;
    if (r->current) {
        err = store_apply_get(r->s, conn, ref->bucket_id, key, &o);
        if (err != ERR_NONE || o->seq != ref->seq) {
            store_object_unref(&o);
            return err == ERR_NOTFOUND || err == ERR_NOPARENT ? ERR_NONE : err;
        }
    }
    err = quarantine_apply_ref(conn, ref->blob, ref->bucket_id, key, ref->seq);
    r->noted = err == ERR_NONE;
    if (err == ERR_NONE && o != NULL && r->s->hooks.damaged != NULL)
        err = r->s->hooks.damaged(r->s->hooks.arg, conn, o);
    store_object_unref(&o);
    return err;
}

static int
ref_write(struct trace *t, const struct ref *ref)
{
    char quoted[LOG_QUOTE_MAX];
    struct ref_op r = {
        .op = {.apply = ref_apply, .urgent = true}, .s = t->s, .ref = ref, .current = !t->versions};
    int err = db_call(t->s->db, &r.op);
    if (err == ERR_NONE && r.noted)
        log_line(LOG_ERROR, "object_damaged",
                 "blob=%" PRId64 " bucket_id=%" PRId64 " key=%s seq=%" PRId64 " current=%s",
                 ref->blob, ref->bucket_id, log_quote(slice_of(ref->key, ref->key_n), quoted),
                 ref->seq, t->versions ? "no" : "yes");
    return err;
}

/* ---- the walks ---- */

static int
walk(struct trace *t, bool versions)
{
    int err = ERR_NONE;
    t->versions = versions;
    t->at = (struct place){.bucket_id = 0, .rank = INT64_MIN};
    for (bool end = false; err == ERR_NONE && !end;) {
        struct db_conn *conn = NULL;
        err = db_read_begin(t->s->db, &conn);
        if (err != ERR_NONE)
            return err;
        err = page_read(t, conn, &end);
        db_read_end(t->s->db, &conn);
        for (size_t i = 0; i < t->ref_count && err == ERR_NONE; i++)
            err = ref_write(t, &t->refs[i]);
    }
    return err;
}

struct traced_op {
    struct db_op op;
    const struct trace *t;
};

static int
traced_apply(struct db_op *op, struct db_conn *conn)
{
    const struct trace *t = CONTAINER_OF(op, struct traced_op, op)->t;
    int err = ERR_NONE;
    for (int i = 0; i < t->count && err == ERR_NONE; i++)
        err = quarantine_apply_traced(conn, t->blobs[i]);
    return err;
}

static int
waiting(struct trace *t)
{
    struct db_conn *conn = NULL;
    int err = db_read_begin(t->s->db, &conn);
    if (err != ERR_NONE)
        return err;
    err = quarantine_untraced(conn, t->blobs, TRACE_BLOBS_MAX, &t->count);
    db_read_end(t->s->db, &conn);
    return err;
}

int
scrub_trace(struct store *s)
{
    int err = ERR_NONE;
    if (!atomic_load(&s->suspicions.quarantined))
        return ERR_NONE;
    struct trace *t = calloc(1, sizeof *t);
    if (t == NULL)
        return ERR_NOMEM;
    t->s = s;
    for (;;) {
        err = waiting(t);
        if (err != ERR_NONE || t->count == 0)
            break;
        err = walk(t, false);
        if (err == ERR_NONE)
            err = walk(t, true);
        struct traced_op done = {.op = {.apply = traced_apply, .urgent = true}, .t = t};
        if (err == ERR_NONE)
            err = db_call(s->db, &done.op);
        if (err != ERR_NONE)
            break;
    }
    free(t);
    return err;
}
