/*
 * PUT of one object, and what every road that makes an object has in common: the description an
 * upload's headers give (struct store_put_spec).
 *
 * Kept with the object: the metadata headers of `kept`, and x-amz-meta-*, the latter as UTF-8 text
 * (encoded_word.h) under names in lower case. Headers that ask for what we do not do (`refused`)
 * are an error, never silently dropped.
 */
#include "objectstore/s3_priv.h"
#include "base/chk.h"
#include "base/err.h"
#include "base/stat.h"
#include "objectstore/encoded_word.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

#define META_PREFIX SLICE_LIT("x-amz-meta-")
#define NAME_MAX_KEPT 256
#define USER_META_MAX_TEXT "2048"
_Static_assert(STORE_USER_META_MAX == 2048, "the refusal names the limit");

/* ---- headers ---- */

static const char *const kept[] = {
    "Cache-Control",    "Content-Disposition",
    "Content-Encoding", "Content-Language",
    "Expires",          "x-amz-website-redirect-location",
};

static const struct {
    const char *name; /* ends in '-': a prefix */
    enum s3_fault fault;
} refused[] = {
    {"x-amz-server-side-encryption", S3_NOT_IMPLEMENTED},
    {"x-amz-server-side-encryption-", S3_NOT_IMPLEMENTED},
    {"x-amz-write-offset-bytes", S3_NOT_IMPLEMENTED},
};

static bool
name_is(struct slice name, const char *pattern)
{
    size_t n = strlen(pattern);
    if (pattern[n - 1] == '-')
        return name.n > n && strncasecmp(name.p, pattern, n) == 0;
    return slice_ieqs(name, pattern);
}

/* The first header that asks for something we cannot keep; S3_FAULT_COUNT: none. */
static enum s3_fault
refused_header(struct s3_request *q)
{
    const struct http_request *r = q->r;
    for (size_t i = 0; i < r->field_count; i++) {
        const struct http_field *f = &r->fields[i];
        if (f->name.n < 6 || strncasecmp(f->name.p, "x-amz-", 6) != 0 || f->value.n == 0)
            continue;
        for (size_t k = 0; k < ARRAY_LEN(refused); k++) {
            if (!name_is(f->name, refused[k].name))
                continue;
            s3_extra(q, "Header", f->name);
            return refused[k].fault;
        }
        if (slice_ieqs(f->name, "x-amz-website-redirect-location") && f->value.p[0] != '/' &&
            !slice_starts(f->value, SLICE_LIT("http://")) &&
            !slice_starts(f->value, SLICE_LIT("https://")))
            return S3_INVALID_REDIRECT;
    }
    return S3_FAULT_COUNT;
}

static bool
names_chunked(struct slice list)
{
    while (list.p != NULL) {
        if (slice_ieqs(slice_trim(slice_cut(list, ',', &list)), "aws-chunked"))
            return true;
    }
    return false;
}

/* The list without "aws-chunked", which is about the transfer. */
static struct slice
content_encoding(struct arena *a, struct slice list)
{
    char *out = names_chunked(list) ? arena_alloc(a, 2 * list.n + 2) : NULL;
    size_t n = 0;
    if (out == NULL)
        return list;
    while (list.p != NULL) {
        struct slice one = slice_trim(slice_cut(list, ',', &list));
        if (one.n == 0 || slice_ieqs(one, "aws-chunked"))
            continue;
        if (n > 0) {
            out[n++] = ',';
            out[n++] = ' ';
        }
        memcpy(out + n, one.p, one.n);
        n += one.n;
    }
    return slice_of(out, n);
}

static void
keep_header(struct s3_request *q, const char *name, struct slice value)
{
    if (slice_ieqs(slice_str(name), "Content-Encoding"))
        value = content_encoding(q->r->arena, value);
    if (value.n > 0)
        store_meta_add(&q->w->meta, slice_str(name), value);
}

static bool
same_name(const struct http_field *a, const struct http_field *b)
{
    return a->name.n == b->name.n && strncasecmp(a->name.p, b->name.p, a->name.n) == 0;
}

/* A field's value with those of later fields of its name, RFC 9110 section 5.3; p = NULL: an
 * earlier one has it already, or no memory. */
static struct slice
joined_value(const struct http_request *r, size_t index)
{
    const struct http_field *f = &r->fields[index];
    struct slice value = f->value;
    for (size_t i = 0; i < r->field_count; i++) {
        const struct http_field *other = &r->fields[i];
        if (i == index || !same_name(other, f))
            continue;
        if (i < index)
            return SLICE_NONE;
        value = slice_str(
            arena_printf(r->arena, "%.*s,%.*s", SLICE_FMT(value), SLICE_FMT(other->value)));
    }
    return value;
}

/* One x-amz-meta-*, its value as text. A form's text is UTF-8 by itself. */
static void
keep_user(struct s3_request *q, struct slice name, struct slice value, size_t *bytes)
{
    char lower[NAME_MAX_KEPT];
    struct buf text;
    if (name.n > sizeof lower) {
        *bytes += STORE_USER_META_MAX + 1;
        return;
    }
    for (size_t i = 0; i < name.n; i++)
        lower[i] = (char)tolower((unsigned char)name.p[i]);
    buf_init(&text, 2 * value.n);
    if (q->post != NULL && slice_is_utf8(value))
        buf_put_slice(&text, value);
    else
        encoded_word_decode(value, &text);
    if (text.err != ERR_NONE)
        q->w->meta.err = ERR_NOMEM;
    *bytes += name.n - META_PREFIX.n + text.n;
    store_meta_add(&q->w->meta, slice_of(lower, name.n), buf_slice(&text));
    buf_fini(&text);
}

/* Fills q->w->meta; false: answered, they are more than may be kept. */
static bool
keep_headers(struct s3_request *q)
{
    const struct http_request *r = q->r;
    size_t user_bytes = 0;
    for (size_t i = 0; i < r->field_count; i++) {
        struct slice value, name = r->fields[i].name;
        bool user =
            name.n > META_PREFIX.n && strncasecmp(name.p, META_PREFIX.p, META_PREFIX.n) == 0;
        size_t k = 0;
        while (!user && k < ARRAY_LEN(kept) && !slice_ieqs(name, kept[k]))
            k++;
        if (k == ARRAY_LEN(kept) || (value = joined_value(r, i)).p == NULL)
            continue;
        if (user)
            keep_user(q, name, value, &user_bytes);
        else
            keep_header(q, kept[k], value);
    }
    if (q->w->meta.err == ERR_NOMEM) {
        s3_fail_err(q, ERR_NOMEM);
    } else if (user_bytes > STORE_USER_META_MAX || q->w->meta.err != ERR_NONE) {
        s3_extra(q, "Size", slice_str(arena_printf(r->arena, "%zu", user_bytes)));
        s3_extra(q, "MaxSizeAllowed", SLICE_LIT(USER_META_MAX_TEXT));
        s3_fail(q, S3_METADATA_TOO_LARGE);
    }
    return !http_replied(r);
}

bool
s3_spec_fill(struct s3_request *q, enum store_change_kind kind, bool describe)
{
    struct http_request *r = q->r;
    struct acl_headers acl;
    struct slice class = http_field(r, "x-amz-storage-class");
    enum store_class storage_class = STORE_CLASS_STANDARD;
    enum s3_fault fault = refused_header(q);
    if (fault == S3_FAULT_COUNT && class.p != NULL &&
        store_class_parse(class, &storage_class) != ERR_NONE) {
        s3_extra(q, "StorageClassRequested", class);
        fault = S3_INVALID_STORAGE_CLASS;
    }
    if (fault == S3_FAULT_COUNT && http_field(r, "Content-Type").n > STORE_CONTENT_TYPE_MAX)
        fault = S3_METADATA_TOO_LARGE;
    if (fault != S3_FAULT_COUNT) {
        s3_fail(q, fault);
        return false;
    }
    if (describe && !keep_headers(q))
        return false;
    q->w->spec = (struct store_put_spec){
        .kind = kind,
        .bucket = q->bucket->name,
        .key = q->key,
        .account_id = s3_account_id(q),
        .access_key_id = s3_access_key_id(q),
        .request_id = slice_str(r->id),
        .source_ip = s3_source_ip(q),
        .storage_class = storage_class,
    };
    if (describe) {
        q->w->spec.content_type = http_field(r, "Content-Type");
        q->w->spec.meta = buf_slice(&q->w->meta);
    }
    s3_acl_headers(q, &acl);
    /* A copy has a directive of its own for tags. */
    bool tags = describe && kind != STORE_CREATED_COPY;
    return s3_acl_fill(q, &acl) && s3_condition_read(q, &q->w->spec.condition) &&
           s3_lock_of_headers(q, &q->w->spec.lock) && (!tags || s3_tags_fill(q));
}

void
s3_spec_seal(struct s3_request *q)
{
    const char *base64 = "";
    struct store_put_spec *spec = &q->w->spec;
    hex_encode(payload_md5(q->payload), MD5_BYTES, q->w->etag);
    spec->etag = q->w->etag;
    spec->checksum = payload_checksum(q->payload, &base64);
    spec->checksum_base64 = slice_str(base64);
}

bool
s3_param_int(struct s3_request *q, const char *name, int min, int max, bool clip, int fallback,
             int *out)
{
    struct slice text = http_param(q->r, name);
    uint64_t value = 0;
    *out = fallback;
    if (text.n == 0)
        return true;
    int err = slice_to_u64(text, &value);
    if (err == ERR_NONE && value > (uint64_t)max && value <= INT32_MAX && clip)
        value = (uint64_t)max;
    if (err != ERR_NONE || value < (uint64_t)min || value > (uint64_t)max) {
        char why[128];
        snprintf(why, sizeof why, "Argument %s must be an integer between %d and %d", name, min,
                 clip ? INT32_MAX : max);
        s3_extra(q, "ArgumentName", slice_str(name));
        s3_extra(q, "ArgumentValue", text);
        s3_fail_why(q, S3_INVALID_ARGUMENT, why);
        return false;
    }
    *out = (int)value;
    return true;
}

/* ---- PUT ---- */

/* The writer has the last word; a condition that fails already now spares the body. */
static bool
condition_may_hold(struct s3_request *q)
{
    const struct store_condition *c = &q->w->spec.condition;
    const struct store_object *o = NULL;
    if (c->if_match.p == NULL && c->if_none_match.p == NULL)
        return true;
    int err = store_get(q->s->store, q->bucket->name, q->key, &o);
    bool fails = false, gone = err == ERR_NOTFOUND && c->if_match.p != NULL;
    if (err == ERR_NONE)
        fails = (c->if_match.p != NULL && !s3_etag_matches(c->if_match, o->etag, true)) ||
                (c->if_none_match.p != NULL && s3_etag_matches(c->if_none_match, o->etag, false));
    store_object_unref(&o);
    if (fails || gone)
        s3_fail(q, gone ? S3_NO_SUCH_KEY : S3_PRECONDITION_FAILED);
    return !fails && !gone;
}

void
s3_prepare_put_object(struct s3_request *q)
{
    if (http_has_param(q->r, "partNumber")) {
        s3_fail_why(q, S3_INVALID_ARGUMENT, "partNumber needs an uploadId");
        return;
    }
    if (s3_version_absent(q) && s3_write_begin(q) && s3_spec_fill(q, STORE_CREATED_PUT, true))
        (void)condition_may_hold(q);
}

int
s3_apply_put(struct s3_request *q, struct db_conn *conn)
{
    struct s3_write *w = q->w;
    return store_apply_put(q->s->store, conn, &w->spec, w->put, &w->result);
}

bool
s3_put_made(struct s3_request *q, int err)
{
    struct s3_write *w = q->w;
    if (err != ERR_NONE) {
        s3_fail_err(q, err);
        return false;
    }
    w->generation = w->result.generation;
    STAT_INC(objects_put_total);
    STAT_ADD(object_bytes_in_total, w->bytes);
    s3_etag_header(q, w->result.etag);
    s3_version_made(q, w->result.version_id);
    s3_checksum_headers(q, w->spec.checksum, w->spec.checksum_base64.p, false);
    s3_expiration_header(q, w->bytes, w->spec.tags, w->result.mtime_ms);
    return true;
}

static void
answer_put(struct s3_request *q, int err)
{
    if (s3_put_made(q, err))
        s3_reply_empty(q, 200, 0);
}

void
s3_run_put_object(struct s3_request *q)
{
    s3_spec_seal(q);
    s3_seal_and_commit(q, s3_apply_put, answer_put);
}
