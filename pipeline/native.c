#include "pipeline/native.h"
#include "base/chk.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"
#include "objectstore/store.h"

#define NATIVE_PRESETS_TEXT_MAX (8u << 10)
#define NATIVE_WORD_SHOWN 32 /* of a wrong value, in its refusal */

enum native_kind
native_kind_of(struct slice name)
{
    if (slice_eq(name, NATIVE_THUMBNAIL_NAME))
        return NATIVE_THUMBNAIL;
    if (slice_eqs(name, "metadata"))
        return NATIVE_METADATA;
    return NATIVE_NONE;
}

static int
substitute(struct slice pattern, struct slice bucket, struct buf *out)
{
    struct slice mark = SLICE_LIT("{bucket}");
    ptrdiff_t at = slice_find(pattern, mark);
    if (at < 0) {
        buf_put_slice(out, pattern);
    } else {
        buf_put(out, pattern.p, (size_t)at);
        buf_put_slice(out, bucket);
        buf_put_slice(out, slice_skip(pattern, (size_t)at + mark.n));
    }
    return out->err;
}

int
native_derived_bucket(const struct native_config *c, struct slice bucket,
                      char out[NATIVE_BUCKET_MAX + 1])
{
    struct buf name;
    out[0] = '\0';
    if (c->kind != NATIVE_THUMBNAIL)
        return ERR_NONE;
    buf_init(&name, NATIVE_BUCKET_MAX);
    int err = substitute(slice_str(c->derived_pattern), bucket, &name);
    if (err == ERR_NONE && !store_bucket_name_ok(buf_slice(&name)))
        err = ERR_INVALID;
    if (err == ERR_NONE)
        memcpy(out, name.p, name.n + 1);
    buf_fini(&name);
    return err;
}

static int
pattern_set(struct native_config *c, struct slice value, struct buf *why)
{
    char name[NATIVE_BUCKET_MAX + 1];
    if (value.n == 0 || value.n > NATIVE_PATTERN_MAX || memchr(value.p, '\0', value.n) != NULL) {
        buf_printf(why, "DERIVED_BUCKET has 1 to %d characters.", NATIVE_PATTERN_MAX);
        return ERR_INVALID;
    }
    memcpy(c->derived_pattern, value.p, value.n);
    c->derived_pattern[value.n] = '\0';
    /* Any short bucket name shows whether the pattern makes valid names. */
    if (native_derived_bucket(c, SLICE_LIT("abc"), name) != ERR_NONE) {
        buf_printf(why, "DERIVED_BUCKET \"%s\" does not make a bucket name.", c->derived_pattern);
        return ERR_INVALID;
    }
    return ERR_NONE;
}

static int
table_set(struct native_config *c, struct slice value, struct buf *why)
{
    if (!table_name_ok(value)) {
        buf_puts(why, "TABLE is no table name: 3 to 255 of a-z, A-Z, 0-9, '_', '-', '.'.");
        return ERR_INVALID;
    }
    memcpy(c->table, value.p, value.n);
    c->table[value.n] = '\0';
    return ERR_NONE;
}

/* What becomes of files that are damaged but readable. */
static int
damaged_set(struct native_config *c, struct slice value, struct buf *why)
{
    c->presets.fail_damaged = slice_eqs(value, "fail");
    if (c->presets.fail_damaged || slice_eqs(value, "accept"))
        return ERR_NONE;
    buf_printf(why, "DAMAGED is \"%.*s\"; it may be accept or fail.",
               (int)(value.n < NATIVE_WORD_SHOWN ? value.n : NATIVE_WORD_SHOWN), value.p);
    return ERR_INVALID;
}

int
native_config_parse(enum native_kind kind, struct slice environment, struct native_config *out,
                    struct buf *why)
{
    int err = ERR_NONE;
    const char *name;
    json_t *value;
    json_t *root = json_read(environment.n == 0 ? SLICE_LIT("{}") : environment, NULL);
    *out = (struct native_config){.kind = kind};
    if (!json_is_object(root)) {
        buf_puts(why, "The environment is no JSON object.");
        json_decref(root);
        return ERR_INVALID;
    }
    json_object_foreach(root, name, value)
    {
        if (!json_is_string(value)) {
            buf_printf(why, "The environment variable %.64s is no string.", name);
            err = ERR_INVALID;
            break;
        }
    }
    struct slice presets = json_get_str(root, "PRESETS");
    struct slice derived = json_get_str(root, "DERIVED_BUCKET");
    struct slice damaged = json_get_str(root, "DAMAGED");
    struct slice table = json_get_str(root, "TABLE");
    if (err == ERR_NONE && kind == NATIVE_THUMBNAIL) {
        err =
            pattern_set(out, derived.p == NULL ? SLICE_LIT(NATIVE_DERIVED_DEFAULT) : derived, why);
        if (err == ERR_NONE && presets.p == NULL)
            preset_defaults(&out->presets);
        else if (err == ERR_NONE)
            err = preset_parse(presets, &out->presets, why);
        if (err == ERR_NONE && damaged.p != NULL)
            err = damaged_set(out, damaged, why);
    }
    if (err == ERR_NONE && kind == NATIVE_METADATA)
        err = table_set(out, table.p == NULL ? SLICE_LIT(NATIVE_TABLE_DEFAULT) : table, why);
    json_decref(root);
    return err;
}

void
native_environment_default(enum native_kind kind, struct buf *out)
{
    struct preset_list presets;
    struct buf text;
    switch (kind) {
    case NATIVE_THUMBNAIL:
        buf_init(&text, NATIVE_PRESETS_TEXT_MAX);
        preset_defaults(&presets);
        preset_print(&presets, &text);
        buf_puts(out, "{\"DERIVED_BUCKET\":\"" NATIVE_DERIVED_DEFAULT "\",\"PRESETS\":");
        json_quote(out, buf_slice(&text));
        buf_putc(out, '}');
        buf_fini(&text);
        return;
    case NATIVE_METADATA:
        buf_puts(out, "{\"TABLE\":\"" NATIVE_TABLE_DEFAULT "\"}");
        return;
    case NATIVE_NONE:
        buf_puts(out, "{}");
        return;
    }
}

int
native_derived_key(struct slice key, const struct preset *p, struct buf *out)
{
    size_t start = out->n;
    buf_put_slice(out, key);
    buf_putc(out, '/');
    preset_object_name(p, out);
    return out->err != ERR_NONE ? out->err : out->n - start > STORE_KEY_MAX ? ERR_TOOBIG : ERR_NONE;
}

static bool
has_primary(const struct native_config *c)
{
    for (size_t i = 0; i < c->presets.count; i++) {
        if (!preset_is_followup(&c->presets.presets[i]))
            return true;
    }
    return false;
}

bool
native_in_pass(const struct native_config *c, const struct preset *p, bool followup)
{
    return preset_is_followup(p) == (followup || !has_primary(c));
}

bool
native_wants_followup(const struct native_config *c)
{
    if (c->kind != NATIVE_THUMBNAIL || !has_primary(c))
        return false;
    for (size_t i = 0; i < c->presets.count; i++) {
        if (preset_is_followup(&c->presets.presets[i]))
            return true;
    }
    return false;
}

int64_t
native_presets_mark(const struct native_config *c)
{
    uint32_t crc = 0;
    char hash[PRESET_HASH_TEXT];
    for (size_t i = 0; i < c->presets.count; i++) {
        const struct preset *p = &c->presets.presets[i];
        preset_hash(p, hash);
        crc = digest_crc32c(crc, p->name, strlen(p->name) + 1);
        crc = digest_crc32c(crc, hash, sizeof(hash));
    }
    return (int64_t)crc | INT64_C(1) << 32;
}

void
native_call_config(const struct native_config *c, bool followup, struct buf *out)
{
    if (c->kind == NATIVE_THUMBNAIL)
        preset_config_write(&c->presets, followup || !has_primary(c), out);
}

void
native_request_limits(const struct conf *conf, struct fn_request *request)
{
    request->pixels_frame_max = conf_int(conf, CONF_PIXELS_FRAME);
    request->pixels_total_max = conf_int(conf, CONF_PIXELS_TOTAL);
}
