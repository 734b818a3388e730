/*
 * One line per fact on standard error: time, level, event, then key=value pairs. Secrets and
 * object bytes are never logged; keys and other foreign text go through log_quote().
 *
 *   2026-01-31T12:00:00.000Z info s3_committed request_id=01F3 bucket=photos key="a b.jpg" bytes=12
 *
 * or, the same as JSON:
 *
 *   {"time":"2026-01-31T12:00:00.000Z","level":"info","event":"s3_committed","request_id":"01F3",
 *    "bucket":"photos","key":"a b.jpg","bytes":12}
 *
 * What is about an S3 request names it, request_id=ID: the PUT, the invocations of its event, their
 * REPORT, the commit of their results.
 *
 * Any thread; a line is one write(2), so that a log file which was renamed (rotated) and opened
 * anew has lost none and torn none.
 */
#ifndef DARKROOM_BASE_LOG_H
#define DARKROOM_BASE_LOG_H

#include "base/slice.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

void log_set_level(enum log_level level);
/* "debug" "info" "warn" "error"; ERR_INVALID for anything else. */
int log_level_parse(const char *text, enum log_level *level);
bool log_enabled(enum log_level level);
void log_set_json(bool json);

/* Appends to this file (0640 when made) from now on, instead of standard error. An errno value, or
 * 0. Before other threads are made. */
int log_to_file(const char *path);
/* Opens a file of that name anew: the old one was renamed. Where that fails the old one goes on,
 * and is told so. One thread. */
void log_reopen(void);

#define LOG_LINE_MAX 2048 /* bytes; a longer line is cut */

/* `event` is a snake_case word, but for Lambda's REPORT; `fmt` makes the key=value pairs and may be
 * "". */
void log_line(enum log_level level, const char *event, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define LOG_QUOTE_MAX 256
/* Makes foreign text safe for one log line: quoted, \xNN for control bytes, cut at the maximum.
 * Returns `out`. */
const char *log_quote(struct slice text, char out[LOG_QUOTE_MAX]);

#endif
