/*
 * One darkroom-worker driven directly, as the server does it: the same program, arguments, messages
 * and sandbox, without server and queue, so that what is measured is the image work. One thread.
 */
#ifndef DARKROOM_TESTS_BENCH_BENCH_WORKER_H
#define DARKROOM_TESTS_BENCH_BENCH_WORKER_H

#include "functions/fn.h"

#include <sys/types.h>

struct bench_worker {
    pid_t pid;
    int sock;
    int64_t last_id;
    struct wire_reader reader;
};

/* Starts `program` and hears its hello; ends this process with a message when that fails. */
void bench_worker_start(struct bench_worker *w, const char *program);
/* One invocation of the functions on the file. The result's texts are in `a`; fn_result_close() is
 * the caller's. Ends this process when the worker does not answer. */
void bench_worker_invoke(struct bench_worker *w, const char *path, const struct fn_call *calls,
                         size_t call_count, struct arena *a, struct fn_result *result);
/* Once it waits for the next request. */
int64_t bench_worker_rss_bytes(const struct bench_worker *w);
/* Processor time of the worker so far, once it waits for the next request. */
int64_t bench_worker_cpu_us(const struct bench_worker *w);
/* Closes the socket, which ends the worker, and collects it. */
void bench_worker_stop(struct bench_worker *w);

/* Processor time of this process so far. */
int64_t bench_cpu_us(void);
/* For a program of this kind: the message and exit code 1. */
_Noreturn void bench_die(const char *what, const char *detail);

#endif
