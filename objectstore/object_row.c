/*
 * A record is one allocation: the struct, its extents, then every text it points to. It never
 * changes after object_dup(), so threads share it and only count.
 */
#include "objectstore/object_row.h"
#include "base/chk.h"
#include "base/err.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define RECORD_TEXTS 7 /* each ends with a zero byte */

/* ---- extents ---- */

void
number_put(struct buf *out, int64_t value)
{
    uint64_t v = (uint64_t)value;
    while (v >= 0x80) {
        buf_putc(out, (char)(v | 0x80));
        v >>= 7;
    }
    buf_putc(out, (char)v);
}

int
number_get(struct slice *in, int64_t *value)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 63; shift += 7) {
        if (in->n == 0)
            return ERR_CORRUPT;
        uint8_t c = (uint8_t)in->p[0];
        *in = slice_skip(*in, 1);
        v |= (uint64_t)(c & 0x7f) << shift;
        if (c < 0x80) {
            *value = (int64_t)v;
            return ERR_NONE;
        }
    }
    return ERR_CORRUPT;
}

void
extent_put(struct buf *out, const struct store_extent *e)
{
    number_put(out, e->blob);
    number_put(out, e->offset);
    number_put(out, e->bytes);
}

int
extent_next(struct slice *encoded, struct store_extent *e)
{
    if (encoded->n == 0)
        return 0;
    if (number_get(encoded, &e->blob) != ERR_NONE || number_get(encoded, &e->offset) != ERR_NONE ||
        number_get(encoded, &e->bytes) != ERR_NONE)
        return ERR_CORRUPT;
    return 1;
}

int
extent_count(struct slice encoded)
{
    struct store_extent e;
    int count = 0, rc;
    while ((rc = extent_next(&encoded, &e)) == 1) {
        if (++count > STORE_EXTENTS_MAX)
            return ERR_CORRUPT;
    }
    return rc < 0 ? rc : count;
}

int
extent_cut(struct buf *out, struct slice encoded, int64_t offset, int64_t bytes)
{
    struct store_extent e;
    int rc = 0;
    while (bytes > 0 && (rc = extent_next(&encoded, &e)) == 1) {
        if (offset >= e.bytes) {
            offset -= e.bytes;
            continue;
        }
        int64_t n = e.bytes - offset < bytes ? e.bytes - offset : bytes;
        extent_put(out, &(struct store_extent){e.blob, e.offset + offset, n});
        offset = 0;
        bytes -= n;
    }
    if (rc < 0)
        return rc;
    return bytes == 0 ? out->err : ERR_RANGE;
}

/* ---- records ---- */

static struct slice
text_add(char **at, struct slice s)
{
    struct slice copy = slice_of(*at, s.n);
    if (s.n > 0)
        memcpy(*at, s.p, s.n);
    (*at)[s.n] = '\0';
    *at += s.n + 1;
    return copy;
}

struct store_object *
object_dup(const struct store_object *o, struct slice extents)
{
    int count = extent_count(extents);
    if (count < 0)
        return NULL;
    size_t size = sizeof *o + (size_t)count * sizeof(struct store_extent) + o->key.n +
                  o->content_type.n + o->owner.n + o->meta.n + o->tags.n + o->acl.n +
                  o->inline_bytes.n + RECORD_TEXTS;
    struct store_object *copy = malloc(size);
    if (copy == NULL)
        return NULL;
    *copy = *o;
    copy->refs = 1;
    copy->extents = (struct store_extent *)(void *)(copy + 1);
    copy->extent_count = (size_t)count;
    for (int i = 0; i < count; i++)
        CHK(extent_next(&extents, &copy->extents[i]) == 1);
    char *at = (char *)(copy->extents + count);
    copy->key = text_add(&at, o->key);
    copy->content_type = text_add(&at, o->content_type);
    copy->owner = text_add(&at, o->owner);
    copy->meta = text_add(&at, o->meta);
    copy->tags = text_add(&at, o->tags);
    copy->acl = text_add(&at, o->acl);
    if (o->inline_bytes.p != NULL)
        copy->inline_bytes = text_add(&at, o->inline_bytes);
    return copy;
}

size_t
object_bytes(const struct store_object *o)
{
    return sizeof *o + o->extent_count * sizeof(struct store_extent) + o->key.n +
           o->content_type.n + o->owner.n + o->meta.n + o->tags.n + o->acl.n + o->inline_bytes.n +
           RECORD_TEXTS;
}

static void
column_text(struct db_stmt *row, int column, char *out, size_t max)
{
    struct slice s = db_column_blob(row, column);
    snprintf(out, max, "%.*s", SLICE_FMT(s));
}

enum store_class
object_class_of(int64_t flags)
{
    int64_t class = flags >> OBJECT_CLASS_SHIFT;
    return class >= 0 && class < STORE_CLASS_COUNT ? (enum store_class) class
                                                   : STORE_CLASS_STANDARD;
}

struct store_lock
object_lock_of(int64_t flags, int64_t retain_until_ms)
{
    return (struct store_lock){
        .retention = flags & OBJECT_COMPLIANCE   ? STORE_RETENTION_COMPLIANCE
                     : flags & OBJECT_GOVERNANCE ? STORE_RETENTION_GOVERNANCE
                                                 : STORE_RETENTION_NONE,
        .retain_until_ms = retain_until_ms,
        .legal_hold = (flags & OBJECT_LEGAL_HOLD) != 0,
        .hold_stated = (flags & (OBJECT_LEGAL_HOLD | OBJECT_HOLD_OFF)) != 0,
    };
}

int64_t
object_flags(const struct store_object *o)
{
    bool null_version = strcmp(o->version_id, "null") == 0;
    return (o->checksum_composite ? OBJECT_COMPOSITE : 0) |
           (o->by_function ? OBJECT_BY_FUNCTION : 0) | (null_version ? OBJECT_NULL_VERSION : 0) |
           (o->is_marker ? OBJECT_MARKER : 0) | (o->lock.legal_hold ? OBJECT_LEGAL_HOLD : 0) |
           (o->lock.retention == STORE_RETENTION_GOVERNANCE ? OBJECT_GOVERNANCE : 0) |
           (o->lock.retention == STORE_RETENTION_COMPLIANCE ? OBJECT_COMPLIANCE : 0) |
           (o->lock.hold_stated && !o->lock.legal_hold ? OBJECT_HOLD_OFF : 0) |
           (int64_t)o->storage_class << OBJECT_CLASS_SHIFT;
}

void
object_from_row(struct store_object *o, struct slice *extents, struct db_stmt *row)
{
    int64_t checksum = db_column_int(row, 5);
    int64_t flags = db_column_int(row, 8);
    o->generation = db_column_int(row, 0);
    o->seq = db_column_int(row, 1);
    version_id_write(o->seq, (flags & OBJECT_NULL_VERSION) != 0, o->version_id);
    o->size = db_column_int(row, 2);
    o->mtime_ms = db_column_int(row, 3);
    column_text(row, 4, o->etag, sizeof o->etag);
    o->checksum =
        checksum > 0 && checksum < CHECKSUM_COUNT ? (enum checksum)checksum : CHECKSUM_NONE;
    column_text(row, 6, o->checksum_base64, sizeof o->checksum_base64);
    o->part_count = (int)db_column_int(row, 7);
    o->checksum_composite = (flags & OBJECT_COMPOSITE) != 0;
    o->by_function = (flags & OBJECT_BY_FUNCTION) != 0;
    o->is_marker = (flags & OBJECT_MARKER) != 0;
    o->storage_class = object_class_of(flags);
    o->owner = db_column_blob(row, 9);
    o->lock = object_lock_of(flags, db_column_int(row, 10));
    o->content_type = db_column_blob(row, 11);
    o->meta = db_column_blob(row, 12);
    *extents = db_column_blob(row, 13);
    o->tags = db_column_blob(row, 14);
    o->acl = db_column_blob(row, 15);
    o->inline_bytes = SLICE_NONE;
}

int
object_row_write(struct db_conn *conn, const struct store_object *o, struct slice extents)
{
    struct db_stmt *q = db_prepare(
        conn, "INSERT INTO object (bucket_id, key, " OBJECT_COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5,"
              " ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)"
              " ON CONFLICT (bucket_id, key) DO UPDATE SET generation = excluded.generation,"
              " seq = excluded.seq, size = excluded.size, mtime_ms = excluded.mtime_ms,"
              " etag = excluded.etag, checksum = excluded.checksum,"
              " checksum_value = excluded.checksum_value, part_count = excluded.part_count,"
              " flags = excluded.flags, owner = excluded.owner,"
              " retain_until_ms = excluded.retain_until_ms, content_type = excluded.content_type,"
              " meta = excluded.meta, extents = excluded.extents, tags = excluded.tags,"
              " acl = excluded.acl");
    db_bind_int(q, 1, o->bucket_id);
    db_bind_blob(q, 2, o->key);
    db_bind_int(q, 3, o->generation);
    db_bind_int(q, 4, o->seq);
    db_bind_int(q, 5, o->size);
    db_bind_int(q, 6, o->mtime_ms);
    db_bind_text(q, 7, slice_str(o->etag));
    db_bind_int(q, 8, o->checksum);
    db_bind_text(q, 9, slice_str(o->checksum_base64));
    db_bind_int(q, 10, o->part_count);
    db_bind_int(q, 11, object_flags(o));
    db_bind_blob(q, 12, o->owner);
    db_bind_int(q, 13, o->lock.retain_until_ms);
    db_bind_blob(q, 14, o->content_type);
    db_bind_blob(q, 15, o->meta);
    db_bind_blob(q, 16, extents);
    db_bind_blob(q, 17, o->tags);
    db_bind_blob(q, 18, o->acl);
    return db_run(q);
}

const struct store_object *
store_object_ref(const struct store_object *o)
{
    struct store_object *m = (struct store_object *)(uintptr_t)o;
    CHK(__atomic_fetch_add(&m->refs, 1, __ATOMIC_RELAXED) > 0);
    return o;
}

void
store_object_unref(const struct store_object **op)
{
    struct store_object *o = (struct store_object *)(uintptr_t)*op;
    *op = NULL;
    if (o == NULL)
        return;
    int before = __atomic_fetch_sub(&o->refs, 1, __ATOMIC_ACQ_REL);
    CHK(before > 0);
    if (before == 1)
        free(o);
}

/* ---- version ids: the seq in hex; opaque to clients ---- */

void
version_id_write(int64_t seq, bool is_null, char out[STORE_VERSION_ID_MAX])
{
    if (is_null)
        snprintf(out, STORE_VERSION_ID_MAX, "null");
    else
        snprintf(out, STORE_VERSION_ID_MAX, "%016" PRIx64, (uint64_t)seq);
}

int
version_id_parse(struct slice text, int64_t *seq)
{
    uint8_t raw[8];
    char again[STORE_VERSION_ID_MAX];
    uint64_t value = 0;
    *seq = 0;
    if (slice_eqs(text, "null"))
        return ERR_NONE;
    if (hex_decode(text, raw, sizeof raw) != ERR_NONE)
        return ERR_INVALID;
    for (size_t i = 0; i < sizeof raw; i++)
        value = value << 8 | raw[i];
    if (value == 0 || value > INT64_MAX)
        return ERR_INVALID;
    *seq = (int64_t)value;
    version_id_write(*seq, false, again); /* one spelling: lower case */
    return slice_eqs(text, again) ? ERR_NONE : ERR_INVALID;
}

/* ---- storage classes ---- */

static const char *const class_names[] = {
#define X(name) #name,
    STORE_CLASS_LIST(X)
#undef X
};

const char *
store_class_name(enum store_class c)
{
    CHK((size_t)c < STORE_CLASS_COUNT);
    return class_names[c];
}

int
store_class_parse(struct slice name, enum store_class *c)
{
    for (int i = 0; i < STORE_CLASS_COUNT; i++) {
        if (slice_eqs(name, class_names[i])) {
            *c = (enum store_class)i;
            return ERR_NONE;
        }
    }
    return ERR_INVALID;
}

/* ---- conditions ---- */

/* Is `etag` in the list? Weak tags match only where weak comparison is asked for (RFC 9110 13.1).
 */
static bool
etag_listed(struct slice list, const char *etag, bool weak)
{
    while (list.n > 0) {
        struct slice one = slice_trim(slice_cut(list, ',', &list));
        if (slice_eqs(one, "*"))
            return true;
        bool is_weak = slice_starts(one, SLICE_LIT("W/"));
        if (is_weak)
            one = slice_skip(one, 2);
        if (one.n >= 2 && one.p[0] == '"' && one.p[one.n - 1] == '"')
            one = slice_of(one.p + 1, one.n - 2);
        if (slice_eqs(one, etag) && (weak || !is_weak))
            return true;
    }
    return false;
}

int
condition_judge(const struct store_condition *c, const char *etag)
{
    if (c->if_match.n > 0) {
        if (etag == NULL)
            return ERR_NOTFOUND;
        if (!etag_listed(c->if_match, etag, false))
            return ERR_PRECONDITION;
    }
    if (c->if_none_match.n > 0 && etag != NULL && etag_listed(c->if_none_match, etag, true))
        return ERR_PRECONDITION;
    return ERR_NONE;
}

/* ---- header lists: 16-bit lengths, big-endian, then the text; name, value, name, value ... ----
 */

static void
meta_put(struct buf *list, struct slice s)
{
    if (s.n > UINT16_MAX) {
        list->err = ERR_TOOBIG;
        return;
    }
    buf_putc(list, (char)(s.n >> 8));
    buf_putc(list, (char)s.n);
    buf_put_slice(list, s);
}

void
store_meta_add(struct buf *list, struct slice name, struct slice value)
{
    meta_put(list, name);
    meta_put(list, value);
}

static bool
meta_get(struct slice list, size_t *at, struct slice *out)
{
    if (*at > list.n || list.n - *at < 2)
        return false;
    const uint8_t *p = (const uint8_t *)list.p + *at;
    size_t n = (size_t)p[0] << 8 | p[1];
    if (list.n - *at - 2 < n)
        return false;
    *out = slice_of(list.p + *at + 2, n);
    *at += 2 + n;
    return true;
}

bool
store_meta_next(struct slice list, size_t *at, struct slice *name, struct slice *value)
{
    return meta_get(list, at, name) && meta_get(list, at, value);
}

struct slice
store_meta_find(struct slice list, const char *name)
{
    struct slice n, v;
    for (size_t at = 0; store_meta_next(list, &at, &n, &v);) {
        if (slice_ieqs(n, name))
            return v;
    }
    return SLICE_NONE;
}
