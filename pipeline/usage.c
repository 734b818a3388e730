/*
 * The table: rows are added to, and their number is bounded by a count per day that stands beside
 * it, so that no result has to look for it.
 */
#include "pipeline/usage.h"
#include "base/chk.h"
#include "base/err.h"

#define DAY_MS ((int64_t)24 * 3600 * 1000)

int64_t
usage_day(int64_t wall_ms)
{
    return wall_ms / DAY_MS;
}

/* ---- adding ---- */

struct row {
    int64_t day;
    struct slice bucket, prefix;
    const struct usage_part *part;
};

static void
bind_row(struct db_stmt *s, const struct row *r)
{
    const struct usage_sums *u = &r->part->sums;
    db_bind_int(s, 1, r->day);
    db_bind_text(s, 2, r->bucket);
    db_bind_blob(s, 3, r->prefix);
    db_bind_text(s, 4, r->part->function);
    db_bind_text(s, 5, r->part->preset);
    db_bind_int(s, 6, u->invocations);
    db_bind_int(s, 7, u->pictures);
    db_bind_int(s, 8, u->cpu_us);
    db_bind_int(s, 9, u->mb_ms);
    db_bind_int(s, 10, u->bytes_in);
    db_bind_int(s, 11, u->bytes_out);
}

/* *known: there was such a row. */
static int
row_update(struct db_conn *conn, const struct row *r, bool *known)
{
    struct db_stmt *s = db_prepare(
        conn, "UPDATE usage SET invocations = invocations + ?6, pictures = pictures + ?7, "
              "cpu_us = cpu_us + ?8, mb_ms = mb_ms + ?9, bytes_in = bytes_in + ?10, "
              "bytes_out = bytes_out + ?11 WHERE day = ?1 AND bucket = ?2 AND prefix = ?3 "
              "AND function = ?4 AND preset = ?5");
    bind_row(s, r);
    int err = db_run(s);
    *known = err == ERR_NONE && db_changes(conn) > 0;
    return err;
}

static int
row_upsert(struct db_conn *conn, const struct row *r)
{
    struct db_stmt *s = db_prepare(
        conn, "INSERT INTO usage (day, bucket, prefix, function, preset, invocations, pictures, "
              "cpu_us, mb_ms, bytes_in, bytes_out) "
              "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) "
              "ON CONFLICT (day, bucket, prefix, function, preset) DO UPDATE SET "
              "invocations = invocations + excluded.invocations, "
              "pictures = pictures + excluded.pictures, cpu_us = cpu_us + excluded.cpu_us, "
              "mb_ms = mb_ms + excluded.mb_ms, bytes_in = bytes_in + excluded.bytes_in, "
              "bytes_out = bytes_out + excluded.bytes_out");
    bind_row(s, r);
    return db_run(s);
}

static int
rows_of(struct db_conn *conn, int64_t day, int64_t *rows)
{
    struct db_stmt *s = db_prepare(conn, "SELECT rows FROM usage_day WHERE day = ?1");
    db_bind_int(s, 1, day);
    int rc = db_step(s);
    *rows = rc == DB_ROW ? db_column_int(s, 0) : 0;
    db_reset(s);
    return rc < 0 ? rc : ERR_NONE;
}

/* A new day: the oldest one too many goes, at most USAGE_ROWS_MAX rows and a few. */
static int
trim(struct db_conn *conn)
{
    struct db_stmt *s =
        db_prepare(conn, "DELETE FROM usage WHERE day = (SELECT MIN(day) FROM usage_day) AND "
                         "(SELECT COUNT(*) FROM usage_day) > ?1");
    db_bind_int(s, 1, USAGE_DAYS_MAX);
    int err = db_run(s);
    if (err != ERR_NONE)
        return err;
    s = db_prepare(conn, "DELETE FROM usage_day WHERE day = (SELECT MIN(day) FROM usage_day) AND "
                         "(SELECT COUNT(*) FROM usage_day) > ?1");
    db_bind_int(s, 1, USAGE_DAYS_MAX);
    return db_run(s);
}

static int
count_row(struct db_conn *conn, int64_t day, int64_t rows_before)
{
    struct db_stmt *s = db_prepare(conn, "INSERT INTO usage_day (day, rows) VALUES (?1, 1) "
                                         "ON CONFLICT (day) DO UPDATE SET rows = rows + 1");
    db_bind_int(s, 1, day);
    int err = db_run(s);
    return err == ERR_NONE && rows_before == 0 ? trim(conn) : err;
}

/* The road of every result is the first line: one UPDATE of a row that is there. */
static int
row_add(struct db_conn *conn, const struct row *r)
{
    bool known = false;
    int64_t rows = 0;
    int err = row_update(conn, r, &known);
    if (err != ERR_NONE || known)
        return err;
    err = rows_of(conn, r->day, &rows);
    if (err != ERR_NONE)
        return err;
    struct row other = *r;
    if (rows >= USAGE_PREFIX_ROWS_MAX)
        other.prefix = SLICE_LIT(USAGE_OTHER);
    if (rows >= USAGE_ROWS_MAX)
        other.bucket = SLICE_LIT(USAGE_OTHER);
    err = row_update(conn, &other, &known);
    if (err != ERR_NONE || known)
        return err;
    err = row_upsert(conn, &other);
    return err == ERR_NONE ? count_row(conn, r->day, rows) : err;
}

/* "2026/" of "2026/a.jpg"; empty when there is no slash. */
static struct slice
prefix_of(struct slice key)
{
    struct slice rest;
    struct slice first = slice_cut(key, '/', &rest);
    if (first.n == key.n)
        return SLICE_LIT("");
    if (first.n + 1 > USAGE_PREFIX_BYTES_MAX)
        return SLICE_LIT(USAGE_OTHER);
    return slice_of(key.p, first.n + 1);
}

int
usage_apply_invocation(struct db_conn *conn, const struct usage_invocation *inv)
{
    struct usage_part parts[USAGE_PARTS_MAX];
    size_t count = usage_divide(inv, parts);
    struct row row = {
        .day = usage_day(inv->started_ms), .bucket = inv->bucket, .prefix = prefix_of(inv->key)};
    int err = ERR_NONE;
    for (size_t i = 0; i < count && err == ERR_NONE; i++) {
        row.part = &parts[i];
        err = row_add(conn, &row);
    }
    return err;
}

int
usage_apply_idle(struct db_conn *conn, int64_t day, int64_t cpu_us)
{
    struct usage_part part = {.function = SLICE_LIT(USAGE_WORKER),
                              .preset = SLICE_LIT(USAGE_START),
                              .sums = {.cpu_us = cpu_us}};
    struct row row = {.day = day, .bucket = SLICE_LIT(""), .prefix = SLICE_LIT(""), .part = &part};
    return row_add(conn, &row);
}

/* ---- reading ---- */

static const char *const by_names[] = {
#define X(id, name) name,
    USAGE_BY_LIST(X)
#undef X
};

const char *
usage_by_name(enum usage_by by)
{
    CHK(by < USAGE_BY_COUNT);
    return by_names[by];
}

int
usage_by_parse(struct slice word, enum usage_by *by)
{
    for (size_t i = 0; i < ARRAY_LEN(by_names); i++) {
        if (slice_eqs(word, by_names[i])) {
            *by = (enum usage_by)i;
            return ERR_NONE;
        }
    }
    return ERR_INVALID;
}

int
usage_next_day(struct db_conn *conn, int64_t day, int64_t *found)
{
    struct db_stmt *s =
        db_prepare(conn, "SELECT day FROM usage_day WHERE day >= ?1 ORDER BY day LIMIT 1");
    db_bind_int(s, 1, day);
    int rc = db_step(s);
    if (rc == DB_ROW)
        *found = db_column_int(s, 0);
    db_reset(s);
    return rc == DB_ROW ? ERR_NONE : rc == DB_DONE ? ERR_NOTFOUND : rc;
}

#define SUMS \
    "SUM(invocations), SUM(pictures), SUM(cpu_us), SUM(mb_ms), SUM(bytes_in), SUM(bytes_out) "

int
usage_of_day(struct db_conn *conn, int64_t day, enum usage_by by, usage_fn fn, void *arg)
{
    static const char *const queries[USAGE_BY_COUNT] = {
        [USAGE_BY_PRESET] = "SELECT '', preset, " SUMS "FROM usage WHERE day = ?1 GROUP BY preset",
        [USAGE_BY_PREFIX] =
            "SELECT bucket, prefix, " SUMS "FROM usage WHERE day = ?1 GROUP BY bucket, prefix",
        [USAGE_BY_DAY] = "SELECT '', '', " SUMS "FROM usage WHERE day = ?1 GROUP BY day",
        [USAGE_BY_FUNCTION] =
            "SELECT '', function, " SUMS "FROM usage WHERE day = ?1 GROUP BY function",
        [USAGE_BY_BUCKET] = "SELECT bucket, '', " SUMS "FROM usage WHERE day = ?1 GROUP BY bucket",
    };
    int rc;
    struct db_stmt *s = db_prepare(conn, queries[by]);
    db_bind_int(s, 1, day);
    while ((rc = db_step(s)) == DB_ROW) {
        struct usage_sums sums = {.invocations = db_column_int(s, 2),
                                  .pictures = db_column_int(s, 3),
                                  .cpu_us = db_column_int(s, 4),
                                  .mb_ms = db_column_int(s, 5),
                                  .bytes_in = db_column_int(s, 6),
                                  .bytes_out = db_column_int(s, 7)};
        if (fn(arg, db_column_blob(s, 0), db_column_blob(s, 1), &sums) != 0) {
            db_reset(s);
            return ERR_NONE;
        }
    }
    return rc;
}
