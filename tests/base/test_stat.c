/* Statistics as Prometheus reads them: buckets, labelled series, and many threads at once. */
#include "base/clock.h"
#include "base/stat.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define THREADS 8
#define ROUNDS 20000
#define WORDS 40

/* What stands behind this name and labels; -1: no such line. */
static double
shown(const char *series)
{
    struct buf text;
    char line[256];
    double value = -1;
    buf_init(&text, 1u << 20);
    stat_render(&text);
    assert_int_equal(text.err, 0);
    snprintf(line, sizeof line, "\ndarkroom_%s ", series);
    const char *at = strstr(text.p, line);
    if (at != NULL) {
        value = strtod(at + strlen(line), NULL);
        assert_null(strstr(at + 1, line)); /* once */
    }
    buf_fini(&text);
    return value;
}

static void
check(const char *series, double want)
{
    double got = shown(series);
    if (got < want - 1e-9 || got > want + 1e-9)
        fail_msg("%s is %f, not %f", series, got, want);
}

static void
test_kinds(void **state)
{
    (void)state;
    STAT_ADD(objects_put_total, 3);
    check("objects_put_total", 3);
    STAT_SET(http_connections, 5);
    STAT_DEC(http_connections);
    check("http_connections", 4);
    STAT_SET(queue_followup, 7);
    check("queue_events{lane=\"followup\"}", 7);
    STAT_ADD(invocation_us, 1234567);
    check("invocation_seconds_total", 1.234567);
    check("queue_oldest_age_seconds{lane=\"batch\"}", 0);
    STAT_SET(queue_oldest_batch, clock_wall_ms() - 60000);
    double age = shown("queue_oldest_age_seconds{lane=\"batch\"}");
    assert_true(age >= 60 && age < 90);
    STAT_SET(queue_oldest_batch, clock_wall_ms() + 60000); /* the clock was set back */
    check("queue_oldest_age_seconds{lane=\"batch\"}", 0);
}

/* A bound belongs to its bucket (le), and buckets add up. */
static void
test_histogram(void **state)
{
    (void)state;
    const int64_t us[] = {-5, 0, 100, 101, 1000, 3600000000, 3600000001};
    for (size_t i = 0; i < sizeof us / sizeof us[0]; i++)
        stat_observe_us(HISTOGRAM_stage_commit, us[i]);
    check("stage_duration_seconds_bucket{stage=\"commit\",le=\"0.0001\"}", 3);
    check("stage_duration_seconds_bucket{stage=\"commit\",le=\"0.00025\"}", 4);
    check("stage_duration_seconds_bucket{stage=\"commit\",le=\"0.0005\"}", 4);
    check("stage_duration_seconds_bucket{stage=\"commit\",le=\"0.001\"}", 5);
    check("stage_duration_seconds_bucket{stage=\"commit\",le=\"300\"}", 5);
    check("stage_duration_seconds_bucket{stage=\"commit\",le=\"3600\"}", 6);
    check("stage_duration_seconds_bucket{stage=\"commit\",le=\"+Inf\"}", 7);
    check("stage_duration_seconds_count{stage=\"commit\"}", 7);
    check("stage_duration_seconds_sum{stage=\"commit\"}", 7200.001202);
    check("stage_duration_seconds_count{stage=\"queued\"}", 0);
    stat_observe_us(HISTOGRAM_db_sync, 2000000);
    check("db_sync_seconds_bucket{le=\"1\"}", 0);
    check("db_sync_seconds_bucket{le=\"2.5\"}", 1);
    check("db_sync_seconds_sum", 2);
}

static char words[WORDS][16];

static void *
count_all(void *arg)
{
    unsigned at = (unsigned)(uintptr_t)arg;
    for (int i = 0; i < ROUNDS; i++)
        stat_count(FAMILY_attempts, words[(at + (unsigned)i) % WORDS], "w", "");
    return NULL;
}

/* Threads that meet new words at the same time make one series of each, and lose no count. */
static void
test_family_threads(void **state)
{
    pthread_t threads[THREADS];
    double sum = 0;
    (void)state;
    for (int i = 0; i < WORDS; i++)
        snprintf(words[i], sizeof words[i], "w%d", i);
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_all, (void *)i), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < WORDS; i++) {
        char series[512];
        snprintf(series, sizeof series, "attempts_total{outcome=\"%.15s\",reason=\"w\"}", words[i]);
        sum += shown(series);
    }
    assert_int_equal((int)sum, THREADS * ROUNDS);
}

/* The same words from another place in memory are the same series; other families are others. */
static void
test_family_words(void **state)
{
    char copy[] = "PutObject";
    (void)state;
    stat_count(FAMILY_http_responses, "s3", "PutObject", "2xx");
    stat_count(FAMILY_http_responses, "s3", copy, "2xx");
    stat_count(FAMILY_http_responses, "s3", "PutObject", "5xx");
    stat_count(FAMILY_attempts, "s3", "PutObject", "2xx");
    check("http_responses_total{service=\"s3\",operation=\"PutObject\",code=\"2xx\"}", 2);
    check("http_responses_total{service=\"s3\",operation=\"PutObject\",code=\"5xx\"}", 1);
}

static void
test_family_full(void **state)
{
    static char many[2 * STAT_SERIES_MAX][16];
    (void)state;
    for (int i = 0; i < 2 * STAT_SERIES_MAX; i++) {
        snprintf(many[i], sizeof many[i], "m%d", i);
        stat_count(FAMILY_http_responses, "many", many[i], "2xx");
    }
    stat_count(FAMILY_http_responses, "many", many[0], "2xx"); /* has its own since before */
    check("http_responses_total{service=\"many\",operation=\"m0\",code=\"2xx\"}", 2);
    double other =
        shown("http_responses_total{service=\"other\",operation=\"other\",code=\"other\"}");
    assert_true(other >= STAT_SERIES_MAX && other < 2 * STAT_SERIES_MAX);
    stat_count(FAMILY_attempts, "late", "", "");
    check("attempts_total{outcome=\"other\",reason=\"other\"}", 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),          cmocka_unit_test(test_histogram),
        cmocka_unit_test(test_family_threads), cmocka_unit_test(test_family_words),
        cmocka_unit_test(test_family_full), /* last: the room stays full */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
