/*
 * Checksums of bytes that are already stored: a copy that shall have one its source has not. The
 * bytes go through a reader, so they are verified on the way; one thread takes one job after the
 * other, and what waits is bounded, so that copies slow each other down and nothing else.
 */
#include "base/chk.h"
#include "base/err.h"
#include "objectstore/store_priv.h"

#include <stdlib.h>

#define SUM_CHUNK (64u << 10)

struct sum {
    struct pool_job job;
    struct store *store;
    const struct store_object *object;
    int64_t offset, bytes;
    enum checksum checksum;
    store_summed_fn done;
    void *arg;
    struct buf text;
};

static int
sum_read(struct sum *sum, struct digester *d)
{
    char chunk[SUM_CHUNK];
    struct store_reader *r = NULL;
    int err = store_reader_open(sum->store, sum->object, sum->offset, sum->bytes, &r);
    if (err != ERR_NONE)
        return err;
    ptrdiff_t got;
    int64_t total = 0;
    while ((got = store_reader_read(r, chunk, sizeof chunk)) > 0) {
        digester_update(d, chunk, (size_t)got);
        total += got;
    }
    store_reader_close(&r);
    if (got < 0)
        return (int)got;
    return total == sum->bytes ? ERR_NONE : ERR_CORRUPT;
}

static void
sum_run(struct pool_job *job)
{
    struct sum *sum = CONTAINER_OF(job, struct sum, job);
    struct store *s = sum->store;
    struct digester *d = digester_new(0, sum->checksum);
    int err = d == NULL ? ERR_NOMEM : sum_read(sum, d);
    if (err == ERR_NONE) {
        digester_end(d);
        base64_encode(&sum->text, digester_checksum(d), checksum_bytes(sum->checksum));
        err = sum->text.err;
    }
    digester_free(&d);
    store_object_unref(&sum->object);
    atomic_fetch_sub(&s->sums, 1);
    sum->done(sum->arg, err, err == ERR_NONE ? sum->text.p : "");
    buf_fini(&sum->text);
    free(sum);
}

int
store_sum(struct store *s, const struct store_object *o, int64_t offset, int64_t bytes,
          enum checksum checksum, store_summed_fn done, void *arg)
{
    CHK_MAGIC(s, STORE_MAGIC);
    CHK(checksum != CHECKSUM_NONE);
    if (atomic_fetch_add(&s->sums, 1) >= STORE_SUMS_MAX) {
        atomic_fetch_sub(&s->sums, 1);
        return ERR_BUSY;
    }
    struct sum *sum = malloc(sizeof *sum);
    if (sum == NULL) {
        atomic_fetch_sub(&s->sums, 1);
        return ERR_NOMEM;
    }
    sum->job = (struct pool_job){.run = sum_run};
    sum->store = s;
    sum->object = store_object_ref(o);
    sum->offset = offset;
    sum->bytes = bytes;
    sum->checksum = checksum;
    sum->done = done;
    sum->arg = arg;
    buf_init(&sum->text, DIGEST_BASE64_MAX);
    pool_submit(s->sum_pool, &sum->job);
    return ERR_NONE;
}
