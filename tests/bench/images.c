/*
 * Thumbnails of one photo by several roads, one request at a time:  images WORKER
 *
 * Every line of standard input asks for one thing and is answered by a line of JSON:
 *
 *   worker FORMAT SIDES PATH   by a warm, confined worker, and its answer checked
 *   plain FORMAT SIDES PATH    by the same calls in this process
 *   floor jpeg SIDE PATH       by libjpeg-turbo alone (floor_jpeg.h)
 *   look SIDES PREFIX PATH     what plain would encode, as PREFIX-ours-0.png, and what a full
 * decode and one lanczos3 give, as PREFIX-full-0.png, and so on for each side
 *
 * SIDES is "1024,512": boxes in which the picture fits; "160c" is a box that it covers. cpu_us is
 * processor time of all that took part, wall_us the time until the answer was checked.
 */
#include "functions/preset_priv.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fsio.h"
#include "tests/bench/bench_worker.h"
#include "tests/bench/floor_jpeg.h"
#include "tests/bench/images_plain.h"

#include <stdio.h>
#include <stdlib.h>

#define LINE_BYTES_MAX 4096
#define QUALITY 80
#define ARENA_BYTES (4u << 20)

/* What one road took for one photo. */
struct cost {
    int64_t cpu_us, wall_us;
    int64_t bytes[PRESETS_MAX];
    size_t count;
};

static struct slice
next_word(struct slice *line)
{
    struct slice rest, word = slice_cut(*line, ' ', &rest);
    *line = rest;
    return word;
}

static void
read_presets(struct slice sides, int format, struct preset_list *list)
{
    *list = (struct preset_list){0};
    while (sides.n > 0 && list->count < PRESETS_MAX) {
        struct slice word = slice_cut(sides, ',', &sides);
        struct preset *p = &list->presets[list->count++];
        bool cover = word.n > 0 && word.p[word.n - 1] == 'c';
        uint64_t side = 0;
        word.n -= cover;
        if (slice_to_u64(word, &side) != ERR_NONE || side < 1 || side > PRESET_SIDE_MAX)
            bench_die("not a side", word.p);
        snprintf(p->name, sizeof p->name, "s%zu", list->count);
        p->width = p->height = (int)side;
        p->fit = cover ? PRESET_COVER : PRESET_INSIDE;
        p->format = (enum preset_format)format;
        p->quality = QUALITY;
    }
}

/* ---- roads ---- */

static void
by_worker(struct bench_worker *w, const struct preset_list *list, const char *path, struct cost *c)
{
    struct fn_result result;
    struct buf config;
    struct arena *a = arena_new(ARENA_BYTES);
    buf_init(&config, FN_CONFIG_MAX);
    CHK(a != NULL);
    preset_config_write(list, false, &config);
    struct fn_call call = {SLICE_LIT("thumbnail"), buf_slice(&config)};
    int64_t worker_us = bench_worker_cpu_us(w), own_us = bench_cpu_us();
    int64_t wall_us = clock_mono_us();
    bench_worker_invoke(w, path, &call, 1, a, &result);
    const struct fn_answer *answer = &result.answers[0];
    if (answer->status != FN_OK || answer->output_count != list->count)
        bench_die("worker made no thumbnails of", path);
    for (c->count = 0; c->count < answer->output_count; c->count++)
        c->bytes[c->count] = answer->outputs[c->count].bytes;
    fn_result_close(&result);
    c->wall_us = clock_mono_us() - wall_us;
    c->cpu_us = bench_cpu_us() - own_us; /* now: waiting for the worker to rest costs some, too */
    c->cpu_us += bench_worker_cpu_us(w) - worker_us;
    buf_fini(&config);
    arena_free(&a);
}

static void
by_plain_calls(const struct preset_list *list, const char *path, struct cost *c)
{
    struct image_output made[PRESETS_MAX];
    int64_t cpu_us = bench_cpu_us(), wall_us = clock_mono_us();
    plain_thumbnails(path, list, made);
    for (c->count = 0; c->count < list->count; c->count++) {
        c->bytes[c->count] = (int64_t)made[c->count].bytes.n;
        image_output_free(&made[c->count]);
    }
    c->wall_us = clock_mono_us() - wall_us;
    image_idle();
    c->cpu_us = bench_cpu_us() - cpu_us;
}

static void
by_floor(const struct preset_list *list, const char *path, struct cost *c)
{
    struct plain_file f;
    int64_t cpu_us = bench_cpu_us(), wall_us = clock_mono_us();
    plain_open(&f, path);
    c->count = 1;
    c->bytes[0] = (int64_t)floor_jpeg(f.bytes, list->presets[0].width, QUALITY);
    plain_close(&f);
    c->wall_us = clock_mono_us() - wall_us;
    c->cpu_us = bench_cpu_us() - cpu_us;
    if (c->bytes[0] == 0)
        bench_die("libjpeg-turbo cannot read", path);
}

/* ---- pictures to look at ---- */

static void
write_png(struct slice prefix, const char *kind, size_t i, struct image_output *made)
{
    char path[LINE_BYTES_MAX + 64];
    snprintf(path, sizeof path, "%.*s-%s-%zu.png", SLICE_FMT(prefix), kind, i);
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(made->bytes.p, 1, made->bytes.n, f) != made->bytes.n || fclose(f) != 0)
        bench_die("cannot write", path);
    image_output_free(made);
}

static void
look(struct slice line)
{
    struct preset_list list;
    struct image_output made[PRESETS_MAX];
    read_presets(next_word(&line), PRESET_PNG, &list);
    struct slice prefix = next_word(&line);
    plain_thumbnails(line.p, &list, made);
    for (size_t i = 0; i < list.count; i++)
        write_png(prefix, "ours", i, &made[i]);
    for (size_t i = 0; i < list.count; i++) {
        plain_reference(line.p, &list.presets[i], &made[0]);
        write_png(prefix, "full", i, &made[0]);
    }
    printf("{\"count\": %zu}\n", list.count);
}

/* ---- requests ---- */

static void
answer(const struct cost *c)
{
    printf("{\"cpu_us\": %lld, \"wall_us\": %lld, \"bytes\": [", (long long)c->cpu_us,
           (long long)c->wall_us);
    for (size_t i = 0; i < c->count; i++)
        printf("%s%lld", i == 0 ? "" : ", ", (long long)c->bytes[i]);
    printf("]}\n");
}

static void
serve(struct bench_worker *w, struct slice line)
{
    struct cost c = {0};
    struct preset_list list;
    struct slice road = next_word(&line);
    if (slice_eqs(road, "look")) {
        look(line);
        return;
    }
    int format = preset_choice(preset_format_names, next_word(&line));
    if (format < 0)
        bench_die("not a format in", road.p);
    read_presets(next_word(&line), format, &list);
    if (slice_eqs(road, "worker"))
        by_worker(w, &list, line.p, &c);
    else if (slice_eqs(road, "plain"))
        by_plain_calls(&list, line.p, &c);
    else if (slice_eqs(road, "floor"))
        by_floor(&list, line.p, &c);
    else
        bench_die("not a road", road.p);
    answer(&c);
}

int
main(int argc, char **argv)
{
    char line[LINE_BYTES_MAX];
    struct bench_worker w;
    if (argc != 2)
        bench_die("usage", "images WORKER, and requests on standard input");
    bench_worker_start(&w, argv[1]);
    plain_start();
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        serve(&w, slice_str(line));
        fflush(stdout);
    }
    bench_worker_stop(&w);
    return EXIT_SUCCESS;
}
