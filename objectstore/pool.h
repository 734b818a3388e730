/*
 * A few threads that run jobs in the order they came: what must wait for the disk goes here.
 */
#ifndef DARKROOM_OBJECTSTORE_POOL_H
#define DARKROOM_OBJECTSTORE_POOL_H

struct pool;

/* Embedded in the caller's struct; may be submitted again once run() has been entered. */
struct pool_job {
    void (*run)(struct pool_job *job);
    struct pool_job *next; /* the queue's */
};

/* `leave` is called by each thread before it ends. */
struct pool *pool_new(int threads, void (*leave)(void *arg), void *arg);
/* Runs what is queued, also what these jobs submit, then ends the threads. */
void pool_free(struct pool **p);
/* Any thread. The queue is bounded by what the jobs are embedded in. */
void pool_submit(struct pool *p, struct pool_job *job);

#endif
