/*
 * db_call(): an op inside an op, so that the caller's done() still runs on the writer thread before
 * the waiting thread goes on.
 */
#include "base/chk.h"
#include "base/db.h"
#include "base/err.h"

#include <pthread.h>

struct call {
    struct db_op op;
    struct db_op *inner;
    pthread_mutex_t mutex;
    pthread_cond_t ended;
    bool has_ended;
    int err;
};

static int
call_apply(struct db_op *op, struct db_conn *conn)
{
    struct call *c = CONTAINER_OF(op, struct call, op);
    return c->inner->apply(c->inner, conn);
}

static void
call_done(struct db_op *op, int err)
{
    struct call *c = CONTAINER_OF(op, struct call, op);
    if (c->inner->done != NULL)
        c->inner->done(c->inner, err);
    pthread_mutex_lock(&c->mutex);
    c->err = err;
    c->has_ended = true;
    pthread_cond_signal(&c->ended);
    pthread_mutex_unlock(&c->mutex);
}

int
db_call(struct db *db, struct db_op *inner)
{
    struct call c = {.inner = inner,
                     .op = {.apply = call_apply,
                            .done = call_done,
                            .bytes = inner->bytes,
                            .urgent = inner->urgent},
                     .mutex = PTHREAD_MUTEX_INITIALIZER,
                     .ended = PTHREAD_COND_INITIALIZER};
    int err = db_submit(db, &c.op);
    if (err != ERR_NONE)
        return err;
    pthread_mutex_lock(&c.mutex);
    while (!c.has_ended)
        pthread_cond_wait(&c.ended, &c.mutex);
    pthread_mutex_unlock(&c.mutex);
    return c.err;
}
