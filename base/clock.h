/*
 * The only place that asks the system for the time. Any thread.
 */
#ifndef DARKROOM_BASE_CLOCK_H
#define DARKROOM_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

/* Milliseconds since 1970-01-01 UTC. Tests may move it with clock_shift_wall(). */
int64_t clock_wall_ms(void);
/* Never goes backward; for deadlines and durations. */
int64_t clock_mono_ms(void);
int64_t clock_mono_us(void);
/* Processor time, user and system, of this process, all threads; of another one (`pid` not yet
 * collected, a zombie too), -1 when it cannot be told. Finer than the kernel's ticks. */
int64_t clock_cpu_us(void);
int64_t clock_cpu_us_of(int64_t pid);

/* Tests only: adds `ms` to what clock_wall_ms() returns from now on. */
void clock_shift_wall(int64_t ms);

#define CLOCK_TEXT_MAX 80
/* "2026-01-31T12:00:00.000Z" (S3 XML, event JSON). */
void clock_iso8601(int64_t wall_ms, char out[CLOCK_TEXT_MAX]);
/* "20260131T120000Z" (SigV4). */
void clock_basic(int64_t wall_ms, char out[CLOCK_TEXT_MAX]);
/* "Sat, 31 Jan 2026 12:00:00 GMT" (RFC 9110 section 5.6.7). */
void clock_http(int64_t wall_ms, char out[CLOCK_TEXT_MAX]);
/* Reads any of the three RFC 9110 date forms, the two ISO forms above (fraction optional), NUL-
 * terminated text. ERR_INVALID when it is none of them. */
int clock_parse(const char *text, int64_t *wall_ms);
/* The dashed ISO form alone, as it stands in XML; a day without a time is its midnight UTC.
 * ERR_INVALID. */
int clock_parse_iso(const char *p, size_t n, int64_t *wall_ms);

#endif
