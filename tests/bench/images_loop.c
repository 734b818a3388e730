/*
 * The presets as plainly as libvips makes them, on all cores:  images_loop PROCESSES ROUNDS
 * PHOTO...
 *
 * Every process takes the next photo from the common list until ROUNDS turns of it are done: one
 * decode to the largest size, the two smaller ones of that, WebP at the quality and effort of ours.
 * Nothing is kept, checked, looked up or confined. Prints {"wall_us", "cpu_us"} as JSON: from the
 * moment all processes are warm to the end of the last.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "tests/bench/bench_worker.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vips/vips.h>

#define QUALITY 80
#define EFFORT 2
#define PROCESSES_MAX 256

struct common { /* shared memory */
    atomic_long next;
    atomic_llong cpu_us;
};

static void
save(VipsImage *im)
{
    void *bytes = NULL;
    size_t n = 0;
    if (vips_webpsave_buffer(im, &bytes, &n, "Q", QUALITY, "effort", EFFORT, "strip", TRUE, NULL))
        bench_die("webpsave", vips_error_buffer());
    g_free(bytes);
}

static void
one(const char *path)
{
    VipsImage *lazy, *large, *medium, *small;
    if (vips_thumbnail(path, &lazy, 1600, "height", 1600, "size", VIPS_SIZE_DOWN, NULL) != 0 ||
        (large = vips_image_copy_memory(lazy)) == NULL ||
        vips_thumbnail_image(large, &medium, 640, "height", 640, "size", VIPS_SIZE_DOWN, NULL) ||
        vips_thumbnail_image(large, &small, 160, "height", 160, "crop", VIPS_INTERESTING_CENTRE,
                             NULL) != 0)
        bench_die(path, vips_error_buffer());
    save(large);
    save(medium);
    save(small);
    g_object_unref(small);
    g_object_unref(medium);
    g_object_unref(large);
    g_object_unref(lazy);
}

static _Noreturn void
loop(struct common *common, int ready, int go, long todo, char **paths, long count)
{
    char byte = 0;
    if (VIPS_INIT("images_loop") != 0)
        bench_die("libvips", "does not start");
    vips_concurrency_set(1);
    vips_cache_set_max(0);
    one(paths[0]);
    int64_t before_us = bench_cpu_us();
    CHK(write(ready, &byte, 1) == 1 && read(go, &byte, 1) == 0); /* closed: off */
    for (long i; (i = atomic_fetch_add(&common->next, 1)) < todo;)
        one(paths[i % count]);
    atomic_fetch_add(&common->cpu_us, bench_cpu_us() - before_us);
    _exit(EXIT_SUCCESS);
}

int
main(int argc, char **argv)
{
    int ready[2], go[2], status;
    char byte;
    long processes = argc < 4 ? 0 : strtol(argv[1], NULL, 10);
    long rounds = argc < 4 ? 0 : strtol(argv[2], NULL, 10), count = argc - 3;
    if (processes < 1 || processes > PROCESSES_MAX || rounds < 1)
        bench_die("usage", "images_loop PROCESSES ROUNDS PHOTO...");
    struct common *common =
        mmap(NULL, sizeof *common, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHK(common != MAP_FAILED && pipe(ready) == 0 && pipe(go) == 0);
    for (long i = 0; i < processes; i++) {
        pid_t pid = fork();
        CHK(pid >= 0);
        if (pid == 0) {
            close(go[1]);
            loop(common, ready[1], go[0], rounds * count, argv + 3, count);
        }
    }
    close(ready[1]);
    for (long i = 0; i < processes; i++)
        if (read(ready[0], &byte, 1) != 1)
            bench_die("a process", "ended early");
    int64_t began_us = clock_mono_us();
    close(go[1]);
    for (long i = 0; i < processes; i++)
        if (wait(&status) < 0 || status != 0)
            bench_die("a process", "failed");
    printf("{\"wall_us\": %lld, \"cpu_us\": %lld}\n", (long long)(clock_mono_us() - began_us),
           (long long)atomic_load(&common->cpu_us));
    return EXIT_SUCCESS;
}
