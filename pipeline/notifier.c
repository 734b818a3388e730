/*
 * One turn of the thread, for each commit that added a notice:
 *
 *   read the newest id --> db_await() --> settled --> read the rows --> end waits, tell listeners
 *                           (the thread goes on with deadlines meanwhile)
 *
 * What a wait must not miss: a notice between the snapshot in which its owner looked and the moment
 * it was entered. `told` is the newest id whose waits were looked for, and it moves under the lock
 * before they are. So a wait with since >= told is entered before every notice it must hear of, and
 * one with since < told ends at once: its owner looks again.
 *
 * Waits end without the lock, so their functions may wait again.
 */
#include "pipeline/notifier.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/lock.h"
#include "base/log.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/random.h>

#define NOTIFIER_MAGIC 0x2071f1e2u
#define TABLE_SIZE 4096 /* a power of two */
#define ROWS_PER_READ 256
#define RETRY_MS 100       /* after a read that failed */
#define DEADLINE_TICK_MS 5 /* a wait may end so much late */

enum phase {
    IDLE,    /* nothing new is known */
    SETTLES, /* `read_id` waits to be durable */
    SETTLED  /* it is */
};

struct notifier {
    uint32_t magic;
    struct db *db;
    uint64_t seed;
    struct {
        notifier_fn fn;
        void *arg;
    } listeners[NOTIFIER_LISTENERS_MAX];
    int listener_count;
    pthread_t thread;
    bool started;
    uint64_t added;          /* the writer's: notice_added() when it last woke the thread */
    _Atomic int64_t settled; /* -1: nothing read yet */

    struct lock lock; /* guards what follows */
    pthread_cond_t change;
    bool stopping;
    bool news;        /* a commit added notices since the last turn began */
    int64_t retry_ms; /* after an error: when to look again; 0: no error */
    enum phase phase;
    int64_t read_id; /* the thread's */
    struct db_wait db_wait;
    int64_t told; /* only the thread changes it; -1: before the first look */
    struct notifier_wait *table[TABLE_SIZE];
    int wait_count;
    int64_t deadline_ms; /* no wait is due before; INT64_MAX: none */
    int64_t scanned_ms;  /* when overdue waits were last looked for */
};

/* ---- the table of waits ---- */

static struct notifier_wait **
slot_of(struct notifier *n, int64_t bucket_id, struct slice key)
{
    uint64_t h = n->seed ^ (uint64_t)bucket_id;
    for (size_t i = 0; i < key.n; i++) {
        h = (h ^ (unsigned char)key.p[i]) * 0x9e3779b97f4a7c15u;
        h ^= h >> 29;
    }
    return &n->table[h & (TABLE_SIZE - 1)];
}

static void
enter(struct notifier *n, struct notifier_wait *w)
{
    struct notifier_wait **head = slot_of(n, w->bucket_id, w->key);
    w->prev = NULL;
    w->next = *head;
    if (w->next != NULL)
        w->next->prev = w;
    *head = w;
    n->wait_count++;
}

/* Moves a wait onto a list that is linked by `next` alone. */
static void
take(struct notifier *n, struct notifier_wait **head, struct notifier_wait *w,
     struct notifier_wait **ended)
{
    lock_assert_held(&n->lock);
    if (w->prev == NULL)
        *head = w->next;
    else
        w->prev->next = w->next;
    if (w->next != NULL)
        w->next->prev = w->prev;
    w->next = *ended;
    *ended = w;
    n->wait_count--;
}

static void
end_all(struct notifier_wait *ended, enum notifier_end how)
{
    while (ended != NULL) {
        struct notifier_wait *w = ended;
        ended = w->next; /* before fn: then it is its owner's again */
        w->fn(w, how);
    }
}

/* Takes all for which `wanted` is true, and learns the next deadline. */
static struct notifier_wait *
take_those(struct notifier *n,
           bool (*wanted)(const struct notifier *n, const struct notifier_wait *w, int64_t now_ms))
{
    struct notifier_wait *ended = NULL;
    int64_t now_ms = clock_mono_ms();
    n->deadline_ms = INT64_MAX;
    for (size_t i = 0; i < TABLE_SIZE; i++) {
        for (struct notifier_wait *w = n->table[i], *next; w != NULL; w = next) {
            next = w->next;
            if (wanted(n, w, now_ms))
                take(n, &n->table[i], w, &ended);
            else if (w->deadline_ms < n->deadline_ms)
                n->deadline_ms = w->deadline_ms;
        }
    }
    return ended;
}

static bool
is_overdue(const struct notifier *n, const struct notifier_wait *w, int64_t now_ms)
{
    (void)n;
    return w->deadline_ms <= now_ms;
}

static bool
is_behind(const struct notifier *n, const struct notifier_wait *w, int64_t now_ms)
{
    (void)now_ms;
    return w->since < n->told;
}

static bool
is_any(const struct notifier *n, const struct notifier_wait *w, int64_t now_ms)
{
    (void)n;
    (void)w;
    (void)now_ms;
    return true;
}

int
notifier_wait(struct notifier *n, struct notifier_wait *w)
{
    CHK_MAGIC(n, NOTIFIER_MAGIC);
    int err = ERR_NONE;
    lock_take(&n->lock);
    bool again = w->since < n->told;
    if (n->stopping) {
        err = ERR_CANCELED;
    } else if (!again && n->wait_count == NOTIFIER_WAITS_MAX) {
        err = ERR_BUSY;
    } else if (!again) {
        enter(n, w);
        if (w->deadline_ms < n->deadline_ms) {
            n->deadline_ms = w->deadline_ms;
            pthread_cond_signal(&n->change);
        }
    }
    lock_release(&n->lock);
    if (err == ERR_NONE && again)
        w->fn(w, NOTIFIER_NEWS);
    return err;
}

/* ---- telling ---- */

struct telling {
    struct notifier *notifier;
    struct notifier_wait *ended;
    int rows;
};

static int
tell_row(void *arg, const struct notice *row)
{
    struct telling *t = arg;
    struct notifier *n = t->notifier;
    struct notifier_wait **head = slot_of(n, row->bucket_id, row->key);
    t->rows++;
    lock_take(&n->lock);
    n->told = row->id;
    for (struct notifier_wait *w = *head, *next; w != NULL; w = next) {
        next = w->next;
        if (w->bucket_id == row->bucket_id && w->since < row->id && slice_eq(w->key, row->key))
            take(n, head, w, &t->ended);
    }
    lock_release(&n->lock);
    return 0;
}

/* Those at most ROWS_PER_READ notices that are durable and not told. More may be left. */
static int
tell_some(struct notifier *n, int64_t until, bool *more)
{
    struct db_conn *conn = NULL;
    struct telling t = {.notifier = n};
    int err = db_read_begin(n->db, &conn);
    if (err != ERR_NONE)
        return err;
    err = notice_list(conn, n->told, until, ROWS_PER_READ, tell_row, &t);
    db_read_end(n->db, &conn);
    end_all(t.ended, NOTIFIER_NEWS);
    *more = t.rows == ROWS_PER_READ;
    return err;
}

/* For what is not told row by row: there before this process, or trimmed meanwhile. */
static void
skip_to(struct notifier *n, int64_t id)
{
    lock_take(&n->lock);
    n->told = id;
    struct notifier_wait *ended = take_those(n, is_behind);
    lock_release(&n->lock);
    end_all(ended, NOTIFIER_NEWS);
}

static int
tell_settled(struct notifier *n, int64_t until)
{
    int err = ERR_NONE;
    for (bool more = n->told >= 0; more && err == ERR_NONE;)
        err = tell_some(n, until, &more);
    if (err == ERR_NONE && n->told < until)
        skip_to(n, until);
    for (int i = 0; i < n->listener_count; i++)
        n->listeners[i].fn(n->listeners[i].arg);
    return err;
}

/* SETTLED --> IDLE. After a failed sync nothing is told any more. */
static int
pass_on(struct notifier *n)
{
    lock_take(&n->lock);
    n->phase = IDLE;
    lock_release(&n->lock);
    if (db_health(n->db) == ERR_SYNC)
        return ERR_NONE;
    atomic_store(&n->settled, n->read_id);
    return tell_settled(n, n->read_id);
}

/* ---- looking for news ---- */

static void
on_commit(void *arg)
{
    struct notifier *n = arg;
    if (n->added == notice_added())
        return;
    n->added = notice_added();
    lock_take(&n->lock);
    n->news = true;
    pthread_cond_signal(&n->change);
    lock_release(&n->lock);
}

static void
on_settled(struct db_wait *w)
{
    struct notifier *n = CONTAINER_OF(w, struct notifier, db_wait);
    lock_take(&n->lock);
    CHK(n->phase == SETTLES);
    n->phase = SETTLED;
    pthread_cond_signal(&n->change);
    lock_release(&n->lock);
}

/* IDLE --> SETTLES or SETTLED, when there is something to tell. */
static int
look(struct notifier *n)
{
    struct db_conn *conn = NULL;
    int err = db_read_begin(n->db, &conn);
    if (err != ERR_NONE)
        return err;
    err = notice_last(conn, &n->read_id);
    db_read_end(n->db, &conn);
    if (err != ERR_NONE || n->read_id == n->told)
        return err;
    lock_take(&n->lock);
    n->phase = SETTLES;
    lock_release(&n->lock);
    if (!db_await(n->db, &n->db_wait))
        on_settled(&n->db_wait);
    return ERR_NONE;
}

/* ---- the thread ---- */

/* With the lock held; gives it up for each piece of work. False: there is nothing to do now. */
static bool
work(struct notifier *n, int64_t now_ms)
{
    struct notifier_wait *ended = NULL;
    int err = ERR_NONE;
    if (n->deadline_ms <= now_ms && n->scanned_ms + DEADLINE_TICK_MS <= now_ms) {
        n->scanned_ms = now_ms;
        ended = take_those(n, is_overdue);
        lock_release(&n->lock);
        end_all(ended, NOTIFIER_TIMEOUT);
    } else if (n->phase == SETTLED) {
        lock_release(&n->lock);
        err = pass_on(n);
    } else if (n->phase == IDLE && (n->news || (n->retry_ms != 0 && n->retry_ms <= now_ms))) {
        n->news = false;
        n->retry_ms = 0;
        lock_release(&n->lock);
        err = look(n);
    } else {
        return false;
    }
    if (err != ERR_NONE)
        log_line(LOG_WARN, "notices_not_read", "error=%s", err_name(err));
    lock_take(&n->lock);
    if (err != ERR_NONE)
        n->retry_ms = clock_mono_ms() + RETRY_MS;
    return true;
}

static int64_t
wake_ms(const struct notifier *n)
{
    int64_t at = n->deadline_ms;
    if (at < n->scanned_ms + DEADLINE_TICK_MS)
        at = n->scanned_ms + DEADLINE_TICK_MS;
    if (n->phase == IDLE && n->retry_ms != 0 && n->retry_ms < at)
        at = n->retry_ms;
    return at == INT64_MAX ? -1 : at;
}

static void *
notifier_main(void *arg)
{
    struct notifier *n = arg;
    pthread_setname_np(pthread_self(), "notifier");
    lock_take(&n->lock);
    while (!n->stopping) {
        if (!work(n, clock_mono_ms()))
            lock_wait(&n->lock, &n->change, wake_ms(n));
    }
    lock_release(&n->lock);
    db_thread_end(n->db);
    return NULL;
}

/* ---- life ---- */

struct notifier *
notifier_new(struct db *db)
{
    struct notifier *n = chk_calloc(1, sizeof *n);
    n->magic = NOTIFIER_MAGIC;
    n->db = db;
    n->news = true; /* how far did the last process get? */
    n->added = notice_added();
    n->told = -1;
    n->deadline_ms = INT64_MAX;
    n->db_wait.fn = on_settled;
    atomic_init(&n->settled, -1);
    if (getrandom(&n->seed, sizeof n->seed, 0) != (ssize_t)sizeof n->seed)
        n->seed = (uint64_t)clock_mono_us();
    lock_init(&n->lock, LOCK_RANK_NOTIFIER);
    lock_cond_init(&n->change);
    db_on_commit(db, on_commit, n);
    return n;
}

void
notifier_listen(struct notifier *n, notifier_fn fn, void *arg)
{
    CHK_MAGIC(n, NOTIFIER_MAGIC);
    CHK(!n->started && n->listener_count < NOTIFIER_LISTENERS_MAX);
    n->listeners[n->listener_count].fn = fn;
    n->listeners[n->listener_count++].arg = arg;
}

int
notifier_start(struct notifier *n)
{
    CHK_MAGIC(n, NOTIFIER_MAGIC);
    CHK(!n->started);
    n->started = pthread_create(&n->thread, NULL, notifier_main, n) == 0;
    return n->started ? ERR_NONE : ERR_NOMEM;
}

void
notifier_stop(struct notifier *n)
{
    CHK_MAGIC(n, NOTIFIER_MAGIC);
    lock_take(&n->lock);
    n->stopping = true;
    pthread_cond_signal(&n->change);
    lock_release(&n->lock);
    if (n->started)
        CHK(pthread_join(n->thread, NULL) == 0);
    n->started = false;
    lock_take(&n->lock);
    struct notifier_wait *ended = take_those(n, is_any);
    lock_release(&n->lock);
    end_all(ended, NOTIFIER_STOPPED);
}

void
notifier_free(struct notifier **np)
{
    struct notifier *n = *np;
    *np = NULL;
    if (n == NULL)
        return;
    CHK_MAGIC(n, NOTIFIER_MAGIC);
    CHK(!n->started && n->wait_count == 0);
    pthread_cond_destroy(&n->change);
    lock_fini(&n->lock);
    n->magic = 0;
    free(n);
}

int64_t
notifier_settled(const struct notifier *n)
{
    CHK_MAGIC(n, NOTIFIER_MAGIC);
    int64_t id = atomic_load(&n->settled);
    return id < 0 ? 0 : id;
}
