/*
 * DynamoDB expressions, over one item and one set of placeholders: #a #b #c, and :TYPE of each
 * type. First byte: c condition, f filter, k key condition, p projection, u update. The same text
 * means the same each time; NOT turns a condition round; an update leaves an item that can be kept.
 */
#include "metadata/ddb_json.h"
#include "metadata/expr.h"
#include "metadata/item_priv.h"
#include "tests/fuzz/fuzz.h"

static const char item_json[] =
    "{\"id\":{\"S\":\"x\"},\"n\":{\"N\":\"5\"},\"a\":{\"M\":{\"b\":{\"L\":[{\"N\":\"1\"},"
    "{\"S\":\"two\"},{\"L\":[]}]},\"c\":{\"BOOL\":true}}},\"ss\":{\"SS\":[\"p\",\"q\"]},"
    "\"ns\":{\"NS\":[\"1\",\"2\"]},\"bs\":{\"BS\":[\"AA==\"]},\"t\":{\"S\":\"text\"},"
    "\"z\":{\"NULL\":true},\"y\":{\"B\":\"AAEC\"}}";
static const char values_json[] =
    "{\":S\":{\"S\":\"text\"},\":N\":{\"N\":\"7\"},\":B\":{\"B\":\"AAE=\"},"
    "\":BOOL\":{\"BOOL\":false},\":NULL\":{\"NULL\":true},\":L\":{\"L\":[{\"S\":\"l\"}]},"
    "\":M\":{\"M\":{\"k\":{\"N\":\"1\"}}},\":SS\":{\"SS\":[\"q\",\"r\"]},"
    "\":NS\":{\"NS\":[\"2\",\"3\"]},\":BS\":{\"BS\":[\"AQ==\"]},\":T\":{\"S\":\"SS\"}}";

static struct attr_value item, values;

static void
read_once(const char *text, struct attr_value *out)
{
    static struct arena *kept; /* both, and their JSON, stay until the end */
    static json_t *texts[2];
    struct buf why;
    buf_init(&why, 1024);
    if (kept == NULL)
        kept = fuzz_arena();
    json_t *json = json_read(slice_str(text), &why);
    CHK(json != NULL && ddb_read_map(kept, json, out, &why) == ERR_NONE);
    texts[texts[0] != NULL] = json;
    buf_fini(&why);
}

static struct expr_env
env_new(struct arena *a)
{
    static const char *const names[] = {"#a", "a", "#b", "b", "#c", "c c"};
    struct expr_env env = {.names = arena_alloc(a, 3 * sizeof *env.names),
                           .name_count = 3,
                           .values = arena_alloc(a, values.count * sizeof *env.values),
                           .value_count = values.count};
    CHK(env.names != NULL && env.values != NULL);
    for (size_t i = 0; i < 3; i++)
        env.names[i] =
            (struct expr_name){slice_str(names[2 * i]), slice_str(names[2 * i + 1]), false};
    for (size_t i = 0; i < values.count; i++)
        env.values[i] = (struct expr_value){values.names[i], values.elements[i], false};
    return env;
}

static struct attr_value
copy_of_item(struct arena *a, struct buf *row)
{
    struct attr_value copy;
    buf_reset(row);
    item_encode(row, &item);
    struct slice bytes = arena_dup(a, buf_slice(row));
    CHK(bytes.p != NULL && item_decode(a, bytes, &copy) == ERR_NONE);
    return copy;
}

static void
check_condition(struct arena *a, struct slice text, enum expr_use use, struct buf *why)
{
    const struct expr *e = NULL, *turned = NULL;
    struct expr_env env = env_new(a);
    int err = expr_parse_condition(a, &env, use, text, &e, why);
    CHK(err != ERR_INVALID || why->n > 0);
    if (err != ERR_NONE)
        return;
    bool matches = expr_matches(e, &item);
    struct table t = {.partition = {SLICE_LIT("id"), ATTR_S}, .sort = {SLICE_LIT("n"), ATTR_N}};
    struct table_range range = {0};
    expr_mentions(e, SLICE_LIT("id"));
    if (use == EXPR_KEY_CONDITION && expr_key_range(e, &t, &range, why) == ERR_NONE)
        CHK(range.partition != NULL && range.partition->type == ATTR_S);
    if (use == EXPR_KEY_CONDITION)
        return;
    struct buf opposite;
    buf_init(&opposite, 2 * EXPR_BYTES_MAX);
    buf_puts(&opposite, "NOT (");
    buf_put_slice(&opposite, text);
    buf_puts(&opposite, ")");
    struct slice copy = arena_dup(a, buf_slice(&opposite));
    env = env_new(a);
    if (expr_parse_condition(a, &env, use, copy, &turned, why) == ERR_NONE)
        CHK(expr_matches(turned, &item) == !matches);
    buf_fini(&opposite);
}

static void
check_projection(struct arena *a, struct slice text, struct buf *why)
{
    const struct expr_paths *paths = NULL;
    struct expr_env env = env_new(a);
    struct attr_value part, again;
    int err = expr_parse_projection(a, &env, text, &paths, why);
    CHK(err != ERR_INVALID || why->n > 0);
    if (err != ERR_NONE || expr_project(a, paths, &item, &part) != ERR_NONE)
        return;
    CHK(item_bytes(&part) <= item_bytes(&item));
    /* A list's indexes close up, so only paths without them can be asked for twice. */
    if (memchr(text.p, '[', text.n) != NULL)
        return;
    CHK(expr_project(a, paths, &part, &again) == ERR_NONE && attr_equal(&part, &again));
}

static void
check_update(struct arena *a, struct slice text, struct buf *why)
{
    const struct expr_update *u = NULL;
    struct expr_env env = env_new(a);
    struct buf row;
    int err = expr_parse_update(a, &env, text, &u, why);
    CHK(err != ERR_INVALID || why->n > 0);
    if (err != ERR_NONE)
        return;
    buf_init(&row, 4u << 20);
    struct attr_value one = copy_of_item(a, &row), two = copy_of_item(a, &row), back, part;
    err = expr_update_apply(a, u, &item, &one, why);
    CHK(expr_update_apply(a, u, &item, &two, why) == err);
    if (err == ERR_NONE) {
        CHK(attr_equal(&one, &two));
        buf_reset(&row);
        item_encode(&row, &one);
        if (row.err == ERR_NONE)
            CHK(item_decode(a, buf_slice(&row), &back) == ERR_NONE && attr_equal(&one, &back));
        expr_project(a, expr_update_paths(u), &one, &part);
    }
    buf_fini(&row);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_of(data, size);
    unsigned kind = fuzz_byte(&in);
    if (item.type != ATTR_M) {
        read_once(item_json, &item);
        read_once(values_json, &values);
    }
    struct arena *a = fuzz_arena();
    struct slice text = fuzz_exact(in);
    struct buf why;
    buf_init(&why, 1u << 16);
    if (kind == 'p')
        check_projection(a, text, &why);
    else if (kind == 'u')
        check_update(a, text, &why);
    else
        check_condition(a, text,
                        kind == 'k'   ? EXPR_KEY_CONDITION
                        : kind == 'f' ? EXPR_FILTER
                                      : EXPR_CONDITION,
                        &why);
    buf_fini(&why);
    free((void *)(uintptr_t)text.p);
    arena_free(&a);
    return 0;
}
