/*
 * Backups over HTTP: a request starts one and is answered at once; who wants to know how it goes
 * asks again. The work is pipeline/backup.c's.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/fsdir.h"
#include "base/log.h"
#include "pipeline/admin_priv.h"
#include "pipeline/backup.h"

#include <stdlib.h>
#include <unistd.h>

static const char *const phase_names[] = {
    [BACKUP_NONE] = "none",       [BACKUP_DATABASE] = "database", [BACKUP_FILES] = "files",
    [BACKUP_CLOSING] = "closing", [BACKUP_PRUNING] = "pruning",   [BACKUP_DONE] = "done",
    [BACKUP_FAILED] = "failed",
};

static json_t *
manifest_json(const struct backup_manifest *m)
{
    char time[CLOCK_TEXT_MAX];
    clock_iso8601(m->time_ms, time);
    return json_pack("{ss ss sI sI sI sI sI sI sI sI sI sI sI}", "snapshot", m->name, "time", time,
                     "schema", (json_int_t)m->schema, "objects", (json_int_t)m->counts.objects,
                     "files", (json_int_t)m->counts.files, "file_bytes",
                     (json_int_t)m->counts.file_bytes, "db_bytes", (json_int_t)m->db_bytes,
                     "linked", (json_int_t)m->linked, "reused", (json_int_t)m->reused, "copied",
                     (json_int_t)m->copied, "copied_bytes", (json_int_t)m->copied_bytes, "missing",
                     (json_int_t)m->missing, "took_ms", (json_int_t)m->took_ms);
}

static json_t *
job_json(struct backups *b)
{
    struct backup_state st;
    backups_state(b, &st);
    json_t *job = json_pack("{sI ss sI sI sI sI sI sI sI sI ss}", "id", (json_int_t)st.id, "state",
                            phase_names[st.phase], "pages", (json_int_t)st.pages, "pages_left",
                            (json_int_t)st.pages_left, "files", (json_int_t)st.files, "files_all",
                            (json_int_t)st.files_all, "bytes", (json_int_t)st.bytes, "removed",
                            (json_int_t)st.removed, "others", (json_int_t)st.others, "step_us_max",
                            (json_int_t)st.step_us_max, "error", st.error);
    if (st.phase == BACKUP_DONE && st.made.name[0] != '\0')
        json_object_set_new(job, "made", manifest_json(&st.made));
    return job;
}

/* The newest first; a snapshot that goes meanwhile is left out. */
static int
snapshots_json(struct backup_set *set, int64_t identity, json_t *out)
{
    char(*names)[BACKUP_NAME_MAX] = NULL;
    size_t count = 0;
    int err = backup_set_list(set, &names, &count);
    for (size_t i = count; i > 0 && json_array_size(out) < ADMIN_PAGE_MAX && err == ERR_NONE; i--) {
        struct backup_manifest m;
        int fd = fsdir_open(set->dirfd, names[i - 1], false);
        if (fd >= 0 && backup_manifest_read(fd, &m) == ERR_NONE) {
            memcpy(m.name, names[i - 1], sizeof m.name);
            json_t *one = manifest_json(&m);
            json_object_set_new(one, "own", json_boolean(m.counts.identity == identity));
            json_array_append_new(out, one);
        }
        if (fd >= 0)
            close(fd);
    }
    free(names);
    return err;
}

void
admin_backup_get(struct admin_service *s, struct http_request *r)
{
    struct backups *b = s->backups;
    struct slice dir = http_param(r, "dir");
    struct backup_set set;
    struct buf why;
    int64_t identity = 0;
    buf_init(&why, ADMIN_WHY_MAX);
    json_t *snapshots = json_array();
    int err = backup_set_open(&set, backups_root(b), dir.n == 0 ? slice_str(backups_root(b)) : dir,
                              false, &why);
    if (err == ERR_NONE)
        err = store_identity_read(s->options.db, &identity);
    if (err == ERR_NONE)
        err = snapshots_json(&set, identity, snapshots);
    if (err == ERR_NONE)
        admin_reply_json(
            r, 200,
            json_pack("{ss so sO}", "dir", set.path, "job", job_json(b), "snapshots", snapshots));
    else
        admin_reply_error(r, err, buf_slice(&why));
    json_decref(snapshots);
    backup_set_close(&set);
    buf_fini(&why);
}

static void
reply_started(struct http_request *r, int err, int64_t id, const struct buf *why)
{
    if (err != ERR_NONE) {
        admin_reply_error(r, err, buf_slice(why));
        return;
    }
    log_line(LOG_INFO, "admin_change", "request_id=%s method=%.*s path=%.*s", r->id,
             SLICE_FMT(r->method_name), SLICE_FMT(r->path));
    admin_reply_json(r, 200, json_pack("{sI}", "id", (json_int_t)id));
}

void
admin_backup_post(struct admin_service *s, struct http_request *r)
{
    struct buf why;
    int64_t id = 0;
    json_t *body = admin_body(r);
    if (body == NULL)
        return;
    buf_init(&why, ADMIN_WHY_MAX);
    int err = backups_start(s->backups, json_get_str(body, "dir"), &id, &why);
    reply_started(r, err, id, &why);
    buf_fini(&why);
    json_decref(body);
}

void
admin_backup_delete(struct admin_service *s, struct http_request *r)
{
    struct buf why;
    int64_t id = 0;
    uint64_t keep;
    if (http_param(r, "keep").n == 0) {
        admin_reply_error(r, ERR_INVALID, SLICE_LIT("keep must say how many backups stay"));
        return;
    }
    if (admin_param_u64(r, "keep", 0, &keep) != ERR_NONE)
        return;
    buf_init(&why, ADMIN_WHY_MAX);
    int err = backups_prune(s->backups, http_param(r, "dir"), (size_t)keep, &id, &why);
    reply_started(r, err, id, &why);
    buf_fini(&why);
}
