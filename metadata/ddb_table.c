/*
 * CreateTable, DeleteTable, DescribeTable, ListTables. A table is active as soon as its row is
 * committed; what CreateTable cannot give yet is refused by name, never ignored.
 */
#include "base/auth.h"
#include "base/clock.h"
#include "base/err.h"
#include "metadata/ddb_priv.h"

#define ACCOUNT_IN_ARN "000000000000"
#define LIST_PAGE_MAX 100
#define THROUGHPUT_MAX 1000000000000

/* ---- description ---- */

static void
put_definition(struct buf *out, const struct table_key_attr *k)
{
    buf_puts(out, "{\"AttributeName\":");
    json_quote(out, k->name);
    buf_printf(out, ",\"AttributeType\":\"%s\"}", attr_type_name(k->type));
}

static void
put_key_element(struct buf *out, const struct table_key_attr *k, const char *type)
{
    buf_puts(out, "{\"AttributeName\":");
    json_quote(out, k->name);
    buf_printf(out, ",\"KeyType\":\"%s\"}", type);
}

static void
put_description(struct ddb_request *q, const struct table *t, const char *status)
{
    struct buf *out = &q->reply;
    bool has_sort = t->sort.name.n > 0;
    buf_puts(out, "{\"AttributeDefinitions\":[");
    put_definition(out, &t->partition);
    if (has_sort) {
        buf_putc(out, ',');
        put_definition(out, &t->sort);
    }
    buf_puts(out, "],\"TableName\":");
    json_quote(out, t->name);
    buf_puts(out, ",\"KeySchema\":[");
    put_key_element(out, &t->partition, "HASH");
    if (has_sort) {
        buf_putc(out, ',');
        put_key_element(out, &t->sort, "RANGE");
    }
    buf_printf(out,
               "],\"TableStatus\":\"%s\",\"CreationDateTime\":%lld.%03d,"
               "\"ProvisionedThroughput\":{\"NumberOfDecreasesToday\":0,\"ReadCapacityUnits\":%lld,"
               "\"WriteCapacityUnits\":%lld},\"TableSizeBytes\":%lld,\"ItemCount\":%lld,",
               status, (long long)(t->created_ms / 1000), (int)(t->created_ms % 1000),
               (long long)t->read_units, (long long)t->write_units, (long long)t->bytes,
               (long long)t->item_count);
    if (t->read_units == 0)
        buf_puts(out, "\"BillingModeSummary\":{\"BillingMode\":\"PAY_PER_REQUEST\"},");
    buf_printf(out, "\"TableArn\":\"arn:aws:dynamodb:%s:" ACCOUNT_IN_ARN ":table/%.*s\",",
               ddb_options_of(q)->region, SLICE_FMT(t->name));
    buf_printf(out, "\"TableId\":\"%.*s\",\"DeletionProtectionEnabled\":false}",
               SLICE_FMT(t->uuid));
}

/* ---- CreateTable ---- */

static int
missing(struct ddb_request *q, const char *where)
{
    return ddb_fail(q, DDB_VALIDATION,
                    "1 validation error detected: Value null at '%s' failed to satisfy constraint:"
                    " Member must not be null",
                    where);
}

static int
check_extras(struct ddb_request *q)
{
    static const char *const unsupported[] = {"LocalSecondaryIndexes", "GlobalSecondaryIndexes"};
    static const char *const switches[][2] = {{"StreamSpecification", "StreamEnabled"},
                                              {"SSESpecification", "Enabled"}};
    bool on = false;
    for (size_t i = 0; i < 2; i++)
        if (json_array_size(json_object_get(q->body, unsupported[i])) > 0)
            return ddb_fail(q, DDB_VALIDATION, "%s: secondary indexes are not supported yet",
                            unsupported[i]);
    for (size_t i = 0; i < 2; i++) {
        const json_t *v = json_object_get(q->body, switches[i][0]);
        if (json_is_true(json_object_get(v, switches[i][1])))
            return ddb_fail(q, DDB_VALIDATION, "%s is not supported yet", switches[i][0]);
    }
    if (json_array_size(json_object_get(q->body, "Tags")) > 0)
        return ddb_fail(q, DDB_VALIDATION, "Tags are not supported yet");
    int err = ddb_get_flag(q, q->body, "DeletionProtectionEnabled", false, &on);
    if (err == ERR_NONE && on)
        return ddb_fail(q, DDB_VALIDATION, "DeletionProtectionEnabled is not supported yet");
    return err;
}

static int
read_throughput(struct ddb_request *q, struct table *t)
{
    static const char *const modes[] = {"PROVISIONED", "PAY_PER_REQUEST", NULL};
    int mode;
    const json_t *units = json_object_get(q->body, "ProvisionedThroughput");
    int err = ddb_get_word(q, q->body, "BillingMode", modes, 0, &mode);
    if (err != ERR_NONE)
        return err;
    if (mode == 1 && json_is_object(units))
        return ddb_fail(q, DDB_VALIDATION,
                        "One or more parameter values were invalid: Neither ReadCapacityUnits nor"
                        " WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST");
    if (mode == 1)
        return ERR_NONE;
    if (!json_is_object(units))
        return ddb_fail(q, DDB_VALIDATION,
                        "One or more parameter values were invalid: ReadCapacityUnits and"
                        " WriteCapacityUnits must both be specified when BillingMode is"
                        " PROVISIONED");
    err = ddb_get_count(q, units, "ReadCapacityUnits", 1, THROUGHPUT_MAX, &t->read_units);
    if (err == ERR_NONE)
        err = ddb_get_count(q, units, "WriteCapacityUnits", 1, THROUGHPUT_MAX, &t->write_units);
    if (err == ERR_NONE && (t->read_units < 0 || t->write_units < 0))
        err = missing(q, t->read_units < 0 ? "provisionedThroughput.readCapacityUnits"
                                           : "provisionedThroughput.writeCapacityUnits");
    return err;
}

/* The type AttributeDefinitions gives this attribute. */
static int
find_type(struct ddb_request *q, const json_t *definitions, struct table_key_attr *k)
{
    size_t i;
    const json_t *d;
    json_array_foreach((json_t *)definitions, i, d)
    {
        struct slice name = json_get_str(d, "AttributeName");
        if (name.p == NULL || !slice_eq(name, k->name))
            continue;
        k->type = attr_type_by_name(json_get_str(d, "AttributeType"));
        if (k->type >= ATTR_S && k->type <= ATTR_B)
            return ERR_NONE;
        return ddb_fail(q, DDB_VALIDATION,
                        "1 validation error detected: Value at 'attributeDefinitions.%zu.member."
                        "attributeType' failed to satisfy constraint: Member must satisfy enum"
                        " value set: [B, N, S]",
                        i + 1);
    }
    return ddb_fail(q, DDB_VALIDATION,
                    "One or more parameter values were invalid: Some index key attributes are not"
                    " defined in AttributeDefinitions. Keys: [%.*s]",
                    SLICE_FMT(k->name));
}

static int
read_key_schema(struct ddb_request *q, struct table *t)
{
    const json_t *schema = json_object_get(q->body, "KeySchema");
    const json_t *definitions = json_object_get(q->body, "AttributeDefinitions");
    size_t n = json_array_size(schema);
    if (!json_is_array(definitions))
        return missing(q, "attributeDefinitions");
    if (!json_is_array(schema))
        return missing(q, "keySchema");
    if (n < 1 || n > 2)
        return ddb_fail(q, DDB_VALIDATION,
                        "1 validation error detected: Value at 'keySchema' failed to satisfy"
                        " constraint: Member must have length %s than or equal to %d",
                        n < 1 ? "greater" : "less", n < 1 ? 1 : 2);
    for (size_t i = 0; i < n; i++) {
        const json_t *element = json_array_get(schema, i);
        struct table_key_attr *k = i == 0 ? &t->partition : &t->sort;
        k->name = json_get_str(element, "AttributeName");
        if (k->name.n < 1 || k->name.n > 255)
            return ddb_fail(q, DDB_VALIDATION,
                            "1 validation error detected: Value at 'keySchema.%zu.member."
                            "attributeName' failed to satisfy constraint: Member must have length"
                            " between 1 and 255",
                            i + 1);
        if (!slice_eqs(json_get_str(element, "KeyType"), i == 0 ? "HASH" : "RANGE"))
            return ddb_fail(q, DDB_VALIDATION,
                            "Invalid KeySchema: The %s KeySchemaElement is not a %s key type",
                            i == 0 ? "first" : "second", i == 0 ? "HASH" : "RANGE");
    }
    if (n == 2 && slice_eq(t->partition.name, t->sort.name))
        return ddb_fail(q, DDB_VALIDATION,
                        "Both the Hash Key and the Range Key element in the KeySchema have the"
                        " same name");
    int err = find_type(q, definitions, &t->partition);
    if (err == ERR_NONE && n == 2)
        err = find_type(q, definitions, &t->sort);
    if (err == ERR_NONE && json_array_size(definitions) != n)
        return ddb_fail(q, DDB_VALIDATION,
                        "One or more parameter values were invalid: Number of attributes in"
                        " KeySchema does not exactly match number of attributes defined in"
                        " AttributeDefinitions");
    return err;
}

static int
create_read(struct ddb_request *q)
{
    struct table *t = arena_alloc(q->arena, sizeof *t);
    if (t == NULL)
        return ERR_NOMEM;
    q->plan = t;
    int err = ddb_get_table(q, q->body, &t->name);
    if (err == ERR_NONE)
        err = check_extras(q);
    if (err == ERR_NONE)
        err = read_throughput(q, t);
    if (err == ERR_NONE)
        err = read_key_schema(q, t);
    t->created_ms = clock_wall_ms();
    t->account_id = slice_str(q->http->auth->account->id);
    return err;
}

static int
create_run(struct ddb_request *q, struct db_conn *conn)
{
    struct table made;
    const struct table *t = q->plan;
    int err = table_apply_create(conn, t);
    if (err == ERR_EXISTS)
        return ddb_fail(q, DDB_RESOURCE_IN_USE, "Table already exists: %.*s", SLICE_FMT(t->name));
    if (err == ERR_TOOBIG)
        return ddb_fail(q, DDB_LIMIT_EXCEEDED, "Too many tables: the limit is %d", TABLES_MAX);
    if (err == ERR_NONE)
        err = ddb_find_table(q, conn, t->name, &made);
    if (err != ERR_NONE)
        return err;
    buf_puts(&q->reply, "{\"TableDescription\":");
    put_description(q, &made, "ACTIVE");
    buf_putc(&q->reply, '}');
    return ERR_NONE;
}

/* ---- DeleteTable, DescribeTable ---- */

static int
name_read(struct ddb_request *q)
{
    struct slice *name = arena_alloc(q->arena, sizeof *name);
    q->plan = name;
    return name == NULL ? ERR_NOMEM : ddb_get_table(q, q->body, name);
}

static int
delete_run(struct ddb_request *q, struct db_conn *conn)
{
    struct table t;
    const struct slice *name = q->plan;
    int err = ddb_find_table(q, conn, *name, &t);
    if (err == ERR_NONE)
        err = table_apply_delete(conn, *name);
    if (err != ERR_NONE)
        return err;
    q->sweep = true;
    buf_puts(&q->reply, "{\"TableDescription\":");
    put_description(q, &t, "DELETING");
    buf_putc(&q->reply, '}');
    return ERR_NONE;
}

static int
describe_run(struct ddb_request *q, struct db_conn *conn)
{
    struct table t;
    const struct slice *name = q->plan;
    int err = ddb_find_table(q, conn, *name, &t);
    if (err != ERR_NONE)
        return err;
    buf_puts(&q->reply, "{\"Table\":");
    put_description(q, &t, "ACTIVE");
    buf_putc(&q->reply, '}');
    return ERR_NONE;
}

/* ---- ListTables ---- */

struct list_plan {
    struct slice after;
    int64_t limit;
};

struct list_page {
    struct ddb_request *q;
    int64_t limit, count;
    bool more;
    struct slice last;
};

static int
list_read(struct ddb_request *q)
{
    struct list_plan *plan = arena_alloc(q->arena, sizeof *plan);
    if (plan == NULL)
        return ERR_NOMEM;
    q->plan = plan;
    int err = ddb_get_text(q, q->body, "ExclusiveStartTableName", &plan->after);
    if (err == ERR_NONE)
        err = ddb_get_count(q, q->body, "Limit", 1, LIST_PAGE_MAX, &plan->limit);
    if (plan->limit < 0)
        plan->limit = LIST_PAGE_MAX;
    return err;
}

static int
list_one(void *arg, struct slice name)
{
    struct list_page *page = arg;
    if (page->count == page->limit) {
        page->more = true;
        return 1;
    }
    if (page->count++ > 0)
        buf_putc(&page->q->reply, ',');
    json_quote(&page->q->reply, name);
    page->last = arena_dup(page->q->scratch, name);
    return page->last.p == NULL ? ERR_NOMEM : 0;
}

static int
list_run(struct ddb_request *q, struct db_conn *conn)
{
    const struct list_plan *plan = q->plan;
    struct list_page page = {.q = q, .limit = plan->limit};
    buf_puts(&q->reply, "{\"TableNames\":[");
    int err = table_list(conn, plan->after, (int)plan->limit + 1, list_one, &page);
    buf_putc(&q->reply, ']');
    if (page.more) {
        buf_puts(&q->reply, ",\"LastEvaluatedTableName\":");
        json_quote(&q->reply, page.last);
    }
    buf_putc(&q->reply, '}');
    return err;
}

const struct ddb_operation ddb_table_operations[] = {
    {"CreateTable", create_read, create_run, true, false, DDB_BODY_MAX},
    {"DeleteTable", name_read, delete_run, true, true, DDB_BODY_MAX},
    {"DescribeTable", name_read, describe_run, false, false, DDB_BODY_MAX},
    {"ListTables", list_read, list_run, false, false, DDB_BODY_MAX},
    {.name = NULL}};
