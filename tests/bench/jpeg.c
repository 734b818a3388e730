/*
 * Processor time of a JPEG thumbnail of SIDE pixels: a warm worker against the floor of
 * floor_jpeg.h, both on each photo in turn:  jpeg WORKER ROUNDS PHOTO...
 *
 * Prints a line of JSON for every photo: worker_us (thumbnail alone), both_us (with the metadata
 * function), floor_us, all medians of ROUNDS, and the bytes each made.
 */
#include "base/chk.h"
#include "functions/preset.h"
#include "tests/bench/bench_worker.h"
#include "tests/bench/floor_jpeg.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIDE 256
#define QUALITY 80
#define ROUNDS_MAX 99
#define ARENA_BYTES (4u << 20)

struct photo {
    const char *path;
    struct slice bytes;
};

static void
photo_open(struct photo *p, const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0)
        bench_die("cannot open", path);
    void *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    close(fd);
    if (bytes == MAP_FAILED)
        bench_die("cannot map", path);
    *p = (struct photo){path, slice_of(bytes, (size_t)st.st_size)};
}

static int64_t
worker_us(struct bench_worker *w, const char *path, struct slice preset, size_t functions,
          int64_t *bytes)
{
    struct fn_result result;
    struct fn_call calls[] = {{SLICE_LIT("thumbnail"), preset},
                              {SLICE_LIT("metadata"), SLICE_NONE}};
    struct arena *a = arena_new(ARENA_BYTES);
    CHK(a != NULL && functions <= ARRAY_LEN(calls));
    bench_worker_invoke(w, path, calls, functions, a, &result);
    if (result.answers[0].status != FN_OK || result.answers[0].output_count != 1)
        bench_die("worker made no thumbnail of", path);
    *bytes = result.answers[0].outputs[0].bytes;
    int64_t cpu_us = result.decode.cpu_us;
    for (size_t i = 0; i < result.answer_count; i++)
        cpu_us += result.answers[i].cost.cpu_us;
    fn_result_close(&result);
    arena_free(&a);
    return cpu_us;
}

static int64_t
floor_us(const struct photo *p, int64_t *bytes)
{
    int64_t before = bench_cpu_us();
    *bytes = (int64_t)floor_jpeg(p->bytes, SIDE, QUALITY);
    if (*bytes == 0)
        bench_die("libjpeg-turbo cannot read", p->path);
    return bench_cpu_us() - before;
}

static int
by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static long long
median(int64_t *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, by_value);
    return (long long)values[n / 2];
}

static void
measure(struct bench_worker *w, const char *path, struct slice preset, int rounds)
{
    int64_t alone[ROUNDS_MAX], both[ROUNDS_MAX], least[ROUNDS_MAX];
    int64_t ours = 0, theirs = 0;
    struct photo p;
    photo_open(&p, path);
    worker_us(w, path, preset, 1, &ours); /* warm caches for all three */
    for (int i = 0; i < rounds; i++) {
        least[i] = floor_us(&p, &theirs);
        both[i] = worker_us(w, path, preset, 2, &ours);
        alone[i] = worker_us(w, path, preset, 1, &ours);
    }
    printf("{\"worker_us\": %lld, \"both_us\": %lld, \"floor_us\": %lld, \"worker_bytes\": %lld, "
           "\"floor_bytes\": %lld}\n",
           median(alone, rounds), median(both, rounds), median(least, rounds), (long long)ours,
           (long long)theirs);
    munmap((void *)p.bytes.p, p.bytes.n);
}

int
main(int argc, char **argv)
{
    struct bench_worker w;
    struct buf preset;
    struct preset_list one = {.presets = {{.name = "floor",
                                           .width = SIDE,
                                           .height = SIDE,
                                           .fit = PRESET_INSIDE,
                                           .format = PRESET_JPEG,
                                           .quality = QUALITY}},
                              .count = 1};
    long rounds = argc < 4 ? 0 : strtol(argv[2], NULL, 10);
    if (rounds < 1 || rounds > ROUNDS_MAX)
        bench_die("usage", "jpeg WORKER ROUNDS(1..99) PHOTO...");
    buf_init(&preset, FN_CONFIG_MAX);
    preset_config_write(&one, false, &preset);
    bench_worker_start(&w, argv[1]);
    for (int i = 3; i < argc; i++)
        measure(&w, argv[i], buf_slice(&preset), (int)rounds);
    bench_worker_stop(&w);
    buf_fini(&preset);
    return EXIT_SUCCESS;
}
