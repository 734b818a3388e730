/*
 * BatchGetItem and BatchWriteItem. A batch of writes is one transaction here: all of it or nothing,
 * which is more than clients may expect of it. A batch of reads that grows past DDB_PAGE_JSON_MAX
 * hands the rest back as UnprocessedKeys.
 */
#include "base/err.h"
#include "metadata/ddb_priv.h"

#define BATCH_GETS_MAX 100
#define BATCH_WRITES_MAX 25

struct batch_entry {
    struct attr_value item; /* a key, or the item to put */
    bool put;
    const json_t *json; /* the key as it was sent */
};

struct batch_table {
    struct slice name;
    const json_t *json;
    struct batch_entry *entries;
    size_t count;
    struct expr_env env;
    const struct expr_paths *projection;
    bool consistent;
    double units;
};

struct batch_plan {
    struct batch_table *tables;
    size_t count;
    size_t entries;
    enum ddb_capacity capacity;
};

/* ---- parameters ---- */

typedef int (*table_read_fn)(struct ddb_request *q, struct batch_table *table);

static int
batch_read(struct ddb_request *q, table_read_fn read, size_t entries_max)
{
    const char *name;
    json_t *value;
    const json_t *items = json_object_get(q->body, "RequestItems");
    struct batch_plan *plan = arena_alloc(q->arena, sizeof *plan);
    if (plan == NULL)
        return ERR_NOMEM;
    q->plan = plan;
    if (!json_is_object(items) || json_object_size(items) == 0)
        return ddb_fail(q, DDB_VALIDATION,
                        "1 validation error detected: Value at 'requestItems' failed to satisfy"
                        " constraint: Member must have length greater than or equal to 1");
    if (json_object_size(items) > entries_max)
        return ddb_fail(q, DDB_VALIDATION, "Too many items requested for the Batch%sItem call",
                        entries_max == BATCH_WRITES_MAX ? "Write" : "Get");
    plan->tables = arena_alloc(q->arena, json_object_size(items) * sizeof *plan->tables);
    if (plan->tables == NULL)
        return ERR_NOMEM;
    int err = ddb_get_capacity(q, q->body, &plan->capacity);
    json_object_foreach((json_t *)items, name, value)
    {
        struct batch_table *table = &plan->tables[plan->count++];
        if (err == ERR_NONE)
            err = ddb_check_table_name(q, slice_str(name), &table->name);
        table->json = value;
        if (err == ERR_NONE)
            err = read(q, table);
        if (err != ERR_NONE)
            return err;
        plan->entries += table->count;
    }
    if (plan->entries > entries_max)
        return ddb_fail(q, DDB_VALIDATION, "Too many items requested for the Batch%sItem call",
                        entries_max == BATCH_WRITES_MAX ? "Write" : "Get");
    return ERR_NONE;
}

/* Room for as many entries as the list has. */
static int
entries_room(struct ddb_request *q, struct batch_table *table, const json_t *list, size_t max)
{
    size_t n = json_array_size(list);
    if (n == 0 || n > max)
        return ddb_fail(q, DDB_VALIDATION,
                        "1 validation error detected: Value at 'requestItems.%.*s.member' failed to"
                        " satisfy constraint: Member must have length %s than or equal to %zu",
                        SLICE_FMT(table->name), n == 0 ? "greater" : "less", n == 0 ? 1 : max);
    table->entries = arena_alloc(q->arena, n * sizeof *table->entries);
    table->count = n;
    return table->entries == NULL ? ERR_NOMEM : ERR_NONE;
}

static int
get_table_read(struct ddb_request *q, struct batch_table *table)
{
    static const char *const legacy[] = {"AttributesToGet", NULL};
    const json_t *keys = json_object_get(table->json, "Keys");
    int err = entries_room(q, table, keys, BATCH_GETS_MAX);
    if (err == ERR_NONE)
        err = ddb_refuse_parameters(q, table->json, legacy);
    for (size_t i = 0; i < table->count && err == ERR_NONE; i++) {
        table->entries[i].json = json_array_get(keys, i);
        err = ddb_fail_said(q, ddb_read_map(q->arena, table->entries[i].json,
                                            &table->entries[i].item, &q->message));
    }
    if (err == ERR_NONE)
        err = ddb_get_flag(q, table->json, "ConsistentRead", false, &table->consistent);
    if (err == ERR_NONE)
        err = ddb_get_env(q, table->json, &table->env);
    if (err == ERR_NONE)
        err = ddb_get_projection(q, table->json, &table->env, &table->projection);
    if (err == ERR_NONE)
        err = ddb_check_env(q, &table->env, table->projection != NULL);
    return err;
}

static int
write_table_read(struct ddb_request *q, struct batch_table *table)
{
    int err = entries_room(q, table, table->json, BATCH_WRITES_MAX);
    for (size_t i = 0; i < table->count && err == ERR_NONE; i++) {
        const json_t *request = json_array_get(table->json, i);
        const json_t *put = json_object_get(request, "PutRequest");
        const json_t *remove = json_object_get(request, "DeleteRequest");
        struct batch_entry *e = &table->entries[i];
        if (json_is_object(put) == json_is_object(remove))
            return ddb_fail(q, DDB_VALIDATION,
                            "Supplied AttributeValue has more than one datatypes set, must contain"
                            " exactly one of the supported datatypes");
        e->put = json_is_object(put);
        e->json = e->put ? json_object_get(put, "Item") : json_object_get(remove, "Key");
        err = ddb_fail_said(q, ddb_read_map(q->arena, e->json, &e->item, &q->message));
    }
    return err;
}

static int
get_read(struct ddb_request *q)
{
    return batch_read(q, get_table_read, BATCH_GETS_MAX);
}

static int
write_read(struct ddb_request *q)
{
    return batch_read(q, write_table_read, BATCH_WRITES_MAX);
}

/* ---- running ---- */

static bool
same_key(const struct table *t, const struct attr_value *a, const struct attr_value *b)
{
    return attr_equal(attr_get(a, t->partition.name), attr_get(b, t->partition.name)) &&
           (t->sort.name.n == 0 ||
            attr_equal(attr_get(a, t->sort.name), attr_get(b, t->sort.name)));
}

static int
check_entries(struct ddb_request *q, const struct table *t, const struct batch_table *table)
{
    for (size_t i = 0; i < table->count; i++) {
        struct batch_entry *e = &table->entries[i];
        int err = e->put ? ddb_fail_said(q, table_key_check(t, &e->item, &q->message))
                         : ddb_check_key(q, t, &e->item);
        if (err != ERR_NONE)
            return err;
        for (size_t j = 0; j < i; j++)
            if (same_key(t, &e->item, &table->entries[j].item))
                return ddb_fail(q, DDB_VALIDATION,
                                "Provided list of item keys contains duplicates");
    }
    return ERR_NONE;
}

static void
put_capacities(struct ddb_request *q)
{
    const struct batch_plan *plan = q->plan;
    if (plan->capacity == CAPACITY_NONE)
        return;
    buf_puts(&q->reply, ",\"ConsumedCapacity\":[");
    for (size_t i = 0; i < plan->count; i++) {
        if (i > 0)
            buf_putc(&q->reply, ',');
        ddb_put_capacity(&q->reply, plan->capacity, plan->tables[i].name, plan->tables[i].units);
    }
    buf_putc(&q->reply, ']');
}

/* One item into the answer's list, if it is there. */
static int
get_entry(struct ddb_request *q, struct db_conn *conn, const struct table *t,
          struct batch_table *table, size_t index, bool *first)
{
    struct attr_value item, shown;
    struct arena *scratch = arena_new(ITEM_MEMORY_MAX);
    if (scratch == NULL)
        return ERR_NOMEM;
    int err = table_get(conn, scratch, t, &table->entries[index].item, &item);
    shown = item;
    table->units += ddb_read_units(err == ERR_NONE ? item_bytes(&item) : 0, table->consistent);
    if (err == ERR_NONE && table->projection != NULL)
        err = expr_project(scratch, table->projection, &item, &shown);
    if (err == ERR_NONE) {
        if (!*first)
            buf_putc(&q->reply, ',');
        *first = false;
        ddb_write_map(&q->reply, &shown);
    }
    arena_free(&scratch);
    return err == ERR_NOTFOUND ? ERR_NONE : err;
}

/* What of this table was not read: its own request with the remaining keys. */
static void
put_rest(struct buf *rest, const struct batch_table *table, size_t from)
{
    static const char *const kept[] = {"ProjectionExpression", "ExpressionAttributeNames",
                                       "ConsistentRead"};
    buf_puts(rest, rest->n == 0 ? "" : ",");
    json_quote(rest, table->name);
    buf_puts(rest, ":{\"Keys\":[");
    for (size_t i = from; i < table->count; i++) {
        buf_puts(rest, i == from ? "" : ",");
        ddb_write_map(rest, &table->entries[i].item);
    }
    buf_putc(rest, ']');
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        const json_t *v = json_object_get(table->json, kept[i]);
        if (v == NULL)
            continue;
        buf_printf(rest, ",\"%s\":", kept[i]);
        json_write(rest, v, false);
    }
    buf_putc(rest, '}');
}

static int
get_table(struct ddb_request *q, struct db_conn *conn, struct batch_table *table, struct buf *rest)
{
    struct table t;
    bool first = true;
    size_t i = 0;
    table->units = 0;
    int err = ddb_find_table(q, conn, table->name, &t);
    if (err == ERR_NONE)
        err = check_entries(q, &t, table);
    json_quote(&q->reply, table->name);
    buf_puts(&q->reply, ":[");
    for (; i < table->count && err == ERR_NONE && q->reply.n < DDB_PAGE_JSON_MAX; i++)
        err = get_entry(q, conn, &t, table, i, &first);
    buf_putc(&q->reply, ']');
    if (err == ERR_NONE && i < table->count)
        put_rest(rest, table, i);
    return err;
}

static int
get_run(struct ddb_request *q, struct db_conn *conn)
{
    struct batch_plan *plan = q->plan;
    struct buf rest;
    int err = ERR_NONE;
    buf_init(&rest, DDB_PAGE_JSON_MAX);
    buf_puts(&q->reply, "{\"Responses\":{");
    for (size_t i = 0; i < plan->count && err == ERR_NONE; i++) {
        buf_puts(&q->reply, i == 0 ? "" : ",");
        err = get_table(q, conn, &plan->tables[i], &rest);
    }
    buf_puts(&q->reply, "},\"UnprocessedKeys\":{");
    buf_put_slice(&q->reply, buf_slice(&rest));
    buf_putc(&q->reply, '}');
    put_capacities(q);
    buf_putc(&q->reply, '}');
    err = err != ERR_NONE ? err : rest.err;
    buf_fini(&rest);
    return err;
}

static int
write_table(struct ddb_request *q, struct db_conn *conn, struct batch_table *table)
{
    struct table t;
    table->units = 0;
    int err = ddb_find_table(q, conn, table->name, &t);
    if (err == ERR_NONE)
        err = check_entries(q, &t, table);
    for (size_t i = 0; i < table->count && err == ERR_NONE; i++) {
        const struct attr_value *item = &table->entries[i].item;
        err = table->entries[i].put ? table_apply_put(conn, q->scratch, &t, item, NULL)
                                    : table_apply_delete_item(conn, q->scratch, &t, item, NULL);
        table->units += ddb_write_units(table->entries[i].put ? item_bytes(item) : 0);
    }
    return err;
}

static int
write_run(struct ddb_request *q, struct db_conn *conn)
{
    struct batch_plan *plan = q->plan;
    int err = ERR_NONE;
    for (size_t i = 0; i < plan->count && err == ERR_NONE; i++)
        err = write_table(q, conn, &plan->tables[i]);
    buf_puts(&q->reply, "{\"UnprocessedItems\":{}");
    put_capacities(q);
    buf_putc(&q->reply, '}');
    return err;
}

const struct ddb_operation ddb_batch_operations[] = {
    {"BatchGetItem", get_read, get_run, false, false, DDB_BATCH_BODY_MAX},
    {"BatchWriteItem", write_read, write_run, true, false, DDB_BATCH_BODY_MAX},
    {.name = NULL}};
