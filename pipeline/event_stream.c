/*
 * A stream is a cursor: the id of the last notice that it has told, or passed over. There is no
 * queue of what to send, so a client that does not read costs its socket's buffer and nothing else.
 *
 *   asked by the HTTP thread --> bytes left of the last turn --> sent
 *             ^                        | none
 *             |                        v
 *             |                  rows (cursor, settled], EVENT_STREAM_ROWS of them at most
 *             |                        | none
 *             |                        v
 *        woken by news, <-- HTTP_READ_LATER, or the heartbeat if it is time
 *        heartbeat, stop
 *
 * A turn whose rows all belonged to others still sends something, the id alone: so the thread
 * serves other connections in between, and the client need not pass over them again after a
 * reconnect.
 *
 * Rows have dense ids (notice.c): a gap behind the cursor is what was trimmed.
 *
 * The lock guards the list. Streams are woken under it, and leave the list in gone(), so no request
 * is woken that is gone.
 */
#include "pipeline/event_stream.h"
#include "pipeline/problem.h"
#include "base/auth.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/stat.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>

#define STREAMS_MAGIC 0xe5e27500u
#define STREAM_MAGIC 0xe5e27501u
#define OUT_ENOUGH (32u << 10) /* a turn ends there */
#define OUT_MAX (OUT_ENOUGH + 2 * NOTICE_DETAIL_MAX)
#define OWNER_ARENA_BYTES (64u << 10)
#define RETRY_AFTER "5"

struct stream {
    uint32_t magic;
    struct event_streams *all;
    struct http_request *r;
    struct stream *prev, *next;
    bool listed;
    struct slice owner;          /* canonical id; n = 0: root, to whom all belongs */
    struct slice bucket, prefix; /* the filter; n = 0: any */
    int64_t cursor;
    struct buf out;
    size_t sent;
    int64_t sent_ms;
};

struct event_streams {
    uint32_t magic;
    struct event_streams_options options;
    atomic_bool stopping;
    struct lock lock;
    pthread_cond_t fewer;
    struct stream *streams;
    int count;
    struct notifier_wait beat; /* of an object that cannot exist: only its deadline comes */
    bool beating;
};

/* ---- what a stream says ---- */

static void
put_event(struct buf *out, int64_t id, const char *kind)
{
    buf_printf(out, "id: %" PRId64 "\nevent: %s\ndata: ", id, kind);
}

static void
put_reset(struct buf *out, int64_t id)
{
    put_event(out, id, "reset");
    buf_puts(out, "{}\n\n");
}

static void
put_id(struct buf *out, int64_t id)
{
    buf_printf(out, ":\nid: %" PRId64 "\n\n", id);
}

struct turn {
    struct stream *stream;
    struct db_conn *conn;
    int rows;
    int64_t judged_bucket; /* is it the client's? */
    bool allowed;
};

/* By id and name: a bucket may have been deleted, and its name taken by somebody else. */
static int
judge_bucket(struct turn *t, const struct notice *n)
{
    struct slice owner = SLICE_NONE;
    int64_t id = 0;
    struct arena *a = arena_new(OWNER_ARENA_BYTES);
    if (a == NULL)
        return ERR_NOMEM;
    int err =
        store_apply_bucket_get(t->stream->all->options.store, t->conn, n->bucket, &id, a, &owner);
    t->judged_bucket = n->bucket_id;
    t->allowed = err == ERR_NONE && id == n->bucket_id && slice_eq(owner, t->stream->owner);
    arena_free(&a);
    return err == ERR_NOTFOUND ? ERR_NONE : err;
}

static int
is_wanted(struct turn *t, const struct notice *n, bool *wanted)
{
    const struct stream *s = t->stream;
    int err = ERR_NONE;
    *wanted =
        (s->bucket.n == 0 || slice_eq(s->bucket, n->bucket)) && slice_starts(n->key, s->prefix);
    if (!*wanted || s->owner.n == 0)
        return ERR_NONE;
    if (t->judged_bucket != n->bucket_id)
        err = judge_bucket(t, n);
    *wanted = t->allowed;
    return err;
}

static int
tell_row(void *arg, const struct notice *n)
{
    struct turn *t = arg;
    struct stream *s = t->stream;
    bool wanted = false;
    if (s->out.n >= OUT_ENOUGH)
        return 1;
    int err = is_wanted(t, n, &wanted);
    if (err != ERR_NONE)
        return err;
    if (n->id > s->cursor + 1)
        put_reset(&s->out, n->id - 1);
    if (wanted) {
        put_event(&s->out, n->id, notice_kind_name(n->kind));
        notice_json(n, &s->out);
        buf_puts(&s->out, "\n\n");
    }
    s->cursor = n->id;
    t->rows++;
    return s->out.err;
}

/* Into an empty `out`, which stays empty when there is nothing new. */
static int
fill(struct stream *s)
{
    struct turn t = {.stream = s, .judged_bucket = -1};
    int64_t settled = notifier_settled(s->all->options.notifier);
    if (s->cursor >= settled)
        return ERR_NONE;
    int err = db_read_begin(s->all->options.db, &t.conn);
    if (err != ERR_NONE)
        return err;
    err = notice_list(t.conn, s->cursor, settled, EVENT_STREAM_ROWS, tell_row, &t);
    db_read_end(s->all->options.db, &t.conn);
    if (err == ERR_NONE && t.rows > 0 && s->out.n == 0)
        put_id(&s->out, s->cursor);
    return err == ERR_NONE ? s->out.err : err;
}

static ptrdiff_t
stream_read(void *arg, int64_t offset, char *p, size_t n)
{
    struct stream *s = arg;
    (void)offset;
    CHK_MAGIC(s, STREAM_MAGIC);
    if (atomic_load(&s->all->stopping))
        return HTTP_READ_END;
    if (s->sent == s->out.n) {
        s->sent = 0;
        buf_reset(&s->out);
        int err = fill(s);
        if (err != ERR_NONE) {
            log_line(LOG_WARN, "event_stream_cut", "request_id=%s error=%s", s->r->id,
                     err_name(err));
            return err;
        }
        if (s->out.n == 0 && clock_mono_ms() - s->sent_ms >= EVENT_STREAM_BEAT_MS)
            put_id(&s->out, s->cursor);
        if (s->out.n == 0)
            return HTTP_READ_LATER;
    }
    size_t left = s->out.n - s->sent;
    n = n < left ? n : left;
    memcpy(p, s->out.p + s->sent, n);
    s->sent += n;
    s->sent_ms = clock_mono_ms();
    return (ptrdiff_t)n;
}

/* ---- waking ---- */

static void
wake_all(struct event_streams *all)
{
    lock_assert_held(&all->lock);
    for (struct stream *s = all->streams; s != NULL; s = s->next)
        http_stream_wake(s->r);
}

static void
on_news(void *arg)
{
    struct event_streams *all = arg;
    lock_take(&all->lock);
    wake_all(all);
    lock_release(&all->lock);
}

/* Beats while there is a stream. When the notifier has no place, the next stream tries again. */
static void
beat_later(struct event_streams *all)
{
    lock_assert_held(&all->lock);
    all->beat.deadline_ms = clock_mono_ms() + EVENT_STREAM_BEAT_MS / 2;
    all->beating =
        all->streams != NULL && notifier_wait(all->options.notifier, &all->beat) == ERR_NONE;
}

static void
on_beat(struct notifier_wait *w, enum notifier_end end)
{
    struct event_streams *all = CONTAINER_OF(w, struct event_streams, beat);
    lock_take(&all->lock);
    all->beating = false;
    if (end == NOTIFIER_TIMEOUT) {
        wake_all(all);
        beat_later(all);
    }
    lock_release(&all->lock);
}

/* ---- who may, and from where ---- */

static void
refuse(struct http_request *r, int status, const char *name, const char *why)
{
    if (status == 503)
        http_header(r, "Retry-After", SLICE_LIT(RETRY_AFTER));
    problem_reply(r, status, "error", slice_str(name), slice_str(why));
}

/* The reason of a refusal, or NULL. */
static const char *
refusal(const struct auth *auth)
{
    if (auth->result == AUTH_ANONYMOUS)
        return "this needs a signed request";
    if (auth->result != AUTH_OK)
        return auth_refusal(auth->result)->message;
    if (!slice_eqs(auth->service, "s3") || auth->scope.n == 0)
        return "this needs a Version 4 signature (service s3)";
    return NULL;
}

static bool
owns(struct event_streams *all, const struct stream *s)
{
    const struct store_bucket *b = NULL;
    if (s->owner.n == 0 || s->bucket.n == 0)
        return true;
    bool is = store_bucket_get(all->options.store, s->bucket, &b) == ERR_NONE &&
              slice_eq(b->owner, s->owner);
    store_bucket_unref(&b);
    return is;
}

/* Where the client stands. false: answered. */
static bool
place(struct event_streams *all, struct stream *s)
{
    struct http_request *r = s->r;
    struct db_conn *conn = NULL;
    uint64_t asked = 0;
    int64_t last = 0;
    struct slice text = http_field(r, "Last-Event-ID");
    if (text.n == 0)
        text = http_param(r, "last_event_id");
    if (text.n > 0 && (slice_to_u64(text, &asked) != ERR_NONE || asked > INT64_MAX)) {
        refuse(r, 400, "INVALID", "the last event's id is a number");
        return false;
    }
    int err = db_read_begin(all->options.db, &conn);
    if (err == ERR_NONE) {
        err = notice_last(conn, &last);
        db_read_end(all->options.db, &conn);
    }
    if (err != ERR_NONE) {
        refuse(r, 503, err_name(err), err_text(err));
        return false;
    }
    bool unknown = text.n > 0 && (int64_t)asked > last;
    s->cursor = text.n == 0 || unknown ? last : (int64_t)asked;
    if (unknown)
        put_reset(&s->out, s->cursor);
    else
        put_id(&s->out, s->cursor); /* to come back to, before any event */
    return true;
}

static struct stream *
stream_new(struct event_streams *all, struct http_request *r)
{
    struct stream *s = arena_alloc(r->arena, sizeof *s);
    if (s == NULL)
        return NULL;
    *s = (struct stream){.magic = STREAM_MAGIC,
                         .all = all,
                         .r = r,
                         .bucket = http_param(r, "bucket"),
                         .prefix = http_param(r, "prefix"),
                         .sent_ms = clock_mono_ms()};
    if (!r->auth->account->is_root)
        s->owner = slice_str(r->auth->account->canonical_id);
    buf_init(&s->out, OUT_MAX);
    return s;
}

/* A request that is about to get its place is not listed yet: an account may have as many more as
 * there are HTTP threads. */
static bool
has_its_share(const struct event_streams *all, struct slice owner)
{
    int count = 0;
    lock_assert_held(&all->lock);
    for (const struct stream *s = all->streams; s != NULL; s = s->next)
        count += slice_eq(s->owner, owner);
    return owner.n > 0 && count >= EVENT_STREAMS_PER_ACCOUNT_MAX;
}

/* A place among EVENT_STREAMS_MAX; false: there is none. */
static bool
stream_admit(struct stream *s)
{
    struct event_streams *all = s->all;
    lock_take(&all->lock);
    bool room = all->count < EVENT_STREAMS_MAX && !has_its_share(all, s->owner) &&
                !atomic_load(&all->stopping);
    if (room) {
        all->count++;
        s->r->ctx = s;
        STAT_INC(event_streams);
    }
    lock_release(&all->lock);
    return room;
}

/* Only a request with a stream can be woken, so this comes after http_reply_stream(). It is not
 * asked before begin() has returned, so no news is missed. */
static void
stream_enter(struct stream *s)
{
    struct event_streams *all = s->all;
    lock_take(&all->lock);
    s->listed = true;
    s->next = all->streams;
    if (s->next != NULL)
        s->next->prev = s;
    all->streams = s;
    if (!all->beating)
        beat_later(all);
    lock_release(&all->lock);
}

static void
stream_leave(struct stream *s)
{
    struct event_streams *all = s->all;
    lock_take(&all->lock);
    if (s->listed && s->prev == NULL)
        all->streams = s->next;
    else if (s->listed)
        s->prev->next = s->next;
    if (s->next != NULL)
        s->next->prev = s->prev;
    all->count--;
    pthread_cond_signal(&all->fewer);
    lock_release(&all->lock);
    STAT_DEC(event_streams);
    buf_fini(&s->out);
    s->magic = 0;
}

/* ---- the service ---- */

static void
begin(struct http_request *r)
{
    struct event_streams *all = r->service_arg;
    CHK_MAGIC(all, STREAMS_MAGIC);
    const char *refused = refusal(r->auth);
    if (refused != NULL) {
        auth_count_refusal(r->auth);
        refuse(r, 403, "DENIED", refused);
        return;
    }
    if (r->method != HTTP_GET) {
        http_header(r, "Allow", SLICE_LIT("GET"));
        refuse(r, 405, "INVALID", "only GET");
        return;
    }
    struct stream *s = stream_new(all, r);
    if (s == NULL)
        refuse(r, 503, "NOMEM", err_text(ERR_NOMEM));
    else if (!owns(all, s))
        refuse(r, 403, "DENIED", "the bucket is not yours");
    else if (!stream_admit(s))
        refuse(r, 503, "BUSY", "there are too many event streams");
    if (http_replied(r) || !place(all, s))
        return;
    http_header(r, "Content-Type", SLICE_LIT("text/event-stream"));
    http_header(r, "Cache-Control", SLICE_LIT("no-store"));
    http_header(r, "x-amz-request-id", slice_str(r->id));
    http_reply_stream(r, 200, -1, stream_read, NULL, s);
    stream_enter(s);
}

static void
gone(struct http_request *r)
{
    if (r->ctx != NULL)
        stream_leave(r->ctx);
}

const struct http_service event_stream_http_service = {
    .name = "events", .begin = begin, .gone = gone};

/* ---- life ---- */

struct event_streams *
event_streams_new(const struct event_streams_options *options)
{
    struct event_streams *all = chk_calloc(1, sizeof *all);
    all->magic = STREAMS_MAGIC;
    all->options = *options;
    all->beat = (struct notifier_wait){.since = INT64_MAX, .fn = on_beat};
    lock_init(&all->lock, LOCK_RANK_STREAM);
    lock_cond_init(&all->fewer);
    notifier_listen(options->notifier, on_news, all);
    return all;
}

void
event_streams_stop(struct event_streams *all)
{
    CHK_MAGIC(all, STREAMS_MAGIC);
    int64_t deadline_ms = clock_mono_ms() + EVENT_STREAM_STOP_MS;
    lock_take(&all->lock);
    atomic_store(&all->stopping, true);
    wake_all(all);
    while (all->count > 0 && lock_wait(&all->lock, &all->fewer, deadline_ms))
        continue;
    for (struct stream *s = all->streams; s != NULL; s = s->next)
        http_stream_sever(s->r);
    lock_release(&all->lock);
}

void
event_streams_free(struct event_streams **sp)
{
    struct event_streams *all = *sp;
    *sp = NULL;
    if (all == NULL)
        return;
    CHK_MAGIC(all, STREAMS_MAGIC);
    CHK(all->count == 0 && !all->beating);
    pthread_cond_destroy(&all->fewer);
    lock_fini(&all->lock);
    all->magic = 0;
    free(all);
}
