/* Readiness as headers of HEAD. */
#include "base/err.h"
#include "base/log.h"
#include "pipeline/native_item.h"
#include "pipeline/readiness.h"
#include "pipeline/rule.h"

#include <stdio.h>

#define REASON_SHOWN_MAX 200
#define HEADER_NAME_MAX 80

/* Field values are visible ASCII here: what a function says may hold anything. */
static struct slice
shown(struct slice reason, char out[REASON_SHOWN_MAX])
{
    size_t n = reason.n < REASON_SHOWN_MAX ? reason.n : REASON_SHOWN_MAX;
    for (size_t i = 0; i < n; i++)
        out[i] = reason.p[i] >= ' ' && reason.p[i] <= '~' ? reason.p[i] : '?';
    return slice_of(out, n);
}

static void
preset_header(struct http_request *r, const struct preset_readiness *p)
{
    char name[HEADER_NAME_MAX];
    char text[REASON_SHOWN_MAX];
    snprintf(name, sizeof name, "x-darkroom-preset-%s", p->preset->name);
    http_headerf(r, name, "%s%s%.*s", preset_state_name(p->state), p->reason.n > 0 ? ": " : "",
                 SLICE_FMT(shown(p->reason, text)));
}

static int
is_ours(struct registry *r, struct db_conn *conn, struct arena *a,
        const struct store_object *object, bool *ours)
{
    struct function_set *set = NULL;
    int err = registry_get(r, conn, &set);
    if (err == ERR_NONE)
        err = rule_gives(conn, a, set, object->bucket_id, object->key, NATIVE_THUMBNAIL, ours);
    registry_unref(&set);
    return err;
}

void
readiness_describe(struct registry *r, struct db *db, struct http_request *request,
                   const struct store_bucket *bucket, const struct store_object *object)
{
    struct db_conn *conn = NULL;
    struct readiness is = {.set = NULL};
    bool ours = false;
    if (!bucket->has_notification || object->by_function)
        return;
    struct arena *a = arena_new(ITEM_ARENA_BYTES);
    int err = a == NULL ? ERR_NOMEM : db_read_begin(db, &conn);
    if (err != ERR_NONE)
        goto out;
    err = is_ours(r, conn, a, object, &ours);
    if (err == ERR_NONE && ours)
        err = readiness_read(r, conn, a, object, bucket->name, &is);
    db_read_end(db, &conn);
    if (err != ERR_NONE || !ours)
        goto out;
    http_headerf(request, "x-darkroom-generation", "%lld", (long long)object->generation);
    http_header(request, "x-darkroom-ready", slice_str(is.ready ? "true" : "false"));
    for (size_t i = 0; i < is.count; i++)
        preset_header(request, &is.presets[i]);
out:
    if (err != ERR_NONE)
        log_line(LOG_WARN, "readiness_not_read", "request_id=%s error=%s", request->id,
                 err_name(err));
    readiness_fini(&is);
    arena_free(&a);
}
