/*
 * What the scrubber has done and which objects are damaged, for the status page.
 */
#include "base/err.h"
#include "objectstore/scrub.h"
#include "pipeline/admin_priv.h"

#define SHOWN_MAX 100 /* damaged blobs */
#define SHOWN_ARENA_BYTES (1u << 20)

struct shown {
    struct db_conn *conn;
    struct arena *a;
    json_t *list;
    const struct quarantined *blob;
};

static int
add_ref(void *arg, int64_t bucket_id, struct slice key, int64_t seq)
{
    struct shown *s = arg;
    struct slice bucket = SLICE_NONE;
    (void)seq;
    if (store_bucket_name(s->conn, bucket_id, s->a, &bucket) == ERR_NONE)
        json_array_append_new(s->list,
                              json_pack("{so so ss sI sI}", "bucket", admin_text(bucket), "key",
                                        admin_text(key), "reason", damage_text(s->blob->reason),
                                        "blob", (json_int_t)s->blob->blob, "found_ms",
                                        (json_int_t)s->blob->found_ms));
    return 0;
}

static int
add_blob(void *arg, const struct quarantined *q)
{
    struct shown *s = arg;
    s->blob = q;
    return quarantine_refs(s->conn, q->blob, add_ref, s) == ERR_NONE ? 0 : 1;
}

static json_t *
state_json(const struct scrub_state *st, int64_t quarantined, json_t *damaged)
{
    return json_pack("{sI so sb sI sI sI sI}", "quarantined", (json_int_t)quarantined, "damaged",
                     damaged, "under_way", st->blob != 0 || st->block != 0, "began_ms",
                     (json_int_t)st->began_ms, "ended_ms", (json_int_t)st->ended_ms, "blobs",
                     (json_int_t)st->blobs, "bytes", (json_int_t)st->bytes);
}

json_t *
admin_scrub_json(struct db *db)
{
    struct scrub_state st;
    int64_t quarantined = 0;
    json_t *out = NULL;
    struct shown s = {.list = json_array()};
    s.a = arena_new(SHOWN_ARENA_BYTES);
    if (s.a == NULL || db_read_begin(db, &s.conn) != ERR_NONE)
        goto out;
    int err = scrub_state_read(s.conn, &st);
    if (err == ERR_NONE)
        err = quarantine_count(s.conn, &quarantined);
    if (err == ERR_NONE)
        err = quarantine_list(s.conn, 0, SHOWN_MAX, add_blob, &s);
    db_read_end(db, &s.conn);
    if (err == ERR_NONE)
        out = state_json(&st, quarantined, json_incref(s.list));
out:
    json_decref(s.list);
    arena_free(&s.a);
    return out == NULL ? json_null() : out;
}
