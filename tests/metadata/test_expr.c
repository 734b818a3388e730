/*
 * Expressions: what they accept and mean, and the sentences in which they refuse.
 */
#include "base/err.h"
#include "metadata/ddb_json.h"
#include "metadata/expr_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static struct arena *arena;
static struct buf why;
static struct expr_env env;

static int
setup(void **state)
{
    (void)state;
    arena = arena_new(16u << 20);
    buf_init(&why, 1 << 16);
    env = (struct expr_env){0};
    return arena == NULL;
}

static int
teardown(void **state)
{
    (void)state;
    buf_fini(&why);
    arena_free(&arena);
    return 0;
}

/* An item from DynamoDB JSON with ' for ". */
static struct attr_value
item(const char *quoted)
{
    struct attr_value out, copy;
    struct buf text, row;
    buf_init(&text, 1 << 16);
    buf_init(&row, 1 << 16);
    buf_puts(&text, quoted);
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] == '\'')
            text.p[i] = '"';
    json_t *json = json_read(buf_slice(&text), &why);
    assert_non_null(json);
    assert_int_equal(ddb_read_map(arena, json, &out, &why), ERR_NONE);
    /* Through the disk's format, so that nothing points into the JSON. */
    item_encode(&row, &out);
    assert_int_equal(item_decode(arena, arena_dup(arena, buf_slice(&row)), &copy), ERR_NONE);
    json_decref(json);
    buf_fini(&text);
    buf_fini(&row);
    return copy;
}

/* Placeholders: {':v': {...}} and "#a=name #b=other". */
static void
set_env(const char *names, const char *values)
{
    struct attr_value map = item(values);
    env = (struct expr_env){.names = arena_alloc(arena, 10 * sizeof *env.names),
                            .values = arena_alloc(arena, (map.count + 1) * sizeof *env.values),
                            .value_count = map.count};
    for (size_t i = 0; i < map.count; i++)
        env.values[i] = (struct expr_value){map.names[i], map.elements[i], false};
    for (struct slice rest = slice_str(names), one; rest.n > 0;) {
        one = slice_cut(rest, ' ', &rest);
        struct slice value, name = slice_cut(one, '=', &value);
        env.names[env.name_count++] = (struct expr_name){name, value, false};
    }
}

static const char record[] =
    "{'pk': {'S': 'p'}, 'n': {'N': '15'}, 's': {'S': 'hello'}, 'b': {'B': 'AQID'},"
    " 'yes': {'BOOL': true}, 'nil': {'NULL': true}, 'ss': {'SS': ['x', 'y']},"
    " 'ns': {'NS': ['1', '2.50']}, 'l': {'L': [{'N': '1'}, {'S': 'two'}, {'L': [{'S': 'in'}]}]},"
    " 'm': {'M': {'a': {'M': {'b': {'N': '7'}}}, 'dotted.name': {'S': 'd'}}}}";
static const char values[] =
    "{':n15': {'N': '1.5e1'}, ':n20': {'N': '20'}, ':n3': {'N': '3'}, ':hello': {'S': 'hello'},"
    " ':he': {'S': 'he'}, ':x': {'S': 'x'}, ':p': {'S': 'p'}, ':S': {'S': 'S'}, ':M': {'S': 'M'},"
    " ':yes': {'BOOL': true}, ':none': {'NULL': true}, ':ss': {'SS': ['y', 'x']},"
    " ':one': {'N': '1'}, ':two5': {'N': '2.5'}, ':l': {'L': [{'S': 'in'}]}, ':empty': {'S': ''},"
    " ':m': {'M': {'b': {'N': '7'}}}, ':bin': {'B': 'AQ=='}, ':n7': {'N': '7'}, ':z': {'S': 'z'}}";

static const struct expr *
parse(enum expr_use use, const char *text)
{
    const struct expr *e = NULL;
    buf_reset(&why);
    int err = expr_parse_condition(arena, &env, use, slice_str(text), &e, &why);
    assert_true(err == ERR_NONE || err == ERR_INVALID);
    assert_true(err == ERR_NONE || why.n > 0);
    return err == ERR_NONE ? e : NULL;
}

static void
conditions_mean_what_they_say(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool want;
    } table[] = {
        {"n = :n15", true},
        {"n <> :n15", false},
        {"n < :n20 AND n > :n3", true},
        {"n <= :n15 AND n >= :n15", true},
        {"n BETWEEN :n3 AND :n20", true},
        {"n BETWEEN :n3 AND :n15", true},
        {"n IN (:n3, :n20)", false},
        {"n IN (:n3, :n15, :n20)", true},
        {"absent = :n15", false},
        {"absent <> :n15", true},
        {"absent < :n15", false},
        {"s = :n15", false},
        {"s > :n15", false},
        {"NOT s = :n15", true},
        {"NOT (n = :n15 OR s = :he)", false},
        {"n = :n3 OR n = :n20 OR s = :hello", true},
        {"n = :n3 OR s = :hello AND n = :n20", false}, /* AND binds closer */
        {"(n = :n3 OR s = :hello) AND n = :n15", true},
        {"NOT n = :n3 AND NOT n = :n20", true},
        {"attribute_exists(n)", true},
        {"attribute_exists(m.a.b)", true},
        {"attribute_exists(m.a.c)", false},
        {"attribute_not_exists(absent)", true},
        {"attribute_not_exists(l[3])", true},
        {"attribute_exists(l[2][0])", true},
        {"attribute_type(s, :S)", true},
        {"attribute_type(m, :M)", true},
        {"attribute_type(n, :S)", false},
        {"begins_with(s, :he)", true},
        {"begins_with(s, :x)", false},
        {"begins_with(b, :bin)", true},
        {"begins_with(n, :he)", false},
        {"contains(s, :he)", true},
        {"contains(s, :empty)", true},
        {"contains(ss, :x)", true},
        {"contains(ss, :he)", false},
        {"contains(ns, :two5)", true},
        {"contains(ns, :n3)", false},
        {"contains(l, :one)", true},
        {"contains(l, :l)", true},
        {"contains(n, :one)", false},
        {"size(s) = size(#s) OR size(s) > :n3", true},
        {"size(l) = :n3", true},
        {"size(ss) < :n3", true},
        {"size(n) = :n3", false},
        {"size(absent) < :n20", false},
        {"ss = :ss", true},
        {"m.a = :m", true},
        {"m.a.b = :n7", true},
        {"m.#dotted = :x", false},
        {"l[1] < :x", true},
        {":n3 < n", true},
        {"yes = :yes AND nil = :none", true},
        {"(n) = (:n15)", true},
        {"n=:n15\tAND\n(s=:hello)", true},
        {"attribute_exists(#s) and not attribute_exists(absent)", true},
    };
    struct attr_value r = item(record);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        set_env("#s=ss #dotted=dotted.name", values);
        const struct expr *e = parse(EXPR_CONDITION, table[i].text);
        if (e == NULL)
            fail_msg("%s: %s", table[i].text, why.p);
        if (expr_matches(e, &r) != table[i].want)
            fail_msg("%s", table[i].text);
    }
}

static void
conditions_refuse_as_dynamodb_does(void **state)
{
    (void)state;
    static const char *const table[][2] = {
        {"", "The expression can not be empty;"},
        {" \t", "The expression can not be empty;"},
        {"n", "Syntax error; token: \"<EOF>\", near: \"n\""},
        {"n =", "Syntax error; token: \"<EOF>\", near: \"=\""},
        {"n = = :x", "Syntax error; token: \"=\", near: \"= = :x\""},
        {"n = :x :x", "Syntax error; token: \":x\", near: \":x :x\""},
        {"n == :x", "Syntax error; token: \"=\", near: \"== :x\""},
        {"n ! :x", "Syntax error; token: \"!\", near: \"n ! :x\""},
        {"(n = :x", "Syntax error; token: \"<EOF>\", near: \":x\""},
        {"AND n = :x", "Syntax error; token: \"AND\", near: \"AND n\""},
        {"n = :x AND", "Syntax error; token: \"<EOF>\", near: \"AND\""},
        {"n IN ()", "Syntax error; token: \")\", near: \"()\""},
        {"n BETWEEN :x", "Syntax error; token: \"<EOF>\", near: \":x\""},
        {"l[x] = :x", "Syntax error; token: \"x\", near: \"[x]\""},
        {"l[0 = :x", "Syntax error; token: \"=\", near: \"0 = :x\""},
        {"m. = :x", "Syntax error; token: \"=\", near: \". = :x\""},
        {"_id = :x", "Syntax error; token: \"_\", near: \"_id\""},
        {"(n = :x) = :x", "Syntax error; token: \"=\", near: \") = :x\""},
        {"# = :x", "Syntax error; token: \"#\", near: \"# =\""},
        {"\"n\" = :x", "Syntax error; token: \"\"\", near: \"\"n\""},
        {"((n = :x))", "The expression has redundant parentheses;"},
        {"((n)) = :x", "The expression has redundant parentheses;"},
        {"bucket = :x", "Attribute name is a reserved keyword; reserved keyword: bucket"},
        {"m.Format = :x", "Attribute name is a reserved keyword; reserved keyword: Format"},
        {"#no = :x", "An expression attribute name used in the document path is not defined;"
                     " attribute name: #no"},
        {"n = :no", "An expression attribute value used in expression is not defined; attribute"
                    " value: :no"},
        {"starts_with(n, :x)", "Invalid function name; function: starts_with"},
        {"Size(n) = :n3", "Invalid function name; function: Size"},
        {"size(n)", "The function is not allowed to be used this way in an expression; function:"
                    " size"},
        {"contains(n, :x) = :x", "The function is not allowed to be used this way in an expression;"
                                 " function: contains"},
        {"attribute_exists(n, n2)",
         "Incorrect number of operands for operator or function; operator"
         " or function: attribute_exists, number of operands: 2"},
        {"contains(n)", "Incorrect number of operands for operator or function; operator or"
                        " function: contains, number of operands: 1"},
        {"attribute_exists(:x)", "Operator or function requires a document path; operator or"
                                 " function: attribute_exists"},
        {"begins_with(n, :n3)", "Incorrect operand type for operator or function; operator or"
                                " function: begins_with, operand type: N"},
        {"attribute_type(n, :n3)", "Incorrect operand type for operator or function; operator or"
                                   " function: attribute_type, operand type: N"},
        {"attribute_type(n, :x)", "Invalid attribute type name found; type: x, valid types:"
                                  " {B,NULL,SS,BOOL,L,BS,N,NS,S,M}"},
        {"size(:n3) = :n3", "Incorrect operand type for operator or function; operator or function:"
                            " size, operand type: N"},
        {"n < :ss", "Incorrect operand type for operator or function; operator or function: <,"
                    " operand type: SS"},
        {"n = n", "The first operand must be distinct from the remaining operands for this operator"
                  " or function; operator: =, first operand: [n]"},
        {"n BETWEEN :n20 AND :n3",
         "The BETWEEN operator requires upper bound to be greater than or equal to lower bound;"
         " lower bound operand: AttributeValue: {N:20}, upper bound operand: AttributeValue:"
         " {N:3}"},
        {"n BETWEEN :n3 AND :x",
         "The BETWEEN operator requires same data type for lower and upper bounds; lower bound"
         " operand: AttributeValue: {N:3}, upper bound operand: AttributeValue: {S:x}"},
        {"l[99999999999] = :x",
         "List index is not within the allowable range; index: [99999999999]"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        set_env("", values);
        assert_null(parse(EXPR_FILTER, table[i][0]));
        assert_memory_equal(why.p, "Invalid FilterExpression: ", 26);
        assert_string_equal(why.p + 26, table[i][1]);
    }
}

static void
fill(struct buf *b, const char *one, int count, const char *end)
{
    buf_reset(b);
    for (int i = 0; i < count; i++)
        buf_puts(b, one);
    buf_puts(b, end);
}

static void
limits_hold(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    set_env("", values);
    fill(&b, "n=:x ", 2000, "");
    assert_null(parse(EXPR_FILTER, b.p));
    assert_non_null(strstr(why.p, "expression size: 10000"));
    fill(&b, "n=:x OR ", 151, "n=:x");
    assert_null(parse(EXPR_FILTER, b.p));
    assert_non_null(strstr(why.p, "too many operators; operator count: 303"));
    fill(&b, "n=:x OR ", 149, "n=:x");
    assert_non_null(parse(EXPR_FILTER, b.p));
    fill(&b, "(", 2000, "");
    assert_null(parse(EXPR_FILTER, b.p));
    assert_non_null(strstr(why.p, "nests too deep"));
    fill(&b, "NOT ", 1000, "n=:x");
    assert_null(parse(EXPR_FILTER, b.p));
    fill(&b, "NOT ", 40, "n=:x");
    assert_non_null(parse(EXPR_FILTER, b.p));
    buf_reset(&b);
    buf_puts(&b, "n IN (:x");
    for (int i = 0; i < 100; i++)
        buf_puts(&b, ",:x");
    buf_puts(&b, ")");
    assert_null(parse(EXPR_FILTER, b.p));
    assert_non_null(strstr(why.p, "number of operands: 101"));
    buf_reset(&b);
    buf_puts(&b, "a");
    for (int i = 0; i < 32; i++)
        buf_puts(&b, ".a");
    buf_puts(&b, "=:x");
    assert_null(parse(EXPR_FILTER, b.p));
    assert_non_null(strstr(why.p, "nesting levels: 33"));
    buf_fini(&b);
}

static void
reserved_words_are_known(void **state)
{
    (void)state;
    static const char *const reserved[] = {"ABORT", "bucket", "Format", "key",
                                           "ZONE",  "status", "name"};
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++)
        assert_true(expr_word_reserved(slice_str(reserved[i])));
    assert_false(expr_word_reserved(SLICE_LIT("caption")));
    assert_false(expr_word_reserved(SLICE_LIT("buckets")));
    assert_false(expr_word_reserved(SLICE_LIT("")));
}

static void
unused_placeholders_are_told(void **state)
{
    (void)state;
    set_env("#a=aa #b=bb", "{':v': {'S': 'x'}, ':w': {'S': 'y'}}");
    assert_non_null(parse(EXPR_FILTER, "#a = :v"));
    assert_int_equal(expr_check_unused(&env, &why), ERR_INVALID);
    assert_string_equal(
        why.p, "Value provided in ExpressionAttributeNames unused in expressions: keys: {#b}");
    assert_non_null(parse(EXPR_FILTER, "#b = :v"));
    buf_reset(&why);
    assert_int_equal(expr_check_unused(&env, &why), ERR_INVALID);
    assert_string_equal(
        why.p, "Value provided in ExpressionAttributeValues unused in expressions: keys: {:w}");
}

/* ---- key conditions ---- */

static void
key_conditions_become_ranges(void **state)
{
    (void)state;
    struct table t = {.partition = {SLICE_LIT("pk"), ATTR_S}, .sort = {SLICE_LIT("sk"), ATTR_N}};
    static const struct {
        const char *text;
        enum table_sort_op op;
        const char *why;
    } table[] = {
        {"pk = :p", SORT_ALL, NULL},
        {":p = pk AND sk = :n3", SORT_EQ, NULL},
        {"sk >= :n3 AND pk = :p", SORT_GE, NULL},
        {"pk = :p AND :n3 >= sk", SORT_LE, NULL},
        {"pk = :p AND (sk BETWEEN :n3 AND :n20)", SORT_BETWEEN, NULL},
        {"pk = :p AND begins_with(sk, :he)", 0,
         "Invalid KeyConditionExpression: Incorrect operand type for operator or function; operator"
         " or function: begins_with, operand type: N"},
        {"pk = :p OR sk = :n3", 0, "Invalid operator used in KeyConditionExpression: OR"},
        {"pk = :p AND sk <> :n3", 0, "Invalid operator used in KeyConditionExpression: <>"},
        {"pk = :p AND contains(sk, :n3)", 0,
         "Invalid operator used in KeyConditionExpression: contains"},
        {"pk = :p AND pk = :p", 0,
         "KeyConditionExpressions must only contain one condition per key"},
        {"pk > :p", 0, "Query key condition not supported"},
        {"sk = :n3", 0, "Query condition missed key schema element: pk"},
        {"pk = :p AND another = :n3", 0, "Query condition missed key schema element: sk"},
        {"pk = :n3", 0,
         "One or more parameter values were invalid: Condition parameter type does not match schema"
         " type"},
        {"pk = :empty", 0,
         "One or more parameter values are not valid. The AttributeValue for a key attribute cannot"
         " contain an empty string value. Key: pk"},
        {"pk = :p AND sk = :n3 AND sk = :n3", 0, "Conditions can be of length 1 or 2 only"},
        {"pk = :p AND sk.a = :n3", 0,
         "KeyConditionExpressions cannot have conditions on nested attributes"},
        {"pk = sk", 0,
         "Invalid condition in KeyConditionExpression: Multiple attribute names used in one"
         " condition"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct table_range range = {0};
        set_env("", values);
        const struct expr *e = parse(EXPR_KEY_CONDITION, table[i].text);
        if (e == NULL)
            fail_msg("%s: %s", table[i].text, why.p);
        int err = expr_key_range(e, &t, &range, &why);
        if (table[i].why != NULL) {
            assert_int_equal(err, ERR_INVALID);
            assert_string_equal(why.p, table[i].why);
            continue;
        }
        assert_int_equal(err, ERR_NONE);
        assert_int_equal(range.op, table[i].op);
        assert_true(slice_eqs(range.partition->bytes, "p"));
        assert_true(range.op == SORT_ALL || slice_eqs(range.low->bytes, "3"));
    }
}

/* ---- projections ---- */

static void
check_json(const struct attr_value *got, const char *quoted)
{
    struct attr_value want = item(quoted);
    struct buf text;
    if (attr_equal(got, &want))
        return;
    buf_init(&text, 1 << 16);
    ddb_write_map(&text, got);
    fail_msg("got %s", text.p);
}

static void
projections_cut_out(void **state)
{
    (void)state;
    static const char *const table[][2] = {
        {"n", "{'n': {'N': '15'}}"},
        {"s, n ,absent", "{'n': {'N': '15'}, 's': {'S': 'hello'}}"},
        {"m.a.b", "{'m': {'M': {'a': {'M': {'b': {'N': '7'}}}}}}"},
        {"m.#d, m.a", "{'m': {'M': {'a': {'M': {'b': {'N': '7'}}}, 'dotted.name': {'S': 'd'}}}}"},
        {"m.absent", "{}"},
        {"l[2], l[0]", "{'l': {'L': [{'N': '1'}, {'L': [{'S': 'in'}]}]}}"},
        {"l[2][0]", "{'l': {'L': [{'L': [{'S': 'in'}]}]}}"},
        {"l[9], n.x", "{}"},
    };
    struct attr_value r = item(record), out;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const struct expr_paths *paths;
        set_env("#d=dotted.name", "{}");
        buf_reset(&why);
        assert_int_equal(expr_parse_projection(arena, &env, slice_str(table[i][0]), &paths, &why),
                         ERR_NONE);
        assert_int_equal(expr_project(arena, paths, &r, &out), ERR_NONE);
        check_json(&out, table[i][1]);
    }
}

static void
projections_refuse(void **state)
{
    (void)state;
    static const char *const table[][2] = {
        {"", "The expression can not be empty;"},
        {"a,", "Syntax error; token: \"<EOF>\", near: \",\""},
        {"a b", "Syntax error; token: \"b\", near: \"a b\""},
        {"bucket", "Attribute name is a reserved keyword; reserved keyword: bucket"},
        {"x.a, x, y", "Two document paths overlap with each other; must remove or rewrite one of"
                      " these paths; path one: [x], path two: [x, a]"},
        {"x, x", "Two document paths overlap with each other; must remove or rewrite one of these"
                 " paths; path one: [x], path two: [x]"},
        {"x.a, x[0]", "Two document paths conflict with each other; must remove or rewrite one of"
                      " these paths; path one: [x, [0]], path two: [x, a]"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const struct expr_paths *paths;
        set_env("", "{}");
        buf_reset(&why);
        assert_int_equal(expr_parse_projection(arena, &env, slice_str(table[i][0]), &paths, &why),
                         ERR_INVALID);
        assert_memory_equal(why.p, "Invalid ProjectionExpression: ", 30);
        assert_string_equal(why.p + 30, table[i][1]);
    }
}

/* ---- updates ---- */

static const char before_json[] =
    "{'pk': {'S': 'p'}, 'n': {'N': '5'}, 'l': {'L': [{'N': '0'}, {'N': '1'}, {'N': '2'}]},"
    " 'ss': {'SS': ['a', 'b']}, 'm': {'M': {'x': {'N': '1'}}}}";
static const char update_values[] =
    "{':one': {'N': '1'}, ':s': {'S': 'text'}, ':l': {'L': [{'N': '9'}]}, ':ab': {'SS': ['a', "
    "'b']},"
    " ':bc': {'SS': ['b', 'c']}, ':e': {'L': []}, ':big': {'N': '9.9e125'}, ':m': {'M': {}}}";

static int
apply(const char *text, struct attr_value *out)
{
    const struct expr_update *u;
    struct attr_value before = item(before_json);
    *out = item(before_json);
    set_env("", update_values);
    buf_reset(&why);
    int err = expr_parse_update(arena, &env, slice_str(text), &u, &why);
    return err != ERR_NONE ? err : expr_update_apply(arena, u, &before, out, &why);
}

static void
updates_change_what_they_name(void **state)
{
    (void)state;
    static const char *const table[][3] = {
        /* update, attribute looked at, what it holds then (empty: gone) */
        {"SET v = :s", "v", "{'v': {'S': 'text'}}"},
        {"set n = n + :one", "n", "{'n': {'N': '6'}}"},
        {"SET n = :one - n", "n", "{'n': {'N': '-4'}}"},
        {"SET v = if_not_exists(n, :one)", "v", "{'v': {'N': '5'}}"},
        {"SET v = if_not_exists(absent, :one) + :one", "v", "{'v': {'N': '2'}}"},
        {"SET l = list_append(:l, l)", "l",
         "{'l': {'L': [{'N': '9'}, {'N': '0'}, {'N': '1'}, {'N': '2'}]}}"},
        {"SET v = list_append(if_not_exists(v, :e), :l)", "v", "{'v': {'L': [{'N': '9'}]}}"},
        {"SET l[1] = :s", "l", "{'l': {'L': [{'N': '0'}, {'S': 'text'}, {'N': '2'}]}}"},
        {"SET l[7] = :s, l[5] = :one", "l",
         "{'l': {'L': [{'N': '0'}, {'N': '1'}, {'N': '2'}, {'N': '1'}, {'S': 'text'}]}}"},
        {"REMOVE l[0], l[2]", "l", "{'l': {'L': [{'N': '1'}]}}"},
        {"REMOVE l[0] SET l[1] = :s", "l", "{'l': {'L': [{'S': 'text'}, {'N': '2'}]}}"},
        {"SET m.y = :s REMOVE m.x", "m", "{'m': {'M': {'y': {'S': 'text'}}}}"},
        {"SET v = n, n = :s", "v", "{'v': {'N': '5'}}"}, /* reads what was before */
        {"REMOVE n", "n", ""},
        {"REMOVE nothing, m.z, l[9]", "n", "{'n': {'N': '5'}}"},
        {"ADD n :one", "n", "{'n': {'N': '6'}}"},
        {"ADD fresh :one", "fresh", "{'fresh': {'N': '1'}}"},
        {"ADD ss :bc", "ss", "{'ss': {'SS': ['a', 'b', 'c']}}"},
        {"ADD fresh :bc", "fresh", "{'fresh': {'SS': ['b', 'c']}}"},
        {"DELETE ss :bc", "ss", "{'ss': {'SS': ['a']}}"},
        {"DELETE ss :ab", "ss", ""},
        {"DELETE fresh :ab", "fresh", ""},
        {"ADD n :one DELETE ss :bc REMOVE m SET v = :s", "v", "{'v': {'S': 'text'}}"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct attr_value out, one = attr_map_new();
        int err = apply(table[i][0], &out);
        if (err != ERR_NONE)
            fail_msg("%s: %s", table[i][0], why.p);
        const struct attr_value *v = attr_get(&out, slice_str(table[i][1]));
        if (table[i][2][0] == '\0') {
            assert_null(v);
            continue;
        }
        assert_non_null(v);
        attr_set(arena, &one, slice_str(table[i][1]), v);
        check_json(&one, table[i][2]);
    }
}

static void
updates_refuse(void **state)
{
    (void)state;
    static const char *const table[][2] = {
        {"", "Invalid UpdateExpression: The expression can not be empty;"},
        {"SET n", "Invalid UpdateExpression: Syntax error; token: \"<EOF>\", near: \"n\""},
        {"n = :one", "Invalid UpdateExpression: Syntax error; token: \"n\", near: \"n =\""},
        {"SET a = :one SET b = :one",
         "Invalid UpdateExpression: The \"SET\" section can only be used"
         " once in an update expression;"},
        {"SET key = :one",
         "Invalid UpdateExpression: Attribute name is a reserved keyword; reserved"
         " keyword: key"},
        {"SET a = size(n)", "Invalid UpdateExpression: Invalid function name; function: size"},
        {"SET m.x = :one REMOVE m", "Invalid UpdateExpression: Two document paths overlap with each"
                                    " other; must remove or rewrite one of these paths; path one:"
                                    " [m], path two: [m, x]"},
        {"ADD n :s", "Invalid UpdateExpression: Incorrect operand type for operator or function;"
                     " operator: ADD, operand type: STRING"},
        {"DELETE ss :one", "Invalid UpdateExpression: Incorrect operand type for operator or"
                           " function; operator: DELETE, operand type: NUMBER"},
        {"SET a = n + :s", "Invalid UpdateExpression: Incorrect operand type for operator or"
                           " function; operator or function: +, operand type: S"},
        {"SET a = list_append(:one, l)", "Invalid UpdateExpression: Incorrect operand type for"
                                         " operator or function; operator or function: list_append,"
                                         " operand type: N"},
        {"SET a = absent", "The provided expression refers to an attribute that does not exist in"
                           " the item"},
        {"SET a.b = :one", "The document path provided in the update expression is invalid for"
                           " update"},
        {"SET n.b = :one", "The document path provided in the update expression is invalid for"
                           " update"},
        {"SET m[0] = :one", "The document path provided in the update expression is invalid for"
                            " update"},
        {"SET a = pk + :one", "An operand in the update expression has an incorrect data type"},
        {"ADD pk :one", "An operand in the update expression has an incorrect data type"},
        {"ADD n :ab", "An operand in the update expression has an incorrect data type"},
        {"SET a = :big + n", "Attempting to store more than 38 significant digits in a Number"},
        {"SET a = :big + :big",
         "Number overflow. Attempting to store a number with magnitude larger"
         " than supported range"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct attr_value out;
        int err = apply(table[i][0], &out);
        if (err != ERR_INVALID)
            fail_msg("%s: %d", table[i][0], err);
        assert_string_equal(why.p, table[i][1]);
    }
    const struct expr_update *u;
    struct table t = {.partition = {SLICE_LIT("pk"), ATTR_S}};
    set_env("", update_values);
    assert_int_equal(expr_parse_update(arena, &env, SLICE_LIT("SET n = :one, pk = :s"), &u, &why),
                     ERR_NONE);
    buf_reset(&why);
    assert_int_equal(expr_update_check(u, &t, &why), ERR_INVALID);
    assert_string_equal(why.p, "One or more parameter values were invalid: Cannot update attribute"
                               " pk. This attribute is part of the key");
}

/* Random token soup: no crash, and either a result or a sentence. */
static void
soup_is_survived(void **state)
{
    (void)state;
    static const char *const pieces[] = {"a",
                                         "n",
                                         "#s",
                                         ":x",
                                         ":n3",
                                         "=",
                                         "<>",
                                         "<=",
                                         "(",
                                         ")",
                                         ",",
                                         ".",
                                         "[",
                                         "]",
                                         "0",
                                         "7",
                                         "AND",
                                         "OR",
                                         "NOT",
                                         "IN",
                                         "BETWEEN",
                                         "size(",
                                         "contains(",
                                         "begins_with(",
                                         "SET",
                                         "REMOVE",
                                         "ADD",
                                         "+",
                                         "-",
                                         "if_not_exists(",
                                         "list_append(",
                                         "!",
                                         "\x01",
                                         "é"};
    uint64_t r = 7;
    struct buf b;
    buf_init(&b, 1 << 16);
    for (int i = 0; i < 20000; i++) {
        const struct expr *e;
        const struct expr_paths *paths;
        const struct expr_update *u;
        struct attr_value x, rec;
        arena_free(&arena);
        arena = arena_new(16u << 20);
        buf_reset(&b);
        set_env("#s=ss", "{':x': {'S': 'x'}, ':n3': {'N': '3'}}");
        rec = item("{'a': {'N': '1'}, 'n': {'L': [{'N': '1'}]}}");
        x = item("{'a': {'N': '1'}, 'n': {'L': [{'N': '1'}]}}");
        for (int n = 0; n < 9; n++) {
            r = r * 6364136223846793005u + 1442695040888963407u;
            if ((r >> 60) != 0)
                buf_puts(&b, n == 0 && i % 3 == 2
                                 ? "SET "
                                 : pieces[(r >> 33) % (sizeof pieces / sizeof pieces[0])]);
            buf_puts(&b, (r >> 20) % 3 == 0 ? "" : " ");
        }
        buf_reset(&why);
        int err = i % 3 == 0
                      ? expr_parse_condition(arena, &env, EXPR_FILTER, buf_slice(&b), &e, &why)
                  : i % 3 == 1 ? expr_parse_projection(arena, &env, buf_slice(&b), &paths, &why)
                               : expr_parse_update(arena, &env, buf_slice(&b), &u, &why);
        assert_true(err == ERR_NONE || (err == ERR_INVALID && why.n > 0));
        if (err == ERR_NONE && i % 3 == 0)
            expr_matches(e, &rec);
        if (err == ERR_NONE && i % 3 == 1)
            assert_int_equal(expr_project(arena, paths, &rec, &x), ERR_NONE);
        if (err == ERR_NONE && i % 3 == 2)
            expr_update_apply(arena, u, &rec, &x, &why);
    }
    buf_fini(&b);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(conditions_mean_what_they_say),
        T(conditions_refuse_as_dynamodb_does),
        T(limits_hold),
        T(reserved_words_are_known),
        T(unused_placeholders_are_told),
        T(key_conditions_become_ranges),
        T(projections_cut_out),
        T(projections_refuse),
        T(updates_change_what_they_name),
        T(updates_refuse),
        T(soup_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
