#include "pipeline/cli_transfer.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define DRAW_MS 200
#define BAR_CELLS 24
#define PAUSE_MS_FIRST 200
#define PAUSE_MS_MAX 10000
#define AWAY_FAILURES_PER_JOB 2

static volatile sig_atomic_t interrupted;

/* ---- what is said ---- */

static void
clear_line(const struct transfer *t)
{
    if (!t->c->json && isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
}

static void
say_json(enum transfer_fate fate, struct slice name, int64_t bytes, const char *why)
{
    static const char *const words[] = {"done", "skipped", "failed", "would copy"};
    struct buf line;
    buf_init(&line, 4 * TRANSFER_NAME_MAX + 2 * CLI_WHY_MAX);
    buf_puts(&line, "{\"key\":");
    json_quote(&line, name);
    buf_printf(&line, ",\"status\":\"%s\",\"bytes\":%" PRId64, words[fate], bytes);
    if (why[0] != '\0') {
        buf_puts(&line, ",\"why\":");
        json_quote(&line, slice_str(why));
    }
    buf_puts(&line, "}");
    if (line.err == ERR_NONE)
        puts(line.p);
    buf_fini(&line);
}

void
transfer_tell(struct transfer *t, enum transfer_fate fate, struct slice name, int64_t bytes,
              const char *why)
{
    struct transfer_counts *n = &t->counts;
    lock_take(&t->lock);
    n->ended_bytes += bytes;
    if (fate == TRANSFER_DONE)
        n->done++;
    else if (fate == TRANSFER_SKIPPED)
        n->skipped++;
    else if (fate == TRANSFER_FAILED)
        n->failed++;
    else
        n->to_copy++, n->to_copy_bytes += bytes;
    if (t->c->json) {
        if (fate != TRANSFER_SKIPPED || why[0] != '\0')
            say_json(fate, name, bytes, why);
    } else if (why[0] != '\0') {
        clear_line(t);
        fprintf(stderr, "darkroom: %s ", fate == TRANSFER_FAILED ? "failed:" : "skipped:");
        cli_write_text(stderr, name);
        fputs(": ", stderr);
        cli_write_text(stderr, slice_str(why));
        fputc('\n', stderr);
    } else if (fate == TRANSFER_WOULD_COPY) {
        cli_print_text(name);
        putchar('\n');
    }
    lock_release(&t->lock);
}

void
transfer_moved(struct transfer *t, int64_t bytes)
{
    lock_take(&t->lock);
    t->counts.bytes += bytes;
    t->closed_in_a_row = 0;
    lock_release(&t->lock);
}

static void
draw_bytes(double bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    for (; bytes >= 1024 && unit + 1 < ARRAY_LEN(units); unit++)
        bytes /= 1024;
    fprintf(stderr, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
}

/* The time left is told by bytes, once all is planned. */
static void
draw(const struct transfer *t, double seconds)
{
    const struct transfer_counts *n = &t->counts;
    int64_t ended = n->done + n->skipped + n->failed + n->to_copy;
    double rate = seconds > 0 ? (double)n->bytes / seconds : 0;
    int64_t left = n->planned_bytes - n->ended_bytes;
    int full = n->planned > 0 ? (int)(ended * BAR_CELLS / n->planned) : 0;
    char bar[BAR_CELLS + 1];
    memset(bar, '-', BAR_CELLS);
    memset(bar, '#', (size_t)full);
    bar[BAR_CELLS] = '\0';
    fprintf(stderr, "\r\033[K[%s] %" PRId64 "/%" PRId64 "%s  ", bar, ended, n->planned,
            t->planned_all ? "" : "+");
    draw_bytes((double)n->bytes);
    fputs("  ", stderr);
    draw_bytes(rate);
    fprintf(stderr, "/s  %.0f/s  %" PRId64 " failed", seconds > 0 ? (double)ended / seconds : 0,
            n->failed);
    if (t->planned_all && rate > 0 && left > 0) {
        int64_t eta = (int64_t)((double)left / rate);
        fprintf(stderr, "  ETA %" PRId64 ":%02" PRId64, eta / 60, eta % 60);
    }
}

static void
report(const struct transfer *t, double seconds)
{
    const struct transfer_counts *n = &t->counts;
    clear_line(t);
    if (t->c->json) {
        printf("{\"planned\":%" PRId64 ",\"done\":%" PRId64 ",\"skipped\":%" PRId64
               ",\"failed\":%" PRId64 ",\"bytes\":%" PRId64 ",\"seconds\":%.3f"
               ",\"unverified\":%" PRId64,
               n->planned, n->done, n->skipped, n->failed, n->bytes, seconds, n->unverified);
        if (t->dry_run)
            printf(",\"dry_run\":true,\"to_copy\":%" PRId64 ",\"to_copy_bytes\":%" PRId64,
                   n->to_copy, n->to_copy_bytes);
        puts("}");
        return;
    }
    if (t->dry_run)
        printf("dry run: %" PRId64 " to copy (", n->to_copy);
    else
        printf("%" PRId64 " planned, %" PRId64 " done (", n->planned, n->done);
    cli_print_bytes(t->dry_run ? n->to_copy_bytes : n->bytes);
    printf("), %" PRId64 " skipped, %" PRId64 " failed, %.1f s\n", n->skipped, n->failed, seconds);
    if (n->unverified > 0)
        printf("%" PRId64 " of them have no ETag, or one that is no digest of known parts: they "
               "were checked by size only\n",
               n->unverified);
}

/* ---- pauses ---- */

static void
stop(struct transfer *t)
{
    lock_assert_held(&t->lock);
    atomic_store(&t->cancel, true);
    pthread_cond_broadcast(&t->changed);
}

static bool
worth_it(int err)
{
    return err == ERR_BUSY || err == ERR_CLOSED || err == ERR_SHORT || err == ERR_TIMEOUT;
}

bool
transfer_again(struct transfer *t, struct remote *r, int err, int *tries, struct buf *why)
{
    uint8_t noise = 0;
    if (!worth_it(err) || ++*tries > t->retries || atomic_load(&t->cancel))
        return false;
    int64_t pause_ms = (int64_t)PAUSE_MS_FIRST << (*tries < 16 ? *tries - 1 : 15);
    if (pause_ms > PAUSE_MS_MAX)
        pause_ms = PAUSE_MS_MAX;
    random_bytes(&noise, sizeof noise); /* so that the jobs do not come back together */
    pause_ms = pause_ms / 2 + pause_ms * noise / 512;
    if (err == ERR_BUSY && r != NULL && remote_retry_after_s(r) > 0)
        pause_ms = (int64_t)remote_retry_after_s(r) * 1000;
    int64_t until_ms = clock_mono_ms() + pause_ms;
    lock_take(&t->lock);
    while (!atomic_load(&t->cancel) && lock_wait(&t->lock, &t->changed, until_ms))
        ;
    lock_release(&t->lock);
    buf_reset(why);
    return !atomic_load(&t->cancel);
}

/* ---- the planner ---- */

struct plan {
    struct transfer *t;
    struct transfer_join join;
    struct transfer_above above;
    struct buf why;
};

static int
next_source(void *arg, struct transfer_entry *e)
{
    struct plan *p = arg;
    return p->t->source.ops->next(p->t, &p->t->source, e, &p->why);
}

static int
next_target(void *arg, struct transfer_entry *e)
{
    struct plan *p = arg;
    int got = p->t->target.ops->next(p->t, &p->t->target, e, &p->why);
    if (!remote_cursor_sorted(p->t->target.cursor))
        p->join.target_unsorted = true;
    return got;
}

static void
enqueue(struct transfer *t, struct transfer_item *item)
{
    lock_take(&t->lock);
    while (t->queued == TRANSFER_QUEUE_MAX && !atomic_load(&t->cancel))
        lock_wait(&t->lock, &t->changed, -1);
    if (t->last != NULL)
        t->last->next = item;
    else
        t->first = item;
    t->last = item;
    t->queued++;
    pthread_cond_broadcast(&t->changed);
    lock_release(&t->lock);
}

static struct transfer_item *
item_new(const struct transfer_pair *pair, bool to_folder)
{
    const struct transfer_entry *s = &pair->source;
    struct transfer_item *item = chk_calloc(1, sizeof *item + s->name.n + 1);
    item->bytes = s->bytes;
    item->mtime_ms = s->mtime_ms;
    item->name_n = s->name.n;
    memcpy(item->name, s->name.p, s->name.n);
    remote_etag_text(s->etag, item->etag);
    item->look =
        to_folder || pair->unsure || (pair->target != NULL && pair->target->bytes == s->bytes);
    if (pair->target != NULL)
        remote_etag_text(pair->target->etag, item->target_etag);
    return item;
}

/* NULL, or why no file can be made of it. */
static const char *
refusal(struct plan *p, struct slice name, struct buf *text)
{
    struct slice file;
    const char *why = transfer_path_refusal(name);
    if (why != NULL || !transfer_above_conflict(&p->above, name, &file))
        return why;
    buf_printf(text, "\"%.*s\" is a file, so it cannot be a folder as well", SLICE_FMT(file));
    return text->p;
}

static void
plan_pair(struct plan *p, const struct transfer_pair *pair)
{
    struct transfer *t = p->t;
    const struct transfer_entry *s = &pair->source;
    bool to_folder = !t->target.ops->is_store;
    const char *refused = NULL;
    struct buf text;
    buf_init(&text, 2 * TRANSFER_NAME_MAX);
    lock_take(&t->lock);
    t->counts.planned++;
    t->counts.planned_bytes += s->bytes;
    lock_release(&t->lock);
    if (to_folder && s->bytes == 0 && s->name.n > 0 && s->name.p[s->name.n - 1] == '/')
        transfer_tell(t, TRANSFER_SKIPPED, s->name, 0, ""); /* some tools' marker of a folder */
    else if (to_folder && (refused = refusal(p, s->name, &text)) != NULL)
        transfer_tell(t, TRANSFER_FAILED, s->name, s->bytes, refused);
    else if (pair->target != NULL && pair->target->bytes == s->bytes && s->etag.n > 0 &&
             slice_eq(pair->target->etag, s->etag))
        transfer_tell(t, TRANSFER_SKIPPED, s->name, s->bytes, "");
    else
        enqueue(t, item_new(pair, to_folder));
    buf_fini(&text);
}

static void *
planner_main(void *arg)
{
    struct transfer *t = arg;
    struct plan p = {.t = t};
    struct transfer_pair pair;
    buf_init(&p.why, CLI_WHY_MAX);
    transfer_above_init(&p.above);
    transfer_join_init(&p.join, next_source, &p, t->target.ops->is_store ? next_target : NULL, &p);
    int got = 0;
    while (!atomic_load(&t->cancel) && (got = transfer_join_next(&p.join, &pair)) == 1)
        plan_pair(&p, &pair);
    lock_take(&t->lock);
    t->planned_all = true;
    t->plan_err = got < 0 && !atomic_load(&t->cancel) ? got : ERR_NONE;
    if (t->plan_err != ERR_NONE) {
        clear_line(t);
        cli_complain("the listing ended early: %s", p.why.n > 0 ? p.why.p : err_text(got));
    }
    pthread_cond_broadcast(&t->changed);
    lock_release(&t->lock);
    transfer_join_fini(&p.join);
    transfer_above_fini(&p.above);
    buf_fini(&p.why);
    return NULL;
}

/* ---- the workers ---- */

static struct transfer_item *
dequeue(struct transfer *t)
{
    lock_take(&t->lock);
    while (t->first == NULL && !t->planned_all && !atomic_load(&t->cancel))
        lock_wait(&t->lock, &t->changed, -1);
    struct transfer_item *item = atomic_load(&t->cancel) ? NULL : t->first;
    if (item != NULL) {
        t->first = item->next;
        if (t->first == NULL)
            t->last = NULL;
        t->queued--;
        pthread_cond_broadcast(&t->changed);
    }
    lock_release(&t->lock);
    return item;
}

static void *
worker_main(void *arg)
{
    struct transfer_worker *w = arg;
    struct transfer *t = w->t;
    while ((w->item = dequeue(t)) != NULL) {
        transfer_item_run(w);
        free(w->item);
        w->item = NULL;
    }
    lock_take(&t->lock);
    t->working--;
    pthread_cond_broadcast(&t->changed);
    lock_release(&t->lock);
    return NULL;
}

/* An unnamed file in TMPDIR or /tmp; < 0: there is none, `why` says it. */
static int
open_spool(struct buf *why)
{
    const char *dir = getenv("TMPDIR");
    char path[512];
    snprintf(path, sizeof path, "%s/darkroom-XXXXXX", dir != NULL && dir[0] != '\0' ? dir : "/tmp");
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        buf_printf(why, "%s: %s (TMPDIR names another place)", path, strerror(errno));
    else
        unlink(path);
    return fd;
}

static int
worker_init(struct transfer_worker *w, struct transfer *t, struct buf *why)
{
    int err = ERR_NONE;
    *w = (struct transfer_worker){
        .t = t, .source_fd = -1, .target_dir = -1, .target_fd = -1, .spool = open_spool(why)};
    buf_init(&w->why, CLI_WHY_MAX);
    buf_init(&w->key, 2 * TRANSFER_NAME_MAX);
    buf_init(&w->upload_id, REMOTE_UPLOAD_ID_MAX);
    if (w->spool < 0)
        return ERR_IO;
    if (t->source.ops->is_store)
        err = remote_open(&w->source, t->source.driver, &t->source.options, why);
    if (err == ERR_NONE && t->target.ops->is_store)
        err = remote_open(&w->target, t->target.driver, &t->target.options, why);
    return err;
}

static void
worker_fini(struct transfer_worker *w)
{
    remote_close(&w->source);
    remote_close(&w->target);
    remote_object_fini(&w->object);
    if (w->spool >= 0)
        close(w->spool);
    buf_fini(&w->why);
    buf_fini(&w->key);
    buf_fini(&w->upload_id);
}

/* ---- the whole ---- */

static void
on_signal(int signal_number)
{
    if (interrupted != 0) /* twice: at once */
        _exit(128 + signal_number);
    interrupted = 1;
}

static void
watch(struct transfer *t, int64_t started_ms)
{
    bool terminal = !t->c->json && isatty(STDERR_FILENO);
    int64_t drawn_ms = 0;
    lock_take(&t->lock);
    while (t->working > 0 || !t->planned_all) {
        lock_wait(&t->lock, &t->changed, clock_mono_ms() + DRAW_MS);
        if (interrupted != 0 && !atomic_load(&t->cancel))
            stop(t);
        if (t->closed_in_a_row >= AWAY_FAILURES_PER_JOB * t->jobs && !atomic_load(&t->cancel)) {
            t->away = true;
            stop(t);
        }
        int64_t now_ms = clock_mono_ms();
        if (terminal && now_ms - drawn_ms >= DRAW_MS) {
            draw(t, (double)(now_ms - started_ms) / 1000);
            drawn_ms = now_ms;
        }
    }
    lock_release(&t->lock);
}

static enum cli_exit
outcome(struct transfer *t)
{
    if (t->away) {
        cli_complain("a side cannot be reached any more; the same command goes on from here");
        return CLI_UNREACHABLE;
    }
    if (interrupted != 0) {
        cli_complain("interrupted; the same command goes on from here");
        return CLI_SOME_FAILED;
    }
    if (t->plan_err == ERR_CLOSED)
        return CLI_UNREACHABLE;
    return t->counts.failed > 0 || t->plan_err != ERR_NONE ? CLI_SOME_FAILED : CLI_DONE;
}

static void
run_threads(struct transfer *t, struct transfer_worker *workers, int64_t started_ms)
{
    pthread_t planner;
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    t->working = t->jobs;
    for (int i = 0; i < t->jobs; i++)
        CHK(pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]) == 0);
    CHK(pthread_create(&planner, NULL, planner_main, t) == 0);
    watch(t, started_ms);
    pthread_join(planner, NULL);
    for (int i = 0; i < t->jobs; i++)
        pthread_join(workers[i].thread, NULL);
    while (t->first != NULL) { /* stopped early */
        struct transfer_item *item = t->first;
        t->first = item->next;
        free(item);
    }
}

/* Before anything is said to be done. */
static bool
end_target(struct transfer *t)
{
    struct buf why;
    int err = ERR_NONE;
    buf_init(&why, CLI_WHY_MAX);
    if (t->target.ops->end != NULL && !t->dry_run)
        err = t->target.ops->end(&t->target, &why);
    if (err != ERR_NONE)
        cli_complain("%s: %s", t->target.said, why.n > 0 ? why.p : err_text(err));
    buf_fini(&why);
    return err == ERR_NONE;
}

enum cli_exit
transfer_run(struct transfer *t)
{
    int64_t started_ms = clock_mono_ms();
    enum cli_exit code = CLI_SOME_FAILED;
    struct buf why;
    struct transfer_worker *workers = chk_calloc((size_t)t->jobs, sizeof *workers);
    buf_init(&why, CLI_WHY_MAX);
    int err = ERR_NONE, count = 0;
    while (count < t->jobs && err == ERR_NONE)
        err = worker_init(&workers[count++], t, &why);
    if (err == ERR_NONE) {
        run_threads(t, workers, started_ms);
        bool durable = end_target(t);
        report(t, (double)(clock_mono_ms() - started_ms) / 1000);
        code = outcome(t);
        code = code == CLI_DONE && !durable ? CLI_SOME_FAILED : code;
    } else {
        cli_complain("%s", why.n > 0 ? why.p : err_text(err));
    }
    while (count > 0)
        worker_fini(&workers[--count]);
    free(workers);
    buf_fini(&why);
    return code;
}
