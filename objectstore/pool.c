#include "objectstore/pool.h"
#include "base/chk.h"
#include "base/lock.h"

#include <stdlib.h>

#define POOL_MAGIC 0x90010001u
#define POOL_THREADS_MAX 8

struct pool {
    uint32_t magic;
    int threads;
    pthread_t ids[POOL_THREADS_MAX];
    void (*leave)(void *arg);
    void *arg;
    struct lock lock; /* guards the rest */
    pthread_cond_t wake;
    struct pool_job *head, **tail;
    int running;
    bool closing;
};

/* The next job; NULL when the pool closes and nothing can come any more. */
static struct pool_job *
job_take(struct pool *p)
{
    while (p->head == NULL && !(p->closing && p->running == 0))
        lock_wait(&p->lock, &p->wake, -1);
    struct pool_job *job = p->head;
    if (job != NULL) {
        p->head = job->next;
        if (p->head == NULL)
            p->tail = &p->head;
        p->running++;
    }
    return job;
}

static void *
pool_main(void *arg)
{
    struct pool *p = arg;
    struct pool_job *job;
    lock_take(&p->lock);
    while ((job = job_take(p)) != NULL) {
        lock_release(&p->lock);
        job->run(job);
        lock_take(&p->lock);
        p->running--;
        if (p->closing && p->running == 0)
            pthread_cond_broadcast(&p->wake);
    }
    lock_release(&p->lock);
    p->leave(p->arg);
    return NULL;
}

struct pool *
pool_new(int threads, void (*leave)(void *arg), void *arg)
{
    CHK(threads > 0 && threads <= POOL_THREADS_MAX);
    struct pool *p = chk_calloc(1, sizeof *p);
    *p = (struct pool){.magic = POOL_MAGIC, .threads = threads, .leave = leave, .arg = arg};
    p->tail = &p->head;
    lock_init(&p->lock, LOCK_RANK_SYNC);
    lock_cond_init(&p->wake);
    for (int i = 0; i < threads; i++)
        CHK(pthread_create(&p->ids[i], NULL, pool_main, p) == 0);
    return p;
}

void
pool_free(struct pool **pp)
{
    struct pool *p = *pp;
    *pp = NULL;
    if (p == NULL)
        return;
    CHK_MAGIC(p, POOL_MAGIC);
    lock_take(&p->lock);
    p->closing = true;
    pthread_cond_broadcast(&p->wake);
    lock_release(&p->lock);
    for (int i = 0; i < p->threads; i++)
        CHK(pthread_join(p->ids[i], NULL) == 0);
    CHK(p->head == NULL);
    pthread_cond_destroy(&p->wake);
    lock_fini(&p->lock);
    p->magic = 0;
    free(p);
}

void
pool_submit(struct pool *p, struct pool_job *job)
{
    CHK_MAGIC(p, POOL_MAGIC);
    job->next = NULL;
    lock_take(&p->lock);
    *p->tail = job;
    p->tail = &job->next;
    pthread_cond_signal(&p->wake);
    lock_release(&p->lock);
}
