/*
 * Delivery of webhooks. One thread has all hooks: it reads what is new for each, posts, and writes
 * down how far each has come. A hook:
 *
 *               something new                 2xx: told_id moves
 *      IDLE ----------------------> SENDING -----------------------> IDLE
 *       ^                            |   ^
 *       |            not taken       |   | its time has come, and the
 *       |                            v   | notice is read again
 *       +------- given up -------- WAITING
 *
 * Invariants:
 *   1. told_id moves past a notice only after a 2xx for it, or when it is given up, or when it is
 *      not for this hook; what is written down is never ahead of what is in memory.
 *   2. At most one POST of a hook is under way; its notice is the first behind told_id that is for
 *      the hook. So a receiver sees rising ids, but for those that are sent again.
 *   3. While a hook is failing (attempts > 0), that notice has the id told_id + 1.
 *   4. Nothing above notifier_settled() is sent, and nothing for a hook that is not durable.
 *
 * Progress is written by one operation at a time with all hooks that have some; what comes
 * meanwhile goes with the next, so a fast receiver costs a commit per batch and not per notice.
 * Progress over notices that are for others is written when there is time (SAVE_LAZY_MS).
 */
#include "pipeline/webhook.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/stat.h"
#include "pipeline/notifier.h"
#include "pipeline/webhook_send.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define WEBHOOKS_MAGIC 0x3eb40011u
#define CONNECT_MS_MAX 5000
#define POST_MS_MAX 10000
#define PAGE_ROWS 256     /* notices looked through for one hook in one read */
#define IDLE_MS_MAX 60000 /* then look again, though nobody called */
#define AGAIN_MS 1000     /* after the database refused */
#define SAVE_LAZY_MS 60000
#define HOOKS_MAX (2 * WEBHOOKS_MAX) /* while rows are read: the ones before and the ones now */
#define LAST_SAVES_MAX 3             /* at the end */
#define BODY_MAX (NOTICE_DETAIL_MAX + (16u << 10)) /* a key of 1,024 bytes, escaped, has room */

enum hook_state { HOOK_IDLE, HOOK_SENDING, HOOK_WAITING, HOOK_STATE_COUNT };

static const unsigned allowed[HOOK_STATE_COUNT] = {
    [HOOK_IDLE] = 1u << HOOK_SENDING,
    [HOOK_SENDING] = 1u << HOOK_IDLE | 1u << HOOK_WAITING,
    [HOOK_WAITING] = 1u << HOOK_SENDING | 1u << HOOK_IDLE,
};

struct hook {
    enum hook_state state;
    struct webhooks *owner;
    struct webhook row; /* strings own memory, in `text` */
    char *text;
    bool listed;           /* its row was there at the last look */
    int64_t retry_mono_ms; /* WAITING: until then */
    int64_t sending_id;    /* SENDING: the notice */
    struct webhook_post post;
    struct buf body;
    bool dirty;            /* progress to be written now */
    int64_t given_up_more; /* not written yet; row.given_up is what the row said last */
    int64_t saved_id;      /* told_id as last written */
    int64_t save_mono_ms;  /* of that */
};

/* The one write of progress that is under way. */
struct save {
    struct db_op op;
    int err;
    size_t count;
    struct {
        struct webhook_progress progress;
        int64_t given_up_more; /* added by this */
        int64_t given_up;      /* then; -1: the hook is gone */
    } rows[HOOKS_MAX];
};

struct webhooks {
    uint32_t magic;
    struct db *db;
    struct notifier *notifier;
    int64_t retry_base_ms;
    struct webhook_hosts *hosts;
    struct webhook_sender *sender;
    pthread_t thread;
    bool started;
    /* said by others, followed by webhook_sender_wake() */
    atomic_bool stopping;
    atomic_bool rows_changed;
    atomic_bool save_ended;
    /* the thread's */
    size_t count;
    struct hook *hooks[HOOKS_MAX];
    struct save save;
    bool saving;
    int64_t again_mono_ms; /* the database refused: not before */
};

static void
hook_state_set(struct hook *h, enum hook_state next)
{
    CHK(allowed[h->state] & 1u << next);
    h->state = next;
}

/* ---- one notice of one hook ---- */

/* Half of it is chance, so that hooks whose receiver died together do not come back together. */
static int64_t
backoff_ms(int64_t attempts, int64_t base_ms)
{
    uint64_t noise;
    int64_t limit = base_ms;
    for (int64_t i = 1; i < attempts && limit < WEBHOOK_RETRY_MS_MAX; i++)
        limit *= 2;
    if (limit > WEBHOOK_RETRY_MS_MAX)
        limit = WEBHOOK_RETRY_MS_MAX;
    random_bytes(&noise, sizeof noise);
    return limit - (int64_t)(noise % (uint64_t)(limit / 2 + 1));
}

static void
start_afresh(struct hook *h)
{
    struct webhook_progress *p = &h->row.progress;
    p->attempts = p->not_before_ms = p->failing_since_ms = 0;
    p->last_error[0] = '\0';
    h->dirty = true;
}

/* Behind the notice `id`, told or not. */
static void
pass(struct hook *h, int64_t id)
{
    CHK(id > h->row.progress.told_id);
    h->row.progress.told_id = id;
    start_afresh(h);
}

static void
give_up(struct hook *h, int64_t id, const char *why)
{
    log_line(LOG_ERROR, "webhook_given_up", "webhook=%" PRId64 " notice=%" PRId64 " why=\"%s\"",
             h->row.progress.id, id, why);
    STAT_INC(webhook_given_up_total);
    h->given_up_more++;
    pass(h, id);
}

static void
told(struct hook *h)
{
    struct webhook_progress *p = &h->row.progress;
    STAT_INC(webhook_told_total);
    if (p->attempts > 0)
        log_line(LOG_INFO, "webhook_recovered", "webhook=%" PRId64 " attempts=%" PRId64, p->id,
                 p->attempts + 1);
    p->told++;
    pass(h, h->sending_id);
    hook_state_set(h, HOOK_IDLE);
}

static void
failed(struct hook *h)
{
    struct webhook_progress *p = &h->row.progress;
    char quoted[LOG_QUOTE_MAX];
    int64_t now_ms = clock_wall_ms();
    STAT_INC(webhook_failed_total);
    if (p->failing_since_ms == 0) {
        p->failing_since_ms = now_ms;
        log_line(LOG_WARN, "webhook_failed", "webhook=%" PRId64 " notice=%" PRId64 " why=%s", p->id,
                 h->sending_id, log_quote(slice_str(h->post.why), quoted));
    }
    if (now_ms - p->failing_since_ms >= WEBHOOK_GIVE_UP_MS) {
        give_up(h, h->sending_id, "it failed for too long");
        hook_state_set(h, HOOK_IDLE);
        return;
    }
    int64_t delay_ms = backoff_ms(++p->attempts, h->owner->retry_base_ms);
    p->not_before_ms = now_ms + delay_ms;
    snprintf(p->last_error, sizeof p->last_error, "%s", h->post.why);
    h->retry_mono_ms = clock_mono_ms() + delay_ms;
    h->dirty = true;
    hook_state_set(h, HOOK_WAITING);
}

static void
post_ended(struct webhook_post *post)
{
    struct hook *h = CONTAINER_OF(post, struct hook, post);
    CHK(h->state == HOOK_SENDING);
    if (post->taken)
        told(h);
    else
        failed(h);
}

static void
post_begin(struct hook *h, int64_t id)
{
    hook_state_set(h, HOOK_SENDING);
    h->sending_id = id;
    h->post = (struct webhook_post){.url = h->row.url,
                                    .secret = h->row.secret,
                                    .id = id,
                                    .body = buf_slice(&h->body),
                                    .ended = post_ended};
    webhook_sender_post(h->owner->sender, &h->post);
}

/* ---- what is new for a hook ---- */

struct search {
    struct hook *hook;
    int rows;
    int64_t last_id;  /* looked at */
    int64_t found_id; /* 0: none, and the body is not made */
};

static int
each_notice(void *arg, const struct notice *n)
{
    struct search *s = arg;
    struct hook *h = s->hook;
    s->rows++;
    s->last_id = n->id;
    if (!slice_eq(n->bucket, h->row.bucket) || !slice_starts(n->key, h->row.prefix))
        return 0;
    s->found_id = n->id;
    notice_json(n, &h->body);
    return 1;
}

/* Moves told_id over what is for others, and begins to post what is for this hook. True when there
 * is more to look through. */
static bool
hook_look(struct hook *h, struct db_conn *conn, int64_t settled)
{
    struct webhook_progress *p = &h->row.progress;
    struct search s = {.hook = h};
    buf_reset(&h->body);
    int err = notice_list(conn, p->told_id, settled, PAGE_ROWS, each_notice, &s);
    if (err != ERR_NONE) {
        h->owner->again_mono_ms = clock_mono_ms() + AGAIN_MS;
        return false;
    }
    /* The one that failed was trimmed, which is counted where that is done. */
    if (p->attempts > 0 && s.found_id != p->told_id + 1)
        start_afresh(h);
    if (s.found_id == 0) {
        if (h->state == HOOK_WAITING)
            hook_state_set(h, HOOK_IDLE);
        int64_t seen_id = s.rows == PAGE_ROWS ? s.last_id : settled;
        if (seen_id > p->told_id)
            p->told_id = seen_id;
        return s.rows == PAGE_ROWS;
    }
    p->told_id = s.found_id - 1;
    if (h->body.err != ERR_NONE) {
        give_up(h, s.found_id, "it is too large");
        return true;
    }
    post_begin(h, s.found_id);
    return false;
}

static bool
hook_is_due(const struct hook *h, int64_t settled, int64_t now_ms)
{
    return h->row.progress.told_id < settled &&
           (h->state == HOOK_IDLE || (h->state == HOOK_WAITING && h->retry_mono_ms <= now_ms));
}

/* Lets every hook begin that can. True when some hook has more to look through at once. */
static bool
hooks_begin(struct webhooks *w, int64_t now_ms)
{
    struct db_conn *conn = NULL;
    /* Before the snapshot: what it says is settled is in it. */
    int64_t settled = notifier_settled(w->notifier);
    bool more = false;
    if (now_ms < w->again_mono_ms)
        return false;
    for (size_t i = 0; i < w->count; i++) {
        if (!hook_is_due(w->hooks[i], settled, now_ms))
            continue;
        if (conn == NULL && db_read_begin(w->db, &conn) != ERR_NONE) {
            w->again_mono_ms = now_ms + AGAIN_MS;
            return false;
        }
        more = hook_look(w->hooks[i], conn, settled) || more;
    }
    if (conn != NULL)
        db_read_end(w->db, &conn);
    return more;
}

/* ---- progress ---- */

static int
save_apply(struct db_op *op, struct db_conn *conn)
{
    struct save *s = CONTAINER_OF(op, struct save, op);
    int err = ERR_NONE;
    for (size_t i = 0; i < s->count && err == ERR_NONE; i++) {
        err = webhook_apply_progress(conn, &s->rows[i].progress, s->rows[i].given_up_more,
                                     &s->rows[i].given_up);
        if (err == ERR_NOTFOUND) {
            s->rows[i].given_up = -1;
            err = ERR_NONE;
        }
    }
    return err;
}

static void
save_done(struct db_op *op, int err)
{
    struct webhooks *w = CONTAINER_OF(op, struct webhooks, save.op);
    w->save.err = err;
    atomic_store(&w->save_ended, true);
    webhook_sender_wake(w->sender);
}

static struct hook *
hook_find(struct webhooks *w, int64_t id)
{
    for (size_t i = 0; i < w->count; i++) {
        if (w->hooks[i]->row.progress.id == id)
            return w->hooks[i];
    }
    return NULL;
}

/* What the row says was given up, and we do not know of, was trimmed from under the hook. */
static void
saved(struct hook *h, int64_t given_up_more, int64_t given_up)
{
    int64_t trimmed = given_up - given_up_more - h->row.given_up;
    h->row.given_up = given_up;
    if (trimmed <= 0)
        return;
    STAT_ADD(webhook_given_up_total, trimmed);
    log_line(LOG_ERROR, "webhook_given_up",
             "webhook=%" PRId64 " notices=%" PRId64 " why=\"trimmed before they were told\"",
             h->row.progress.id, trimmed);
}

static void
save_end(struct webhooks *w, int err)
{
    w->saving = false;
    if (err != ERR_NONE)
        w->again_mono_ms = clock_mono_ms() + AGAIN_MS;
    for (size_t i = 0; i < w->save.count; i++) {
        int64_t more = w->save.rows[i].given_up_more, sum = w->save.rows[i].given_up;
        struct hook *h = hook_find(w, w->save.rows[i].progress.id);
        if (h == NULL)
            continue;
        if (err != ERR_NONE) {
            h->given_up_more += more;
            h->dirty = true;
        } else if (sum >= 0) {
            saved(h, more, sum);
        }
    }
}

static bool
wants_save(const struct hook *h, int64_t now_ms)
{
    return h->dirty ||
           (h->row.progress.told_id != h->saved_id && now_ms - h->save_mono_ms >= SAVE_LAZY_MS);
}

/* Begins to write what there is, unless a write is under way. */
static void
save(struct webhooks *w, int64_t now_ms, bool all)
{
    struct save *s = &w->save;
    if (atomic_exchange(&w->save_ended, false))
        save_end(w, s->err);
    if (w->saving || (now_ms < w->again_mono_ms && !all))
        return;
    *s = (struct save){
        .op = {.apply = save_apply, .done = save_done, .bytes = sizeof s->rows, .urgent = true}};
    for (size_t i = 0; i < w->count; i++) {
        struct hook *h = w->hooks[i];
        if (!wants_save(h, now_ms) && !(all && h->row.progress.told_id != h->saved_id))
            continue;
        s->rows[s->count].progress = h->row.progress;
        s->rows[s->count++].given_up_more = h->given_up_more;
        h->given_up_more = 0;
        h->dirty = false;
        h->saved_id = h->row.progress.told_id;
        h->save_mono_ms = now_ms;
    }
    if (s->count == 0)
        return;
    w->saving = true;
    int err = db_submit(w->db, &s->op);
    if (err != ERR_NONE)
        save_end(w, err);
}

/* ---- which hooks there are ---- */

/* A copy with memory of its own. */
static struct slice
text_copy(char **at, struct slice s)
{
    char *to = *at;
    if (s.n > 0)
        memcpy(to, s.p, s.n);
    to[s.n] = '\0';
    *at += s.n + 1;
    return slice_of(to, s.n);
}

static struct hook *
hook_new(struct webhooks *w, const struct webhook *row)
{
    struct hook *h = chk_calloc(1, sizeof *h);
    h->text = chk_malloc(row->bucket.n + row->prefix.n + row->url.n + row->secret.n + 4);
    char *at = h->text;
    const struct webhook_progress *p = &row->progress;
    h->owner = w;
    h->row = (struct webhook){.bucket = text_copy(&at, row->bucket),
                              .prefix = text_copy(&at, row->prefix),
                              .url = text_copy(&at, row->url),
                              .secret = text_copy(&at, row->secret),
                              .given_up = row->given_up,
                              .progress = *p};
    h->saved_id = p->told_id;
    h->save_mono_ms = clock_mono_ms();
    buf_init(&h->body, BODY_MAX);
    if (p->attempts > 0) {
        /* The clock on the wall may have been set meanwhile. */
        int64_t left_ms = p->not_before_ms - clock_wall_ms();
        left_ms = left_ms < 0 ? 0 : left_ms;
        h->state = HOOK_WAITING;
        h->retry_mono_ms =
            clock_mono_ms() + (left_ms < WEBHOOK_RETRY_MS_MAX ? left_ms : WEBHOOK_RETRY_MS_MAX);
    }
    return h;
}

static void
hook_free(struct hook *h)
{
    if (h->state == HOOK_SENDING)
        webhook_sender_abort(h->owner->sender, &h->post);
    explicit_bzero((char *)(uintptr_t)h->row.secret.p, h->row.secret.n);
    buf_fini(&h->body);
    free(h->text);
    free(h);
}

static int
each_row(void *arg, const struct webhook *row)
{
    struct webhooks *w = arg;
    struct hook *h = hook_find(w, row->progress.id);
    if (h == NULL) {
        CHK(w->count < HOOKS_MAX);
        h = w->hooks[w->count++] = hook_new(w, row);
    }
    h->listed = true;
    return 0;
}

/* Keeps the hooks in `w` whose rows are there. */
static void
drop_unlisted(struct webhooks *w)
{
    size_t kept = 0;
    for (size_t i = 0; i < w->count; i++) {
        if (w->hooks[i]->listed)
            w->hooks[kept++] = w->hooks[i];
        else
            hook_free(w->hooks[i]);
    }
    w->count = kept;
}

/* The hooks as the rows say; if that cannot be read, nothing begins until it could. */
static void
load(struct webhooks *w)
{
    struct db_conn *conn = NULL;
    if (!atomic_exchange(&w->rows_changed, false))
        return;
    for (size_t i = 0; i < w->count; i++)
        w->hooks[i]->listed = false;
    int err = db_read_begin(w->db, &conn);
    if (err == ERR_NONE) {
        err = webhook_list(conn, each_row, w);
        db_read_end(w->db, &conn);
    }
    if (err == ERR_NONE)
        err = db_settle(w->db);
    if (err == ERR_NONE) {
        drop_unlisted(w);
        return;
    }
    atomic_store(&w->rows_changed, true);
    w->again_mono_ms = clock_mono_ms() + AGAIN_MS;
}

/* ---- the thread ---- */

static int64_t
earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* How long nothing is to be done unless somebody wakes us or the network does. */
static int
rest_ms(const struct webhooks *w, int64_t now_ms)
{
    int64_t at_ms = now_ms + IDLE_MS_MAX;
    for (size_t i = 0; i < w->count; i++) {
        const struct hook *h = w->hooks[i];
        if (h->state == HOOK_WAITING)
            at_ms = earlier(at_ms, h->retry_mono_ms);
        if (h->row.progress.told_id != h->saved_id)
            at_ms = earlier(at_ms, h->save_mono_ms + SAVE_LAZY_MS);
    }
    if (w->again_mono_ms > now_ms)
        at_ms = w->again_mono_ms;
    return at_ms > now_ms ? (int)(at_ms - now_ms) : 0;
}

static void
cut_posts(struct webhooks *w)
{
    for (size_t i = 0; i < w->count; i++) {
        struct hook *h = w->hooks[i];
        if (h->state != HOOK_SENDING)
            continue;
        webhook_sender_abort(w->sender, &h->post);
        hook_state_set(h, HOOK_IDLE);
    }
}

static void *
run(void *arg)
{
    struct webhooks *w = arg;
    while (!atomic_load(&w->stopping)) {
        load(w);
        int64_t now_ms = clock_mono_ms();
        bool more = hooks_begin(w, now_ms);
        save(w, now_ms, false);
        webhook_sender_run(w->sender, more ? 0 : rest_ms(w, now_ms));
    }
    cut_posts(w);
    for (int i = 0; i < LAST_SAVES_MAX; i++) {
        save(w, clock_mono_ms(), true);
        while (w->saving && !atomic_load(&w->save_ended))
            webhook_sender_run(w->sender, IDLE_MS_MAX);
    }
    db_thread_end(w->db);
    return NULL;
}

/* ---- from outside ---- */

static void
wake(void *arg)
{
    struct webhooks *w = arg;
    CHK_MAGIC(w, WEBHOOKS_MAGIC);
    webhook_sender_wake(w->sender);
}

int
webhooks_new(struct webhooks **out, const struct webhooks_options *options, struct buf *why)
{
    struct webhook_hosts *hosts = NULL;
    int err =
        webhook_hosts_parse(&hosts, slice_str(conf_str(options->conf, CONF_WEBHOOK_HOSTS)), why);
    if (err != ERR_NONE)
        return err;
    struct webhooks *w = chk_calloc(1, sizeof *w);
    w->magic = WEBHOOKS_MAGIC;
    w->db = options->db;
    w->notifier = options->notifier;
    w->retry_base_ms = conf_int(options->conf, CONF_WEBHOOK_RETRY);
    w->hosts = hosts;
    struct webhook_sender_options sender = {
        .hosts = hosts, .connect_ms_max = CONNECT_MS_MAX, .post_ms_max = POST_MS_MAX};
    w->sender = webhook_sender_new(&sender);
    atomic_store(&w->rows_changed, true);
    notifier_listen(w->notifier, wake, w);
    *out = w;
    return ERR_NONE;
}

int
webhooks_start(struct webhooks *w)
{
    CHK_MAGIC(w, WEBHOOKS_MAGIC);
    CHK(!w->started);
    if (pthread_create(&w->thread, NULL, run, w) != 0)
        return ERR_NOMEM;
    w->started = true;
    return ERR_NONE;
}

void
webhooks_stop(struct webhooks *w)
{
    if (w == NULL || !w->started)
        return;
    CHK_MAGIC(w, WEBHOOKS_MAGIC);
    atomic_store(&w->stopping, true);
    webhook_sender_wake(w->sender);
    pthread_join(w->thread, NULL);
    w->started = false;
}

void
webhooks_free(struct webhooks **wp)
{
    struct webhooks *w = *wp;
    *wp = NULL;
    if (w == NULL)
        return;
    CHK_MAGIC(w, WEBHOOKS_MAGIC);
    CHK(!w->started);
    for (size_t i = 0; i < w->count; i++)
        hook_free(w->hooks[i]);
    webhook_sender_free(&w->sender);
    webhook_hosts_free(&w->hosts);
    w->magic = 0;
    free(w);
}

void
webhooks_changed(struct webhooks *w)
{
    CHK_MAGIC(w, WEBHOOKS_MAGIC);
    atomic_store(&w->rows_changed, true);
    webhook_sender_wake(w->sender);
}

int
webhooks_check_url(const struct webhooks *w, struct slice url, struct buf *why)
{
    CHK_MAGIC(w, WEBHOOKS_MAGIC);
    return webhook_hosts_check(w->hosts, url, why);
}
