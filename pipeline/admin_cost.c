/*
 * GET /_/cost: the usage of a span of days, joined by what is asked for, with its price.
 *
 * One short read per day; the groups of all days meet in a hash table in memory. Keys choose how
 * many prefixes there are, so groups are bounded: those beyond COST_GROUPS_MAX count as "(other)",
 * and so do, in the answer, all but the COST_ROWS_MAX that used most processor time.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "pipeline/admin_priv.h"
#include "pipeline/usage.h"

#include <stdlib.h>

#define COST_GROUPS_MAX 65536
#define COST_LISTS 4096
#define COST_ROWS_MAX 1000
#define DAYS_DEFAULT 30
#define DAY_MS ((int64_t)24 * 3600 * 1000)
#define DAY_TEXT 10 /* "2026-01-31" */

struct group {
    struct group *next;
    struct usage_sums sums;
    size_t bucket_n, name_n;
    char text[]; /* bucket, name */
};

struct report {
    const struct conf *conf;
    enum usage_by by;
    int64_t since; /* day */
    struct group *lists[COST_LISTS];
    size_t count;
    struct usage_sums other, total;
    char day[CLOCK_TEXT_MAX]; /* the one that is being read */
};

/* ---- groups ---- */

static void
sums_add(struct usage_sums *to, const struct usage_sums *u)
{
    to->invocations += u->invocations;
    to->pictures += u->pictures;
    to->cpu_us += u->cpu_us;
    to->mb_ms += u->mb_ms;
    to->bytes_in += u->bytes_in;
    to->bytes_out += u->bytes_out;
}

static uint32_t
hash(struct slice bucket, struct slice name)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < bucket.n; i++)
        h = (h ^ (unsigned char)bucket.p[i]) * 16777619u;
    for (size_t i = 0; i < name.n; i++)
        h = (h ^ (unsigned char)name.p[i]) * 16777619u;
    return h;
}

static struct group *
group_new(struct report *rep, struct slice bucket, struct slice name)
{
    struct group *g =
        rep->count < COST_GROUPS_MAX ? calloc(1, sizeof *g + bucket.n + name.n) : NULL;
    if (g == NULL)
        return NULL;
    g->bucket_n = bucket.n;
    g->name_n = name.n;
    if (bucket.n > 0)
        memcpy(g->text, bucket.p, bucket.n);
    if (name.n > 0)
        memcpy(g->text + bucket.n, name.p, name.n);
    rep->count++;
    return g;
}

static int
group_add(void *arg, struct slice bucket, struct slice name, const struct usage_sums *sums)
{
    struct report *rep = arg;
    if (rep->by == USAGE_BY_DAY)
        name = slice_of(rep->day, DAY_TEXT);
    struct group **list = &rep->lists[hash(bucket, name) % COST_LISTS];
    struct group *g = *list;
    while (g != NULL && !(slice_eq(slice_of(g->text, g->bucket_n), bucket) &&
                          slice_eq(slice_of(g->text + g->bucket_n, g->name_n), name)))
        g = g->next;
    if (g == NULL && (g = group_new(rep, bucket, name)) != NULL) {
        g->next = *list;
        *list = g;
    }
    sums_add(g == NULL ? &rep->other : &g->sums, sums);
    sums_add(&rep->total, sums);
    return 0;
}

static void
groups_free(struct report *rep)
{
    for (size_t i = 0; i < COST_LISTS; i++) {
        for (struct group *g = rep->lists[i], *next; g != NULL; g = next) {
            next = g->next;
            free(g);
        }
    }
}

/* ---- reading ---- */

static int
read_days(struct report *rep, struct db *db)
{
    int err = ERR_NONE;
    for (int64_t day = rep->since; err == ERR_NONE; day++) {
        struct db_conn *conn = NULL;
        err = db_read_begin(db, &conn);
        if (err != ERR_NONE)
            break;
        err = usage_next_day(conn, day, &day);
        clock_iso8601(day * DAY_MS, rep->day);
        if (err == ERR_NONE)
            err = usage_of_day(conn, day, rep->by, group_add, rep);
        db_read_end(db, &conn);
    }
    return err == ERR_NOTFOUND ? ERR_NONE : err;
}

/* ---- money and JSON ---- */

static double
gb_s(const struct usage_sums *u)
{
    return (double)u->mb_ms / 1024 / 1000;
}

static double
price(const struct conf *c, const struct usage_sums *u)
{
    return (double)u->cpu_us / 1e6 * conf_decimal(c, CONF_COST_CPU) +
           gb_s(u) * conf_decimal(c, CONF_COST_GB_S) +
           (double)u->invocations / 1e6 * conf_decimal(c, CONF_COST_INVOCATIONS) +
           (double)u->bytes_in / 1e9 * conf_decimal(c, CONF_COST_GB_IN) +
           (double)u->bytes_out / 1e9 * conf_decimal(c, CONF_COST_GB_OUT);
}

static json_t *
sums_json(const struct report *rep, const struct usage_sums *u)
{
    return json_pack("{sf sf sI sI sI sI sf}", "cpu_ms", (double)u->cpu_us / 1e3, "gb_s", gb_s(u),
                     "invocations", (json_int_t)u->invocations, "pictures", (json_int_t)u->pictures,
                     "bytes_in", (json_int_t)u->bytes_in, "bytes_out", (json_int_t)u->bytes_out,
                     "price", price(rep->conf, u));
}

static void
row_add(const struct report *rep, json_t *rows, struct slice bucket, struct slice name,
        const struct usage_sums *sums)
{
    json_t *row = sums_json(rep, sums);
    bool by_bucket = rep->by == USAGE_BY_BUCKET;
    json_object_set_new(row, usage_by_name(rep->by), admin_text(by_bucket ? bucket : name));
    if (rep->by == USAGE_BY_PREFIX)
        json_object_set_new(row, "bucket", admin_text(bucket));
    json_array_append_new(rows, row);
}

static int
dearer_first(const void *a, const void *b)
{
    const struct group *x = *(struct group *const *)a, *y = *(struct group *const *)b;
    return (x->sums.cpu_us < y->sums.cpu_us) - (x->sums.cpu_us > y->sums.cpu_us);
}

static int
by_name(const void *a, const void *b)
{
    const struct group *x = *(struct group *const *)a, *y = *(struct group *const *)b;
    return slice_cmp(slice_of(x->text, x->bucket_n + x->name_n),
                     slice_of(y->text, y->bucket_n + y->name_n));
}

static json_t *
rows_json(struct report *rep)
{
    struct group **all = calloc(rep->count + 1, sizeof *all);
    json_t *rows = json_array();
    size_t n = 0;
    if (all == NULL)
        return rows;
    for (size_t i = 0; i < COST_LISTS; i++)
        for (struct group *g = rep->lists[i]; g != NULL; g = g->next)
            all[n++] = g;
    qsort(all, n, sizeof *all, rep->by == USAGE_BY_DAY ? by_name : dearer_first);
    for (size_t i = 0; i < n; i++) {
        struct group *g = all[i];
        if (i < COST_ROWS_MAX)
            row_add(rep, rows, slice_of(g->text, g->bucket_n),
                    slice_of(g->text + g->bucket_n, g->name_n), &g->sums);
        else
            sums_add(&rep->other, &g->sums);
    }
    free(all);
    if (rep->other.invocations != 0 || rep->other.cpu_us != 0)
        row_add(rep, rows, SLICE_LIT(USAGE_OTHER), SLICE_LIT(USAGE_OTHER), &rep->other);
    return rows;
}

static json_t *
report_json(struct report *rep)
{
    char since[CLOCK_TEXT_MAX];
    clock_iso8601(rep->since * DAY_MS, since);
    since[DAY_TEXT] = '\0';
    json_t *rows = rows_json(rep);
    return json_pack("{ss ss ss so so}", "by", usage_by_name(rep->by), "since", since, "currency",
                     conf_str(rep->conf, CONF_COST_CURRENCY), "rows", rows, "total",
                     sums_json(rep, &rep->total));
}

/* ---- the request ---- */

/* False when it was answered. */
static bool
read_question(struct http_request *r, struct report *rep)
{
    struct slice by = http_param(r, "by"), since = http_param(r, "since");
    int64_t ms = clock_wall_ms() - (DAYS_DEFAULT - 1) * DAY_MS;
    rep->by = USAGE_BY_PRESET;
    if (by.p != NULL && usage_by_parse(by, &rep->by) != ERR_NONE) {
        admin_reply_error(r, ERR_INVALID,
                          SLICE_LIT("by must be preset, prefix, day, function or bucket"));
        return false;
    }
    if (since.p != NULL && (since.n != DAY_TEXT || clock_parse_iso(since.p, since.n, &ms) != 0)) {
        admin_reply_error(r, ERR_INVALID, SLICE_LIT("since must be a day such as 2026-01-31"));
        return false;
    }
    rep->since = usage_day(ms);
    return true;
}

void
admin_cost(struct admin_service *s, struct http_request *r)
{
    struct report *rep = chk_calloc(1, sizeof *rep);
    rep->conf = s->options.conf;
    if (read_question(r, rep)) {
        int err = read_days(rep, s->options.db);
        if (err != ERR_NONE)
            admin_reply_error(r, err, SLICE_NONE);
        else
            admin_reply_json(r, 200, report_json(rep));
    }
    groups_free(rep);
    free(rep);
}
