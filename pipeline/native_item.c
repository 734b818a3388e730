#include "pipeline/native_item.h"
#include "base/clock.h"
#include "base/err.h"

#include <stdlib.h>

#define OWNED_NAMES_MAX (16u << 10)
/* Of one fact. FN_ATTRS_MAX of them, with their names, are far from a whole item. */
#define FACT_BYTES_MAX 1024

int
native_item_place(struct db_conn *conn, struct arena *a, const struct function_set *set,
                  struct slice bucket, struct slice key, struct item_place *out)
{
    struct slice name = registry_table(set);
    if (name.n == 0)
        return ERR_NOPARENT;
    int err = table_find(conn, a, name, &out->table);
    if (err != ERR_NONE)
        return err;
    if (!slice_eqs(out->table.partition.name, "bucket") || out->table.partition.type != ATTR_S ||
        !slice_eqs(out->table.sort.name, "key") || out->table.sort.type != ATTR_S)
        return ERR_NOPARENT;
    out->key = attr_map_new();
    struct attr_value b = attr_s(bucket), k = attr_s(key);
    err = attr_set(a, &out->key, SLICE_LIT("bucket"), &b);
    return err == ERR_NONE ? attr_set(a, &out->key, SLICE_LIT("key"), &k) : err;
}

static int
set_value(struct arena *a, struct attr_value *map, const char *name, struct attr_value v)
{
    return attr_set(a, map, slice_str(name), &v);
}

static int
set_pending(struct arena *a, struct attr_value *set, const struct function *thumbnail,
            bool metadata)
{
    struct attr_value state = attr_map_new();
    int err = ERR_NONE;
    if (metadata)
        err = set_value(a, set, "metadata_state", attr_s(SLICE_LIT("pending")));
    if (thumbnail == NULL || err != ERR_NONE)
        return err;
    for (size_t i = 0; i < thumbnail->native.presets.count && err == ERR_NONE; i++)
        err = set_value(a, &state, thumbnail->native.presets.presets[i].name,
                        attr_s(SLICE_LIT("pending")));
    if (err == ERR_NONE)
        err = set_value(a, set, "state", state);
    return err == ERR_NONE ? set_value(a, set, "ready", attr_bool(false)) : err;
}

int
native_item_pending(struct db_conn *conn, struct arena *a, const struct function_set *fns,
                    struct slice bucket, const struct store_object *o,
                    const struct function *thumbnail, bool metadata)
{
    static const struct slice no_moment = SLICE_LIT("ready_at");
    struct item_place place;
    struct attr_value set = attr_map_new();
    char when[CLOCK_TEXT_MAX];
    int err = native_item_place(conn, a, fns, bucket, o->key, &place);
    if (err != ERR_NONE)
        return err == ERR_NOPARENT ? ERR_NONE : err;
    clock_iso8601(o->mtime_ms, when);
    struct slice type = slice_is_utf8(o->content_type) ? o->content_type : SLICE_NONE;
    if ((err = set_value(a, &set, "size", attr_int(a, o->size))) == ERR_NONE &&
        (err = set_value(a, &set, "content_type", attr_s(type))) == ERR_NONE &&
        (err = set_value(a, &set, "etag", attr_s(slice_str(o->etag)))) == ERR_NONE &&
        (err = set_value(a, &set, "version", attr_s(slice_str(o->version_id)))) == ERR_NONE &&
        (err = set_value(a, &set, "generation", attr_int(a, o->generation))) == ERR_NONE &&
        (err = set_value(a, &set, "uploaded_at", attr_s(slice_str(when)))) == ERR_NONE)
        err = set_pending(a, &set, thumbnail, metadata);
    if (err == ERR_NONE)
        err = table_apply_update(conn, a, &place.table, &place.key, &set, &no_moment,
                                 thumbnail != NULL ? 1 : 0, false);
    /* A user has filled the item to a limit: the object must not fail for that. */
    return err == ERR_TOOBIG || err == ERR_INVALID ? ERR_NONE : err;
}

int
native_item_delete(struct db_conn *conn, struct arena *a, const struct function_set *fns,
                   int64_t bucket_id, struct slice bucket, struct slice key)
{
    struct item_place place;
    struct db_stmt *s =
        db_prepare(conn, "DELETE FROM owned_attr WHERE bucket_id = ?1 AND key = ?2");
    db_bind_int(s, 1, bucket_id);
    db_bind_blob(s, 2, key);
    int err = db_run(s);
    if (err == ERR_NONE)
        err = native_item_place(conn, a, fns, bucket, key, &place);
    if (err == ERR_NONE)
        err = table_apply_delete_item(conn, a, &place.table, &place.key, NULL);
    return err == ERR_NOPARENT || err == ERR_NOTFOUND ? ERR_NONE : err;
}

/* ---- facts ---- */

/* What only the house sets; a function's answer cannot. */
static bool
reserved(struct slice name)
{
    static const char *const names[] = {
        "bucket",  "key",        "size",           "content_type", "etag",
        "version", "generation", "state",          "uploaded_at",  "thumbnails",
        "ready",   "ready_at",   "metadata_state",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (slice_eqs(name, names[i]))
            return true;
    }
    return false;
}

/* The beginning of a long text, whole characters of it. */
static struct slice
fact_text(struct slice text)
{
    if (text.n <= FACT_BYTES_MAX)
        return text;
    text.n = FACT_BYTES_MAX;
    while (text.n > 0 && !slice_is_utf8(text))
        text.n--;
    return text;
}

/* False for a value that does not fit its type: a worker's word is not taken for it. */
static bool
fact_value(struct arena *a, const struct fn_attr *attr, struct attr_value *out)
{
    switch (attr->type) {
    case 'S':
        *out = attr_s(fact_text(attr->value));
        return slice_is_utf8(attr->value);
    case 'N':
        *out = (struct attr_value){.type = ATTR_N};
        return number_canonical(a, attr->value, &out->bytes) == ERR_NONE;
    case 'B':
        *out = attr_b(attr->value);
        return attr->value.n <= FACT_BYTES_MAX;
    case 'T':
    case 'F':
        *out = attr_bool(attr->type == 'T');
        return true;
    default:
        return false;
    }
}

/* "exif.camera" goes into the map "exif"; the whole map is the function's. */
static int
fact_add(struct arena *a, struct attr_value *set, const struct fn_attr *attr)
{
    struct slice member;
    struct attr_value value;
    struct slice top = slice_cut(attr->name, '.', &member);
    if (top.n == 0 || !slice_is_utf8(attr->name) || reserved(top) || !fact_value(a, attr, &value))
        return ERR_NONE;
    if (member.p == NULL)
        return attr_set(a, set, top, &value);
    struct attr_value *map = attr_get(set, top);
    if (map == NULL) {
        struct attr_value empty = attr_map_new();
        int err = attr_set(a, set, top, &empty);
        if (err != ERR_NONE)
            return err;
        map = attr_get(set, top);
    }
    if (map->type != ATTR_M || member.n == 0)
        return ERR_NONE;
    return attr_set(a, map, member, &value);
}

/* What a verdict states about one item. */
struct statement {
    const struct function_set *set;
    int64_t bucket_id;
    struct slice bucket, key, function;
    int64_t generation;
    const struct fn_attr *attrs;
    size_t attr_count;
    struct slice state;
    struct slice owned; /* names of what was stated before */
};

/* Names joined by newlines, as in owned_attr. */
static int
owned_load(struct db_conn *conn, struct arena *a, int64_t bucket_id, struct slice key,
           struct slice function, struct slice *names)
{
    *names = SLICE_NONE;
    struct db_stmt *s = db_prepare(conn, "SELECT names FROM owned_attr WHERE bucket_id = ?1 AND "
                                         "key = ?2 AND function = ?3");
    db_bind_int(s, 1, bucket_id);
    db_bind_blob(s, 2, key);
    db_bind_text(s, 3, function);
    int rc = db_step(s);
    if (rc != DB_ROW)
        return rc;
    *names = arena_dup(a, db_column_blob(s, 0));
    db_reset(s);
    return names->p == NULL ? ERR_NOMEM : ERR_NONE;
}

static int
owned_store(struct db_conn *conn, const struct statement *st, const struct attr_value *set)
{
    struct buf names;
    buf_init(&names, OWNED_NAMES_MAX);
    for (size_t i = 0; i < set->count; i++) {
        if (slice_eqs(set->names[i], "metadata_state") ||
            memchr(set->names[i].p, '\n', set->names[i].n) != NULL)
            continue;
        buf_put_slice(&names, set->names[i]);
        buf_putc(&names, '\n');
    }
    int err = names.err;
    if (err == ERR_NONE) {
        struct db_stmt *s = db_prepare(
            conn, "INSERT INTO owned_attr (bucket_id, key, function, names, generation, revision) "
                  "VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (bucket_id, key, function) "
                  "DO UPDATE SET names = ?4, generation = ?5, revision = ?6");
        db_bind_int(s, 1, st->bucket_id);
        db_bind_blob(s, 2, st->key);
        db_bind_text(s, 3, st->function);
        db_bind_text(s, 4, buf_slice(&names));
        db_bind_int(s, 5, st->generation);
        db_bind_int(s, 6, NATIVE_FACTS_REVISION);
        err = db_run(s);
    }
    buf_fini(&names);
    return err;
}

static int
state_facts(struct db_conn *conn, struct arena *a, const struct statement *st)
{
    struct item_place place;
    struct slice rest;
    struct slice remove[FN_ATTRS_MAX];
    size_t remove_count = 0;
    struct attr_value set = attr_map_new();
    int err = native_item_place(conn, a, st->set, st->bucket, st->key, &place);
    for (size_t i = 0; i < st->attr_count && err == ERR_NONE; i++)
        err = fact_add(a, &set, &st->attrs[i]);
    for (rest = st->owned; err == ERR_NONE && rest.n > 0 && remove_count < FN_ATTRS_MAX;) {
        struct slice name = slice_cut(rest, '\n', &rest);
        if (name.n > 0 && attr_get(&set, name) == NULL)
            remove[remove_count++] = name;
    }
    if (err == ERR_NONE)
        err = owned_store(conn, st, &set);
    if (err == ERR_NONE)
        err = set_value(a, &set, "metadata_state", attr_s(st->state));
    if (err == ERR_NONE)
        err =
            table_apply_update(conn, a, &place.table, &place.key, &set, remove, remove_count, true);
    return err;
}

int
native_item_facts(struct db_conn *conn, struct arena *a, const struct function_set *fns,
                  int64_t bucket_id, struct slice bucket, struct slice key, int64_t generation,
                  struct slice function, const struct fn_attr *attrs, size_t attr_count,
                  struct slice state)
{
    struct statement st = {.set = fns,
                           .bucket_id = bucket_id,
                           .bucket = bucket,
                           .key = key,
                           .function = function,
                           .generation = generation,
                           .attrs = attrs,
                           .attr_count = attr_count,
                           .state = state};
    int err = owned_load(conn, a, bucket_id, key, function, &st.owned);
    if (err == ERR_NONE)
        err = state_facts(conn, a, &st);
    /* A user has left little room: as many facts as fit, the general ones come first. */
    while (err == ERR_TOOBIG && st.attr_count > 0) {
        struct arena *scratch = arena_new(ITEM_ARENA_BYTES);
        st.attr_count /= 2;
        st.state = SLICE_LIT("failed: item too large");
        err = scratch == NULL ? ERR_NOMEM : state_facts(conn, scratch, &st);
        arena_free(&scratch);
    }
    return err == ERR_NOTFOUND || err == ERR_NOPARENT || err == ERR_TOOBIG ? ERR_NONE : err;
}

int
native_facts_range(struct db_conn *conn, int64_t bucket_id, struct slice first, struct slice last,
                   native_facts_fn fn, void *arg)
{
    int rc;
    struct db_stmt *s =
        db_prepare(conn, "SELECT key, function, generation, revision FROM owned_attr "
                         "WHERE bucket_id = ?1 AND key >= ?2 AND key <= ?3 ORDER BY key");
    db_bind_int(s, 1, bucket_id);
    db_bind_blob(s, 2, first);
    db_bind_blob(s, 3, last);
    while ((rc = db_step(s)) == DB_ROW) {
        struct native_facts f = {.key = db_column_blob(s, 0),
                                 .function = db_column_blob(s, 1),
                                 .generation = db_column_int(s, 2),
                                 .revision = db_column_int(s, 3)};
        if (fn(arg, &f) != 0) {
            db_reset(s);
            return ERR_NONE;
        }
    }
    return rc;
}
