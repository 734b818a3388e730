/*
 * Query and Scan: a page of a range of items. A page ends at Limit items, 1 MiB of items, or when
 * the answer's text grows past DDB_PAGE_JSON_MAX; LastEvaluatedKey is then the last item read,
 * which need not be the last one that the filter let through.
 */
#include "base/digest.h"
#include "base/err.h"
#include "metadata/ddb_priv.h"
#include "metadata/key.h"

#define SEGMENTS_MAX 1000000

struct page_plan {
    struct slice table;
    struct expr_env env;
    const struct expr *key_condition; /* NULL: scan */
    const struct expr *filter;
    const struct expr_paths *projection;
    struct attr_value start; /* type 0: from the beginning */
    int64_t limit;           /* -1: none */
    int64_t segment, segments;
    enum ddb_capacity capacity;
    bool consistent;
    bool backward;
    bool count_only;
};

/* ---- parameters ---- */

static int
read_select(struct ddb_request *q, struct page_plan *plan)
{
    static const char *const words[] = {"ALL_ATTRIBUTES", "SPECIFIC_ATTRIBUTES", "COUNT",
                                        "ALL_PROJECTED_ATTRIBUTES", NULL};
    int word;
    int err = ddb_get_word(q, q->body, "Select", words, -1, &word);
    if (err != ERR_NONE || word < 0)
        return err;
    plan->count_only = word == 2;
    if (word == 1 && plan->projection == NULL)
        return ddb_fail(q, DDB_VALIDATION,
                        "One or more parameter values were invalid: Must specify the"
                        " AttributesToGet or ProjectionExpression when choosing to get"
                        " SPECIFIC_ATTRIBUTES");
    if (word != 1 && plan->projection != NULL)
        return ddb_fail(q, DDB_VALIDATION,
                        "One or more parameter values were invalid: Cannot specify the"
                        " AttributesToGet or ProjectionExpression when choosing to get %s",
                        words[word]);
    if (word == 3)
        return ddb_fail(q, DDB_VALIDATION,
                        "One or more parameter values were invalid: ALL_PROJECTED_ATTRIBUTES can"
                        " be used only when Querying using an IndexName");
    return ERR_NONE;
}

static int
read_index(struct ddb_request *q)
{
    struct slice index;
    int err = ddb_get_text(q, q->body, "IndexName", &index);
    if (err == ERR_NONE && index.p != NULL)
        return ddb_fail(q, DDB_VALIDATION, "The table does not have the specified index: %.*s",
                        (int)(index.n < 255 ? index.n : 255), index.p);
    return err;
}

static int
page_read(struct ddb_request *q, struct page_plan **out)
{
    static const char *const legacy[] = {"KeyConditions",   "QueryFilter",         "ScanFilter",
                                         "AttributesToGet", "ConditionalOperator", NULL};
    struct page_plan *plan = arena_alloc(q->arena, sizeof *plan);
    if (plan == NULL)
        return ERR_NOMEM;
    *out = q->plan = plan;
    int err = ddb_get_table(q, q->body, &plan->table);
    if (err == ERR_NONE)
        err = ddb_refuse_parameters(q, q->body, legacy);
    if (err == ERR_NONE)
        err = read_index(q);
    if (err == ERR_NONE)
        err = ddb_get_count(q, q->body, "Limit", 1, INT32_MAX, &plan->limit);
    if (err == ERR_NONE)
        err = ddb_get_map(q, q->body, "ExclusiveStartKey", &plan->start);
    if (err == ERR_NONE)
        err = ddb_get_flag(q, q->body, "ConsistentRead", false, &plan->consistent);
    if (err == ERR_NONE)
        err = ddb_get_capacity(q, q->body, &plan->capacity);
    if (err == ERR_NONE)
        err = ddb_get_env(q, q->body, &plan->env);
    if (err == ERR_NONE)
        err = ddb_get_condition(q, q->body, "FilterExpression", &plan->env, EXPR_FILTER,
                                &plan->filter);
    if (err == ERR_NONE)
        err = ddb_get_projection(q, q->body, &plan->env, &plan->projection);
    return err != ERR_NONE ? err : read_select(q, plan);
}

static int
query_read(struct ddb_request *q)
{
    bool forward = true;
    struct page_plan *plan = NULL;
    int err = page_read(q, &plan);
    if (err == ERR_NONE)
        err = ddb_get_flag(q, q->body, "ScanIndexForward", true, &forward);
    if (err == ERR_NONE)
        err = ddb_get_condition(q, q->body, "KeyConditionExpression", &plan->env,
                                EXPR_KEY_CONDITION, &plan->key_condition);
    if (err == ERR_NONE && plan->key_condition == NULL)
        err = ddb_fail(q, DDB_VALIDATION,
                       "Either the KeyConditions or KeyConditionExpression parameter must be"
                       " specified in the request.");
    if (err != ERR_NONE)
        return err;
    plan->backward = !forward;
    return ddb_check_env(q, &plan->env, true);
}

static int
scan_read(struct ddb_request *q)
{
    struct page_plan *plan = NULL;
    int err = page_read(q, &plan);
    if (err == ERR_NONE)
        err = ddb_get_count(q, q->body, "TotalSegments", 1, SEGMENTS_MAX, &plan->segments);
    if (err == ERR_NONE)
        err = ddb_get_count(q, q->body, "Segment", 0, SEGMENTS_MAX - 1, &plan->segment);
    if (err != ERR_NONE)
        return err;
    if ((plan->segments < 0) != (plan->segment < 0))
        return ddb_fail(q, DDB_VALIDATION,
                        "The %s parameter is required but was not present in the request when"
                        " parameter %s is present",
                        plan->segments < 0 ? "TotalSegments" : "Segment",
                        plan->segments < 0 ? "Segment" : "TotalSegments");
    if (plan->segments >= 0 && plan->segment >= plan->segments)
        return ddb_fail(q, DDB_VALIDATION,
                        "The Segment parameter is zero-based and must be less than parameter"
                        " TotalSegments: Segment: %lld is not less than TotalSegments: %lld",
                        (long long)plan->segment, (long long)plan->segments);
    return ddb_check_env(q, &plan->env, plan->filter != NULL || plan->projection != NULL);
}

/* ---- one page ---- */

struct page {
    struct ddb_request *q;
    const struct page_plan *plan;
    const struct table *t;
    int64_t count, scanned;
    size_t bytes;
    size_t skipped_bytes;
    bool ended_early;
    struct buf last; /* JSON of the last key read */
};

/* A scan's segments are told apart by the partition key. */
static bool
in_segment(const struct page *page, const struct attr_value *item)
{
    struct buf key;
    if (page->plan->segments <= 1)
        return true;
    buf_init(&key, KEY_PARTITION_MAX);
    key_encode(&key, attr_get(item, page->t->partition.name));
    uint32_t crc = digest_crc32c(0, key.p, key.n);
    buf_fini(&key);
    return crc % (uint64_t)page->plan->segments == (uint64_t)page->plan->segment;
}

static int
put_item(struct page *page, const struct attr_value *item)
{
    const struct page_plan *plan = page->plan;
    struct buf *out = &page->q->reply;
    struct attr_value shown = *item;
    struct arena *scratch = NULL;
    int err = ERR_NONE;
    page->count++;
    if (plan->count_only)
        return ERR_NONE;
    if (plan->projection != NULL) {
        scratch = arena_new(ITEM_MEMORY_MAX);
        err = scratch == NULL ? ERR_NOMEM : expr_project(scratch, plan->projection, item, &shown);
    }
    if (err == ERR_NONE) {
        if (page->count > 1)
            buf_putc(out, ',');
        ddb_write_map(out, &shown);
        err = out->err;
    }
    arena_free(&scratch);
    return err;
}

static int
remember_key(struct page *page, const struct attr_value *item)
{
    struct arena *scratch = arena_new(ITEM_MEMORY_MAX);
    struct attr_value key;
    int err = scratch == NULL ? ERR_NOMEM : ddb_key_of(scratch, page->t, item, &key);
    if (err == ERR_NONE) {
        buf_reset(&page->last);
        ddb_write_map(&page->last, &key);
        err = page->last.err;
    }
    arena_free(&scratch);
    page->ended_early = true;
    return err != ERR_NONE ? err : 1;
}

static int
page_item(void *arg, const struct attr_value *item, size_t stored_bytes)
{
    struct page *page = arg;
    const struct page_plan *plan = page->plan;
    if (!in_segment(page, item)) {
        page->skipped_bytes += stored_bytes;
        return page->skipped_bytes >= DDB_PAGE_SKIP_MAX ? remember_key(page, item) : 0;
    }
    page->scanned++;
    page->bytes += stored_bytes;
    int err =
        plan->filter == NULL || expr_matches(plan->filter, item) ? put_item(page, item) : ERR_NONE;
    if (err != ERR_NONE)
        return err;
    if (page->scanned == plan->limit || page->bytes >= DDB_PAGE_BYTES ||
        page->q->reply.n >= DDB_PAGE_JSON_MAX)
        return remember_key(page, item);
    return 0;
}

static int
page_run(struct ddb_request *q, struct db_conn *conn, const struct table *t,
         struct table_range *range)
{
    const struct page_plan *plan = q->plan;
    struct page page = {.q = q, .plan = plan, .t = t};
    struct buf *out = &q->reply;
    buf_init(&page.last, DDB_PAGE_JSON_MAX);
    range->start_after = plan->start.type == 0 ? NULL : &plan->start;
    buf_puts(out, plan->count_only ? "{" : "{\"Items\":[");
    int err = table_range(conn, t, range, page_item, &page);
    buf_printf(out, "%s\"Count\":%lld,\"ScannedCount\":%lld", plan->count_only ? "" : "],",
               (long long)page.count, (long long)page.scanned);
    if (page.ended_early) {
        buf_puts(out, ",\"LastEvaluatedKey\":");
        buf_put_slice(out, buf_slice(&page.last));
    }
    if (plan->capacity != CAPACITY_NONE) {
        buf_puts(out, ",\"ConsumedCapacity\":");
        ddb_put_capacity(out, plan->capacity, plan->table,
                         ddb_read_units(page.bytes, plan->consistent));
    }
    buf_putc(out, '}');
    buf_fini(&page.last);
    return err;
}

/* ---- both operations ---- */

static int
check_start(struct ddb_request *q, const struct table *t, const struct table_range *range)
{
    const struct page_plan *plan = q->plan;
    if (plan->start.type == 0)
        return ERR_NONE;
    if (ddb_check_key(q, t, &plan->start) != ERR_NONE)
        return ddb_fail(q, DDB_VALIDATION,
                        "The provided starting key is invalid: The provided key element does not"
                        " match the schema");
    if (range->partition != NULL &&
        !attr_equal(range->partition, attr_get(&plan->start, t->partition.name)))
        return ddb_fail(q, DDB_VALIDATION,
                        "The provided starting key is outside query boundaries based on provided"
                        " conditions");
    return ERR_NONE;
}

static int
check_filter(struct ddb_request *q, const struct table *t)
{
    const struct page_plan *plan = q->plan;
    const struct table_key_attr *keys[] = {&t->partition, &t->sort};
    for (size_t i = 0; plan->filter != NULL && i < 2; i++)
        if (keys[i]->name.n > 0 && expr_mentions(plan->filter, keys[i]->name))
            return ddb_fail(q, DDB_VALIDATION,
                            "Filter Expression can only contain non-primary key attributes:"
                            " Primary key attribute: %.*s",
                            SLICE_FMT(keys[i]->name));
    return ERR_NONE;
}

static int
query_run(struct ddb_request *q, struct db_conn *conn)
{
    struct table t;
    const struct page_plan *plan = q->plan;
    struct table_range range = {.backward = plan->backward};
    int err = ddb_find_table(q, conn, plan->table, &t);
    if (err == ERR_NONE)
        err = ddb_fail_said(q, expr_key_range(plan->key_condition, &t, &range, &q->message));
    if (err == ERR_NONE)
        err = check_filter(q, &t);
    if (err == ERR_NONE)
        err = check_start(q, &t, &range);
    return err != ERR_NONE ? err : page_run(q, conn, &t, &range);
}

static int
scan_run(struct ddb_request *q, struct db_conn *conn)
{
    struct table t;
    const struct page_plan *plan = q->plan;
    struct table_range range = {.op = SORT_ALL};
    int err = ddb_find_table(q, conn, plan->table, &t);
    if (err == ERR_NONE)
        err = check_start(q, &t, &range);
    return err != ERR_NONE ? err : page_run(q, conn, &t, &range);
}

const struct ddb_operation ddb_query_operations[] = {
    {"Query", query_read, query_run, false, false, DDB_BODY_MAX},
    {"Scan", scan_read, scan_run, false, false, DDB_BODY_MAX},
    {.name = NULL}};
