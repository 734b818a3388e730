/*
 * A rig with the real worker program. Workers are stopped with SIGSTOP to hold an invocation open
 * while the world changes around it.
 */
#ifndef DARKROOM_TESTS_PIPELINE_RIG_WORKERS_H
#define DARKROOM_TESTS_PIPELINE_RIG_WORKERS_H

#include "tests/pipeline/rig.h"

#include <limits.h>
#include <signal.h>

static char worker_path[PATH_MAX];

static RIG_UNUSED bool
find_worker(void)
{
    static const char *const places[] = {"/../../darkroom-worker", "/../../../../darkroom-worker"};
    char here[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", here, sizeof here - 1);
    if (n <= 0)
        return false;
    here[n] = '\0';
    *strrchr(here, '/') = '\0';
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        char joined[PATH_MAX + 64];
        snprintf(joined, sizeof joined, "%s%s", here, places[i]);
        if (realpath(joined, worker_path) != NULL && access(worker_path, X_OK) == 0)
            return true;
    }
    return false;
}

static RIG_UNUSED int
setup(void **state)
{
    struct rig *r = chk_calloc(1, sizeof *r);
    *state = r;
    if (worker_path[0] == '\0' && !find_worker()) {
        printf("no darkroom-worker beside the tests: build it first\n");
        free(r);
        *state = NULL;
        return 0;
    }
    rig_open(r, worker_path);
    rig_full_bucket(r, "photos");
    rig_start(r);
    return 0;
}

static RIG_UNUSED int
teardown(void **state)
{
    struct rig *r = *state;
    if (r == NULL)
        return 0;
    rig_close(r);
    free(r);
    return 0;
}

/* ---- conditions ---- */

static RIG_UNUSED struct dispatch_state *
snapshot(struct rig *r)
{
    static struct dispatch_state s;
    dispatch_snapshot(pipeline_dispatch(r->pipeline), &s);
    return &s;
}

static RIG_UNUSED bool
all_idle(struct rig *r, void *arg)
{
    (void)arg;
    struct dispatch_state *s = snapshot(r);
    for (size_t i = 0; i < s->workers.worker_count; i++) {
        if (s->workers.workers[i].state != WORKER_IDLE)
            return false;
    }
    return s->workers.worker_count == 2;
}

static RIG_UNUSED bool
one_running(struct rig *r, void *arg)
{
    (void)arg;
    return snapshot(r)->running_count > 0;
}

static RIG_UNUSED void
signal_workers(struct rig *r, int signum)
{
    struct dispatch_state *s = snapshot(r);
    for (size_t i = 0; i < s->workers.worker_count; i++) {
        if (s->workers.workers[i].pid > 0)
            kill((pid_t)s->workers.workers[i].pid, signum);
    }
}

static RIG_UNUSED void
kill_the_running_one(struct rig *r)
{
    struct dispatch_state *s = snapshot(r);
    for (size_t i = 0; i < s->workers.worker_count; i++) {
        const struct runtime_worker_view *w = &s->workers.workers[i];
        bool runs = w->state == WORKER_ADMITTING || w->state == WORKER_RUNNING;
        kill((pid_t)w->pid, runs ? SIGKILL : SIGCONT);
    }
}

#define NEED_WORKER(r)   \
    do {                 \
        if ((r) == NULL) \
            skip();      \
    } while (0)

#endif
