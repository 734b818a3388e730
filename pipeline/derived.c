#include "pipeline/derived.h"
#include "base/err.h"
#include "pipeline/provenance.h"

/* Somebody else may have made a bucket of that name since the rule was set: nothing of this
 * account's pictures goes there. */
static int
keep_owner(struct store *s, struct db_conn *conn, struct arena *a, struct slice source,
           struct derived_place *place)
{
    struct slice source_owner;
    int64_t source_id = 0;
    int err = store_apply_bucket_get(s, conn, source, &source_id, a, &source_owner);
    if (err == ERR_NOTFOUND || (err == ERR_NONE && !slice_eq(source_owner, place->owner))) {
        place->bucket_id = 0;
        place->trouble = err == ERR_NONE ? "the derived bucket belongs to another account"
                                         : "the source's bucket does not exist";
        err = ERR_NONE;
    }
    return err;
}

int
derived_place_find(struct store *s, struct db_conn *conn, struct arena *a, const struct function *f,
                   struct slice source, struct derived_place *out)
{
    *out = (struct derived_place){.trouble = "the derived bucket does not exist"};
    int err = native_derived_bucket(&f->native, source, out->bucket);
    if (err == ERR_NONE)
        err = store_apply_bucket_get(s, conn, slice_str(out->bucket), &out->bucket_id, a,
                                     &out->owner);
    if (err == ERR_TOOBIG || err == ERR_INVALID || err == ERR_NOTFOUND || err == ERR_NOPARENT) {
        out->bucket_id = 0;
        return ERR_NONE;
    }
    return err == ERR_NONE ? keep_owner(s, conn, a, source, out) : err;
}

/* Not the source's ETag: that is the MD5 of a private original. */
static int
put_meta(const struct derived_spec *spec, const char *hash, struct buf *meta)
{
    store_meta_add(meta, SLICE_LIT("x-amz-meta-preset"), slice_str(spec->preset->name));
    store_meta_add(meta, SLICE_LIT("x-amz-meta-preset-hash"), slice_str(hash));
    store_meta_add(meta, SLICE_LIT("x-amz-meta-source-version"),
                   slice_str(spec->source->version_id));
    return meta->err;
}

static int
put_object(struct store *s, struct db_conn *conn, const struct derived_spec *spec, const char *hash,
           struct store_put_result *out)
{
    struct buf meta;
    buf_init(&meta, STORE_USER_META_MAX);
    int err = put_meta(spec, hash, &meta);
    struct store_put_spec put = {
        .kind = STORE_CREATED_PUT,
        .bucket = slice_str(spec->place->bucket),
        .key = spec->key,
        .owner = spec->place->owner,
        .request_id = spec->request_id,
        .content_type = slice_str(preset_content_type(spec->preset->format)),
        .meta = buf_slice(&meta),
        .etag = spec->output->etag,
        .by_function = true,
    };
    if (err == ERR_NONE)
        err = store_apply_put(s, conn, &put, spec->output->put, out);
    buf_fini(&meta);
    return err;
}

int
derived_apply_put(struct store *s, struct db_conn *conn, const struct derived_spec *spec)
{
    struct store_put_result result;
    char hash[PRESET_HASH_TEXT];
    preset_hash(spec->preset, hash);
    int err = put_object(s, conn, spec, hash, &result);
    if (err != ERR_NONE)
        return err;
    struct provenance row = {.source_bucket_id = spec->source->bucket_id,
                             .source_key = spec->source_key,
                             .derived_bucket_id = spec->place->bucket_id,
                             .derived_bucket = slice_str(spec->place->bucket),
                             .derived_key = spec->key,
                             .preset = slice_str(spec->preset->name),
                             .config_hash = slice_str(hash),
                             .source_generation = spec->source->generation,
                             .derived_generation = result.generation,
                             .function = spec->function->name};
    return provenance_apply_put(conn, &row);
}
