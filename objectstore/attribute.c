/*
 * What may change of a version while its bytes stay: tags, ACL, object lock.
 *
 * The newest version lives in `object` or, as a marker, in `object_version`; the statement that
 * changes a row is chosen by where the record was found.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "objectstore/store_priv.h"

/* A retention that still holds may be prolonged; only governance, by a caller who may bypass it,
 * can be shortened, removed or made compliance.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock-managing.html */
static bool
may_set_retention(const struct store_lock *now, const struct store_attribute_spec *spec)
{
    const struct store_lock *want = &spec->lock;
    if (now->retention == STORE_RETENTION_NONE || now->retain_until_ms <= clock_wall_ms())
        return true;
    if (want->retention == now->retention && want->retain_until_ms >= now->retain_until_ms)
        return true;
    return now->retention == STORE_RETENTION_GOVERNANCE && spec->bypass_governance;
}

static int
text_set(struct db_conn *conn, const struct store_object *o,
         const struct store_attribute_spec *spec)
{
    bool tags = spec->attribute == STORE_ATTR_TAGS;
    struct db_stmt *q;
    if (o->is_latest)
        q = tags ? db_prepare(conn, "UPDATE object SET tags = ?3 WHERE bucket_id = ?1 AND key = ?2")
                 : db_prepare(conn, "UPDATE object SET acl = ?3 WHERE bucket_id = ?1 AND key = ?2");
    else
        q = tags ? db_prepare(conn, "UPDATE object_version SET tags = ?3 WHERE bucket_id = ?1"
                                    " AND key = ?2 AND rank = ?4")
                 : db_prepare(conn, "UPDATE object_version SET acl = ?3 WHERE bucket_id = ?1"
                                    " AND key = ?2 AND rank = ?4");
    db_bind_int(q, 1, o->bucket_id);
    db_bind_blob(q, 2, o->key);
    db_bind_blob(q, 3, spec->value);
    if (!o->is_latest)
        db_bind_int(q, 4, -o->seq);
    return db_run(q);
}

static int
lock_set(struct db_conn *conn, const struct store_object *o,
         const struct store_attribute_spec *spec)
{
    struct store_object changed = *o;
    if (spec->attribute == STORE_ATTR_HOLD) {
        changed.lock.legal_hold = spec->lock.legal_hold;
        changed.lock.hold_stated = true;
    } else {
        if (!may_set_retention(&o->lock, spec))
            return ERR_DENIED;
        changed.lock.retention = spec->lock.retention;
        changed.lock.retain_until_ms = spec->lock.retain_until_ms;
    }
    struct db_stmt *q =
        o->is_latest ? db_prepare(conn, "UPDATE object SET flags = ?3, retain_until_ms = ?4"
                                        " WHERE bucket_id = ?1 AND key = ?2")
                     : db_prepare(conn, "UPDATE object_version SET flags = ?3, retain_until_ms = ?4"
                                        " WHERE bucket_id = ?1 AND key = ?2 AND rank = ?5");
    db_bind_int(q, 1, o->bucket_id);
    db_bind_blob(q, 2, o->key);
    db_bind_int(q, 3, object_flags(&changed));
    db_bind_int(q, 4, changed.lock.retain_until_ms);
    if (!o->is_latest)
        db_bind_int(q, 5, -o->seq);
    return db_run(q);
}

static int
tell(struct store *s, struct db_conn *conn, const struct store_object *o,
     const struct store_attribute_spec *spec)
{
    enum store_change_kind kind = spec->attribute == STORE_ATTR_ACL ? STORE_ACL_SET
                                  : spec->value.n > 0               ? STORE_TAGGED
                                                                    : STORE_UNTAGGED;
    struct store_change change = {.kind = kind,
                                  .bucket_id = o->bucket_id,
                                  .bucket = spec->bucket,
                                  .key = o->key,
                                  .generation = o->generation,
                                  .object = o,
                                  .version_id = o->version_id,
                                  .old_generation = o->generation,
                                  .account_id = spec->account_id,
                                  .request_id = spec->request_id,
                                  .source_ip = spec->source_ip};
    return s->hooks.changed == NULL ? ERR_NONE : s->hooks.changed(s->hooks.arg, conn, &change);
}

static int
attribute_set(struct store *s, struct db_conn *conn, const struct store_object *o,
              const struct store_attribute_spec *spec)
{
    bool text = spec->attribute == STORE_ATTR_TAGS || spec->attribute == STORE_ATTR_ACL;
    if (o->is_marker)
        return ERR_UNSUPPORTED;
    if (o->is_latest)
        store_changed(s, o->bucket_id, o->key);
    if (!text)
        return lock_set(conn, o, spec);
    int err = text_set(conn, o, spec);
    return err == ERR_NONE ? tell(s, conn, o, spec) : err;
}

int
store_apply_attribute(struct store *s, struct db_conn *conn,
                      const struct store_attribute_spec *spec,
                      char version_id[STORE_VERSION_ID_MAX])
{
    CHK_MAGIC(s, STORE_MAGIC);
    struct bucket_row bucket;
    const struct store_object *o = NULL;
    version_id[0] = '\0';
    if (spec->value.n > STORE_TAGS_BYTES_MAX)
        return ERR_TOOBIG;
    int err = bucket_row_find(conn, spec->bucket, &bucket);
    if (err == ERR_NONE)
        err = store_apply_get_version(s, conn, bucket.id, spec->key, spec->version_id, &o);
    if (err != ERR_NONE)
        return err;
    if (bucket.versioning != STORE_VERSIONING_OFF)
        memcpy(version_id, o->version_id, sizeof o->version_id);
    err = spec->only_seq != 0 && spec->only_seq != o->seq ? ERR_STALE
                                                          : attribute_set(s, conn, o, spec);
    store_object_unref(&o);
    return err;
}
