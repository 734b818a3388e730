/*
 * The memory of one worker that never is replaced: memory WORKER COUNT SECONDS PHOTO...
 *
 * Gives it COUNT photos, the listed ones in turn, with the default presets and the metadata
 * function, and looks at its resident size after each. Ends early after SECONDS. Prints a line of
 * JSON at the start, at every tenth of the way and at the end:
 *
 *   photos          so far
 *   answered        those with thumbnails made
 *   rss_bytes       after the last one
 *   rss_max_bytes   largest after any photo so far
 *   turn_bytes      largest in the last whole turn of the list: what a worker holds depends on the
 *                   photo it had last, so only whole turns compare
 */
#include "base/chk.h"
#include "base/clock.h"
#include "functions/preset.h"
#include "tests/bench/bench_worker.h"

#include <stdio.h>
#include <stdlib.h>

#define COUNT_MAX 1000000
#define REPORTS 10
#define ARENA_BYTES (4u << 20)

struct progress {
    long photos;
    long answered;
    int64_t rss_bytes;
    int64_t rss_max_bytes;
    int64_t turn_bytes;     /* of the last whole turn */
    int64_t turn_max_bytes; /* of this one so far */
};

static int64_t
larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static void
look(struct progress *p, const struct bench_worker *w, long turn)
{
    p->rss_bytes = bench_worker_rss_bytes(w);
    p->rss_max_bytes = larger(p->rss_bytes, p->rss_max_bytes);
    p->turn_max_bytes = larger(p->rss_bytes, p->turn_max_bytes);
    if (p->photos % turn == 0) {
        p->turn_bytes = p->turn_max_bytes;
        p->turn_max_bytes = 0;
    }
}

static void
report(const struct progress *p)
{
    printf("{\"photos\": %ld, \"answered\": %ld, \"rss_bytes\": %lld, \"turn_bytes\": %lld, "
           "\"rss_max_bytes\": %lld}\n",
           p->photos, p->answered, (long long)p->rss_bytes, (long long)p->turn_bytes,
           (long long)p->rss_max_bytes);
    fflush(stdout);
}

static void
one(struct progress *p, struct bench_worker *w, const char *path, struct slice presets)
{
    struct fn_result result;
    struct fn_call calls[] = {{SLICE_LIT("thumbnail"), presets},
                              {SLICE_LIT("metadata"), SLICE_NONE}};
    struct arena *a = arena_new(ARENA_BYTES);
    CHK(a != NULL);
    bench_worker_invoke(w, path, calls, ARRAY_LEN(calls), a, &result);
    p->answered += result.answers[0].status == FN_OK;
    p->photos++;
    fn_result_close(&result);
    arena_free(&a);
}

int
main(int argc, char **argv)
{
    struct bench_worker w;
    struct progress p = {0};
    struct preset_list defaults;
    struct buf presets;
    long count = argc < 5 ? 0 : strtol(argv[2], NULL, 10);
    long seconds = argc < 5 ? 0 : strtol(argv[3], NULL, 10);
    if (count < REPORTS || count > COUNT_MAX || seconds < 1)
        bench_die("usage", "memory WORKER COUNT(10...) SECONDS PHOTO...");
    buf_init(&presets, FN_CONFIG_MAX);
    preset_defaults(&defaults);
    preset_config_write(&defaults, false, &presets);
    bench_worker_start(&w, argv[1]);
    int64_t end_ms = clock_mono_ms() + seconds * 1000;
    look(&p, &w, argc - 4);
    report(&p);
    while (p.photos < count && clock_mono_ms() < end_ms) {
        one(&p, &w, argv[4 + p.photos % (argc - 4)], buf_slice(&presets));
        look(&p, &w, argc - 4);
        if (p.photos % (count / REPORTS) == 0)
            report(&p);
    }
    if (p.photos < count)
        report(&p);
    bench_worker_stop(&w);
    buf_fini(&presets);
    return EXIT_SUCCESS;
}
