/*
 * The schema of a file, and what it must be.
 *
 * A data directory or a backup may be somebody else's, or damaged. SQLite runs what the schema in
 * the file says: triggers, views, the expressions of indexes and of generated columns. And a table
 * or a column that is missing would be met by a statement that does not compile, far from here. So
 * the steps are run in memory up to the file's own version, and what both have is compared, with
 * their SQL, before anything else is read from the file (https://sqlite.org/security.html): a
 * released step never changes, so there is next to nothing to be lenient about.
 *
 * Next to nothing: SQLite keeps a statement as it was given (https://sqlite.org/fileformat2.html,
 * section 2.6), but ALTER TABLE edits that text, and how is promised nowhere. 3.40.1, 3.46.1 and
 * 3.54.1 write the same bytes. So that a later one does not lock an owner out of what an earlier
 * one wrote, blanks beside punctuation, how many there are elsewhere, and quotes around a table's
 * own name count for nothing. All else counts: a column of the type "INTEGER", quoted, is another.
 *
 * An upgrade comes behind the comparison: a step meets exactly what the steps before it made.
 */
#include "base/chk.h"
#include "base/db_priv.h"
#include "base/err.h"
#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>

#define COUNTER_SQL                               \
    "CREATE TABLE IF NOT EXISTS darkroom_counter" \
    "(id INTEGER PRIMARY KEY, value INTEGER NOT NULL);"

/* ---- comparing ---- */

enum column { TYPE, NAME, TABLE, SQL };

#define LIST_SQL \
    "SELECT type, name, tbl_name, ifnull(sql, '') FROM sqlite_schema ORDER BY 1, 2, 3, 4"

static struct slice
text_of(sqlite3_stmt *s, enum column column)
{
    const void *p = sqlite3_column_blob(s, (int)column);
    return slice_of(p, (size_t)sqlite3_column_bytes(s, (int)column));
}

/* As LIST_SQL orders them: < 0 when ours has something that theirs has not. */
static int
order(sqlite3_stmt *ours, int ours_rc, sqlite3_stmt *theirs, int theirs_rc)
{
    int cmp = (ours_rc != SQLITE_ROW) - (theirs_rc != SQLITE_ROW);
    for (int column = TYPE; column <= NAME && cmp == 0 && ours_rc == SQLITE_ROW; column++)
        cmp = slice_cmp(text_of(ours, (enum column)column), text_of(theirs, (enum column)column));
    return cmp;
}

static int
tell(struct buf *why, sqlite3_stmt *s, const char *what, int64_t version)
{
    char quoted[LOG_QUOTE_MAX];
    struct slice type = text_of(s, TYPE);
    log_quote(text_of(s, NAME), quoted);
    if (type.n > 16 || !slice_is_utf8(type))
        type = SLICE_LIT("entry");
    log_line(LOG_ERROR, "schema_foreign", "type=%.*s name=%s version=%" PRId64, SLICE_FMT(type),
             quoted, version);
    if (why != NULL)
        buf_printf(why, "%.*s %s %s schema %" PRId64, SLICE_FMT(type), quoted, what, version);
    return ERR_CORRUPT;
}

static bool
is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r' && c != '\v');
}

/* What follows CREATE TABLE name, or all of it. */
static struct slice
behind_name(struct slice sql, struct slice name)
{
    const struct slice head = SLICE_LIT("CREATE TABLE ");
    if (!slice_starts(sql, head))
        return sql;
    struct slice rest = slice_skip(sql, head.n);
    size_t quote = rest.n > 0 && rest.p[0] == '"';
    if (!slice_starts(slice_skip(rest, quote), name))
        return sql;
    rest = slice_skip(rest, quote + name.n);
    if (quote == 0)
        return rest;
    return rest.n > 0 && rest.p[0] == '"' ? slice_skip(rest, 1) : sql;
}

/* The next character that counts, or -1; `last` was the one before. A run of blanks is one. */
static int
next_char(struct slice *sql, int last, char *quote)
{
    static const char punctuation[] = "(),";
    size_t blanks = 0;
    while (*quote == '\0' && blanks < sql->n && is_blank(sql->p[blanks]))
        blanks++;
    *sql = slice_skip(*sql, blanks);
    if (sql->n == 0)
        return -1;
    char c = sql->p[0];
    if (blanks > 0 && c != '\0' && strchr(punctuation, c) == NULL && last > 0 &&
        strchr(punctuation, last) == NULL)
        return ' '; /* and then c */
    if (*quote == c)
        *quote = '\0';
    else if (*quote == '\0' && c != '\0' && strchr("'\"`[", c) != NULL)
        *quote = (char)(c == '[' ? ']' : c);
    *sql = slice_skip(*sql, 1);
    return (unsigned char)c;
}

static bool
same_sql(struct slice a, struct slice b, struct slice name)
{
    char quotes[2] = {'\0', '\0'};
    int last = 0, other;
    if (slice_eq(a, b))
        return true;
    a = behind_name(a, name);
    b = behind_name(b, name);
    do {
        int before = last;
        last = next_char(&a, before, &quotes[0]);
        other = next_char(&b, before, &quotes[1]);
    } while (last == other && last >= 0);
    return last == other;
}

/* Both lists side by side, to the first difference. */
static int
compare(sqlite3_stmt *ours, struct db_conn *conn, sqlite3_stmt *theirs, int64_t version,
        struct buf *why)
{
    int a, b;
    do {
        a = sqlite3_step(ours);
        b = sqlite3_step(theirs);
        CHK(a == SQLITE_ROW || a == SQLITE_DONE);
        if (b != SQLITE_ROW && b != SQLITE_DONE)
            return db_translate(conn, b, LIST_SQL);
        int cmp = order(ours, a, theirs, b);
        if (cmp != 0)
            return cmp < 0 ? tell(why, ours, "is missing in a database of", version)
                           : tell(why, theirs, "does not belong in a database of", version);
        if (a == SQLITE_ROW &&
            (!slice_eq(text_of(ours, TABLE), text_of(theirs, TABLE)) ||
             !same_sql(text_of(ours, SQL), text_of(theirs, SQL), text_of(ours, NAME))))
            return tell(why, theirs, "is not that of", version);
    } while (a == SQLITE_ROW);
    return ERR_NONE;
}

/* A database in memory with what the first `version` steps make. */
static sqlite3 *
reference_make(const struct db_schema *schema, int64_t version)
{
    sqlite3 *made = NULL;
    CHK(sqlite3_open(":memory:", &made) == SQLITE_OK);
    CHK(sqlite3_exec(made, COUNTER_SQL, NULL, NULL, NULL) == SQLITE_OK);
    for (int64_t v = 0; v < version; v++)
        CHK(sqlite3_exec(made, schema->steps[v], NULL, NULL, NULL) == SQLITE_OK);
    return made;
}

static int
compare_with_steps(struct db_conn *conn, const struct db_schema *schema, int64_t version,
                   struct buf *why)
{
    sqlite3_stmt *ours = NULL, *theirs = NULL;
    sqlite3 *made = reference_make(schema, version);
    CHK(sqlite3_prepare_v2(made, LIST_SQL, -1, &ours, NULL) == SQLITE_OK);
    int rc = sqlite3_prepare_v2(conn->handle, LIST_SQL, -1, &theirs, NULL);
    int err = rc == SQLITE_OK ? compare(ours, conn, theirs, version, why)
                              : db_translate(conn, rc, LIST_SQL);
    sqlite3_finalize(theirs);
    sqlite3_finalize(ours);
    CHK(sqlite3_close(made) == SQLITE_OK);
    return err;
}

/* Text comes as its bytes: in another encoding every name would be another. */
static int
check_encoding(struct db_conn *conn, struct buf *why)
{
    static const char sql[] = "PRAGMA encoding";
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(conn->handle, sql, -1, &s, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    int err = rc == SQLITE_ROW ? ERR_NONE : db_translate(conn, rc, sql);
    if (err == ERR_NONE && !slice_eqs(text_of(s, TYPE), "UTF-8")) {
        err = ERR_CORRUPT;
        if (why != NULL)
            buf_puts(why, "its texts are not UTF-8");
    }
    sqlite3_finalize(s);
    return err;
}

int
db_schema_judge(struct db_conn *conn, const struct db_schema *schema, struct buf *why)
{
    int64_t version = 0, entries = 0;
    int err = db_exec_int(conn, "PRAGMA user_version", &version);
    if (err == ERR_NONE && version > schema->count) {
        log_line(LOG_ERROR, "schema_too_new",
                 "found=%" PRId64 " known=%d hint=\"this data directory needs a newer darkroomd\"",
                 version, schema->count);
        if (why != NULL)
            buf_printf(why,
                       "its schema is %" PRId64 ", this darkroomd knows %d: a newer one is "
                       "needed",
                       version, schema->count);
        return ERR_UNSUPPORTED;
    }
    if (err == ERR_NONE && version < 0) { /* it counts steps: no database of ours */
        log_line(LOG_ERROR, "schema_unknown", "found=%" PRId64, version);
        if (why != NULL)
            buf_printf(why, "its schema is %" PRId64 ": no database of darkroomd", version);
        return ERR_CORRUPT;
    }
    if (err == ERR_NONE)
        err = db_exec_int(conn, "SELECT count(*) FROM sqlite_schema", &entries);
    if (err != ERR_NONE || (version == 0 && entries == 0)) /* new */
        return err;
    err = check_encoding(conn, why);
    return err == ERR_NONE ? compare_with_steps(conn, schema, version, why) : err;
}

/* ---- upgrading ---- */

int
db_schema_upgrade(struct db_conn *conn, const struct db_schema *schema)
{
    int64_t version = 0;
    char pragma[64];
    int err = db_exec_int(conn, "PRAGMA user_version", &version);
    if (err == ERR_NONE)
        err = db_exec(conn, "BEGIN IMMEDIATE;" COUNTER_SQL
                            "INSERT OR IGNORE INTO darkroom_counter VALUES (1, 0)");
    for (int64_t v = version; v < schema->count && err == ERR_NONE; v++)
        err = db_exec(conn, schema->steps[v]);
    if (err == ERR_NONE) {
        snprintf(pragma, sizeof pragma, "PRAGMA user_version = %d", schema->count);
        err = db_exec(conn, pragma);
    }
    if (err == ERR_NONE)
        err = db_exec(conn, "COMMIT");
    if (err == ERR_NONE && version != 0 && version < schema->count)
        log_line(LOG_INFO, "schema_upgraded", "from=%" PRId64 " to=%d", version, schema->count);
    return err;
}
