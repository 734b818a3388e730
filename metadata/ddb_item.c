/*
 * GetItem, PutItem, DeleteItem, UpdateItem: one item by its key. Conditions are judged inside the
 * transaction, against the item as it is there.
 */
#include "base/err.h"
#include "metadata/ddb_priv.h"

struct item_plan {
    struct slice table;
    struct attr_value item; /* the Key, for all but PutItem */
    struct expr_env env;
    const struct expr *condition;
    const struct expr_paths *projection;
    const struct expr_update *update;
    enum ddb_return wanted;
    enum ddb_capacity capacity;
    bool consistent;
    bool tell_old; /* in the answer to a failed condition */
};

/* ---- parameters ---- */

static const char *const legacy[] = {"AttributesToGet", "AttributeUpdates", "Expected",
                                     "ConditionalOperator", NULL};

static int
read_returns(struct ddb_request *q, struct item_plan *plan, bool is_update)
{
    static const char *const words[] = {"NONE",    "ALL_OLD",     "UPDATED_OLD",
                                        "ALL_NEW", "UPDATED_NEW", NULL};
    static const char *const failure_words[] = {"NONE", "ALL_OLD", NULL};
    static const char *const size_words[] = {"NONE", "SIZE", NULL};
    int word, tell, size;
    int err = ddb_get_word(q, q->body, "ReturnValues", words, RETURN_NONE, &word);
    if (err == ERR_NONE)
        err = ddb_get_word(q, q->body, "ReturnValuesOnConditionCheckFailure", failure_words, 0,
                           &tell);
    if (err == ERR_NONE) /* only tables with local indexes have such metrics */
        err = ddb_get_word(q, q->body, "ReturnItemCollectionMetrics", size_words, 0, &size);
    if (err != ERR_NONE)
        return err;
    plan->wanted = (enum ddb_return)word;
    plan->tell_old = tell == 1;
    if (!is_update && plan->wanted > RETURN_ALL_OLD)
        return ddb_fail(q, DDB_VALIDATION, "ReturnValues can only be ALL_OLD or NONE");
    return ERR_NONE;
}

static int
item_read(struct ddb_request *q, const char *item_name, struct item_plan **out)
{
    struct item_plan *plan = arena_alloc(q->arena, sizeof *plan);
    if (plan == NULL)
        return ERR_NOMEM;
    *out = q->plan = plan;
    int err = ddb_get_table(q, q->body, &plan->table);
    if (err == ERR_NONE)
        err = ddb_refuse_parameters(q, q->body, legacy);
    if (err == ERR_NONE)
        err = ddb_get_map(q, q->body, item_name, &plan->item);
    if (err == ERR_NONE && plan->item.type == 0)
        err = ddb_fail(q, DDB_VALIDATION,
                       "1 validation error detected: Value null at '%s' failed to satisfy"
                       " constraint: Member must not be null",
                       item_name[0] == 'K' ? "key" : "item");
    if (err == ERR_NONE)
        err = ddb_get_capacity(q, q->body, &plan->capacity);
    if (err == ERR_NONE)
        err = ddb_get_env(q, q->body, &plan->env);
    return err;
}

static int
get_read(struct ddb_request *q)
{
    struct item_plan *plan = NULL;
    int err = item_read(q, "Key", &plan);
    if (err == ERR_NONE)
        err = ddb_get_flag(q, q->body, "ConsistentRead", false, &plan->consistent);
    if (err == ERR_NONE)
        err = ddb_get_projection(q, q->body, &plan->env, &plan->projection);
    if (err == ERR_NONE)
        err = ddb_check_env(q, &plan->env, plan->projection != NULL);
    return err;
}

static int
write_read(struct ddb_request *q, const char *item_name)
{
    struct item_plan *plan = NULL;
    int err = item_read(q, item_name, &plan);
    if (err == ERR_NONE)
        err = read_returns(q, plan, false);
    if (err == ERR_NONE)
        err = ddb_get_condition(q, q->body, "ConditionExpression", &plan->env, EXPR_CONDITION,
                                &plan->condition);
    if (err == ERR_NONE)
        err = ddb_check_env(q, &plan->env, plan->condition != NULL);
    return err;
}

static int
put_read(struct ddb_request *q)
{
    return write_read(q, "Item");
}

static int
delete_read(struct ddb_request *q)
{
    return write_read(q, "Key");
}

static int
update_read(struct ddb_request *q)
{
    struct slice text;
    struct item_plan *plan = NULL;
    int err = item_read(q, "Key", &plan);
    if (err == ERR_NONE)
        err = read_returns(q, plan, true);
    if (err == ERR_NONE)
        err = ddb_get_text(q, q->body, "UpdateExpression", &text);
    if (err == ERR_NONE && text.p != NULL)
        err = ddb_fail_said(
            q, expr_parse_update(q->arena, &plan->env, text, &plan->update, &q->message));
    if (err == ERR_NONE)
        err = ddb_get_condition(q, q->body, "ConditionExpression", &plan->env, EXPR_CONDITION,
                                &plan->condition);
    if (err == ERR_NONE)
        err = ddb_check_env(q, &plan->env, plan->update != NULL || plan->condition != NULL);
    return err;
}

/* ---- answers ---- */

/* {"Attributes": ..., "ConsumedCapacity": ...} */
static void
answer(struct ddb_request *q, const char *name, const struct attr_value *item, double units)
{
    const struct item_plan *plan = q->plan;
    struct buf *out = &q->reply;
    buf_putc(out, '{');
    if (item != NULL && item->type == ATTR_M) {
        buf_printf(out, "\"%s\":", name);
        ddb_write_map(out, item);
    }
    if (plan->capacity != CAPACITY_NONE) {
        buf_puts(out,
                 out->p[out->n - 1] == '{' ? "\"ConsumedCapacity\":" : ",\"ConsumedCapacity\":");
        ddb_put_capacity(out, plan->capacity, plan->table, units);
    }
    buf_putc(out, '}');
}

static int
get_run(struct ddb_request *q, struct db_conn *conn)
{
    struct table t;
    struct attr_value item = {0}, shown;
    const struct item_plan *plan = q->plan;
    int err = ddb_find_table(q, conn, plan->table, &t);
    if (err == ERR_NONE)
        err = ddb_check_key(q, &t, &plan->item);
    if (err == ERR_NONE)
        err = table_get(conn, q->scratch, &t, &plan->item, &item);
    if (err != ERR_NONE && err != ERR_NOTFOUND)
        return err;
    size_t bytes = err == ERR_NONE ? item_bytes(&item) : 0;
    shown = item;
    if (err == ERR_NONE && plan->projection != NULL)
        err = expr_project(q->scratch, plan->projection, &item, &shown);
    if (err == ERR_NOMEM)
        return err;
    answer(q, "Item", &shown, ddb_read_units(bytes, plan->consistent));
    return ERR_NONE;
}

/* The item as it stands, type 0 when there is none, after the condition was judged on it. */
static int
judge(struct ddb_request *q, struct db_conn *conn, const struct table *t, struct attr_value *old)
{
    static const struct attr_value nothing = {.type = ATTR_M};
    const struct item_plan *plan = q->plan;
    *old = (struct attr_value){0};
    int err = table_get(conn, q->scratch, t, &plan->item, old);
    if (err != ERR_NONE && err != ERR_NOTFOUND)
        return err;
    if (plan->condition == NULL || expr_matches(plan->condition, old->type == 0 ? &nothing : old))
        return ERR_NONE;
    ddb_fail(q, DDB_CONDITION_FAILED, "The conditional request failed");
    if (plan->tell_old && old->type != 0) {
        buf_puts(&q->extra, ",\"Item\":");
        ddb_write_map(&q->extra, old);
    }
    return ERR_PRECONDITION;
}

static size_t
larger_bytes(const struct attr_value *a, const struct attr_value *b)
{
    size_t x = a->type == 0 ? 0 : item_bytes(a), y = b->type == 0 ? 0 : item_bytes(b);
    return x > y ? x : y;
}

static int
put_run(struct ddb_request *q, struct db_conn *conn)
{
    struct table t;
    struct attr_value old;
    const struct item_plan *plan = q->plan;
    int err = ddb_find_table(q, conn, plan->table, &t);
    if (err == ERR_NONE)
        err = ddb_fail_said(q, table_key_check(&t, &plan->item, &q->message));
    if (err == ERR_NONE)
        err = judge(q, conn, &t, &old);
    if (err == ERR_NONE)
        err = table_apply_put(conn, q->scratch, &t, &plan->item, NULL);
    if (err == ERR_NONE)
        answer(q, "Attributes", plan->wanted == RETURN_ALL_OLD ? &old : NULL,
               ddb_write_units(larger_bytes(&old, &plan->item)));
    return err;
}

static int
delete_run(struct ddb_request *q, struct db_conn *conn)
{
    struct table t;
    struct attr_value old;
    const struct item_plan *plan = q->plan;
    int err = ddb_find_table(q, conn, plan->table, &t);
    if (err == ERR_NONE)
        err = ddb_check_key(q, &t, &plan->item);
    if (err == ERR_NONE)
        err = judge(q, conn, &t, &old);
    if (err == ERR_NONE)
        err = table_apply_delete_item(conn, q->scratch, &t, &plan->item, NULL);
    if (err == ERR_NONE)
        answer(q, "Attributes", plan->wanted == RETURN_ALL_OLD ? &old : NULL,
               ddb_write_units(larger_bytes(&old, &old)));
    return err;
}

/* ---- UpdateItem ---- */

static int
updated_answer(struct ddb_request *q, const struct attr_value *old, const struct attr_value *item)
{
    const struct item_plan *plan = q->plan;
    bool now = plan->wanted == RETURN_ALL_NEW || plan->wanted == RETURN_UPDATED_NEW;
    const struct attr_value *from = plan->wanted == RETURN_NONE ? NULL : now ? item : old;
    struct attr_value part;
    if (from != NULL && from->type != 0 &&
        (plan->wanted == RETURN_UPDATED_OLD || plan->wanted == RETURN_UPDATED_NEW)) {
        part = (struct attr_value){0};
        int err = plan->update == NULL
                      ? ERR_NONE
                      : expr_project(q->scratch, expr_update_paths(plan->update), from, &part);
        if (err != ERR_NONE)
            return err;
        from = part.count == 0 ? NULL : &part;
    }
    answer(q, "Attributes", from, ddb_write_units(larger_bytes(old, item)));
    return ERR_NONE;
}

/* The item before (type 0: none), and a second tree of it to be changed. */
static int
update_load(struct ddb_request *q, struct db_conn *conn, const struct table *t,
            struct attr_value *old, struct attr_value *item)
{
    const struct item_plan *plan = q->plan;
    int err = judge(q, conn, t, old);
    if (err != ERR_NONE)
        return err;
    return old->type == 0 ? ddb_key_of(q->scratch, t, &plan->item, item)
                          : table_get(conn, q->scratch, t, &plan->item, item);
}

static int
update_run(struct ddb_request *q, struct db_conn *conn)
{
    static const struct attr_value nothing = {.type = ATTR_M};
    struct table t;
    struct attr_value old, item;
    const struct item_plan *plan = q->plan;
    const struct expr_update *u = plan->update;
    int err = ddb_find_table(q, conn, plan->table, &t);
    if (err == ERR_NONE)
        err = ddb_check_key(q, &t, &plan->item);
    if (err == ERR_NONE && u != NULL)
        err = ddb_fail_said(q, expr_update_check(u, &t, &q->message));
    if (err == ERR_NONE)
        err = update_load(q, conn, &t, &old, &item);
    if (err == ERR_NONE && u != NULL)
        err = ddb_fail_said(q, expr_update_apply(q->scratch, u, old.type == 0 ? &nothing : &old,
                                                 &item, &q->message));
    if (err != ERR_NONE)
        return err;
    if (old.type == 0 && u != NULL && !expr_update_creates(u)) {
        item = (struct attr_value){0}; /* taking away from nothing makes nothing */
        return updated_answer(q, &old, &item);
    }
    if (item_bytes(&item) > ITEM_BYTES_MAX)
        return ddb_fail(q, DDB_VALIDATION,
                        "Item size to update has exceeded the maximum allowed size");
    if (attr_depth(&item) > ITEM_DEPTH_MAX)
        return ddb_fail(q, DDB_VALIDATION, "Nesting Levels have exceeded supported limits");
    err = table_apply_put(conn, q->scratch, &t, &item, NULL);
    return err != ERR_NONE ? err : updated_answer(q, &old, &item);
}

const struct ddb_operation ddb_item_operations[] = {
    {"GetItem", get_read, get_run, false, false, DDB_BODY_MAX},
    {"PutItem", put_read, put_run, true, false, DDB_BODY_MAX},
    {"DeleteItem", delete_read, delete_run, true, true, DDB_BODY_MAX},
    {"UpdateItem", update_read, update_run, true, false, DDB_BODY_MAX},
    {.name = NULL}};
