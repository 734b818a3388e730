/*
 * DynamoDB JSON -> attribute values: one member that names the type. Sets and maps are sorted here,
 * numbers made canonical, binary values decoded.
 */
#include "metadata/ddb_json.h"
#include "base/digest.h"
#include "base/err.h"
#include "metadata/item_priv.h"
#include "metadata/number.h"

#define BINARY_MAX (16u << 20)
#define LIST_SHOWN_MAX 2000 /* bytes of a collection quoted in a message */
#define BAD_PARAMETER "One or more parameter values were invalid: "

static int read_value(struct arena *a, const json_t *json, struct attr_value *out, int depth,
                      struct buf *why);

static int
refuse(struct buf *why, const char *text)
{
    buf_puts(why, text);
    return ERR_INVALID;
}

/* What the wire's own deserializer says when the JSON type is another one than the model's. */
static int
misshapen(struct buf *why, const json_t *json, const char *wanted)
{
    if (json_is_array(json))
        buf_puts(why, "Start of list found where not expected");
    else if (json_is_object(json))
        buf_puts(why, "Start of structure or map found where not expected.");
    else if (json == NULL || json_is_null(json))
        buf_printf(why, "null can not be converted to an %s", wanted);
    else
        buf_printf(why, "class java.lang.%s can not be converted to an %s",
                   json_is_string(json)    ? "String"
                   : json_is_boolean(json) ? "Boolean"
                   : json_is_real(json)    ? "Double"
                                           : "Integer",
                   wanted);
    return ERR_UNSUPPORTED;
}

static struct slice
json_text(const json_t *json)
{
    return slice_of(json_string_value(json), json_string_length(json));
}

static int
read_number(struct arena *a, struct slice text, struct attr_value *out, struct buf *why)
{
    struct number v;
    char canonical[NUMBER_TEXT_MAX];
    int err = number_parse(text, &v);
    if (err == ERR_RANGE)
        return refuse(why, v.exp > 0
                               ? "Number overflow. Attempting to store a number with magnitude"
                                 " larger than supported range"
                               : "Number underflow. Attempting to store a number with"
                                 " magnitude smaller than supported range");
    if (err == ERR_TOOBIG)
        return refuse(why, "Attempting to store more than 38 significant digits in a Number");
    if (err != ERR_NONE) {
        buf_puts(why, "The parameter cannot be converted to a numeric value");
        if (text.n > 0)
            buf_printf(why, ": %.*s", (int)(text.n < 200 ? text.n : 200), text.p);
        return ERR_INVALID;
    }
    size_t n = number_text(&v, canonical);
    /* Most numbers come in canonical form: no copy then. */
    out->bytes =
        slice_eq(text, slice_of(canonical, n)) ? text : arena_dup(a, slice_of(canonical, n));
    return out->bytes.p == NULL ? ERR_NOMEM : ERR_NONE;
}

static int
read_binary(struct arena *a, struct slice text, struct attr_value *out, struct buf *why)
{
    struct buf bytes;
    buf_init(&bytes, BINARY_MAX);
    int err = base64_decode(&bytes, text);
    if (err == ERR_NONE) {
        out->bytes = arena_dup(a, buf_slice(&bytes));
        err = out->bytes.p == NULL ? ERR_NOMEM : ERR_NONE;
    } else {
        buf_puts(why, "The value can not be converted to a Blob: it is no valid Base64");
        err = ERR_UNSUPPORTED;
    }
    buf_fini(&bytes);
    return err;
}

static int
read_scalar(struct arena *a, const json_t *json, enum attr_type type, struct attr_value *out,
            struct buf *why)
{
    *out = (struct attr_value){.type = type};
    if (!json_is_string(json))
        return misshapen(why, json, type == ATTR_B ? "Blob" : "String");
    if (type == ATTR_N)
        return read_number(a, json_text(json), out, why);
    if (type == ATTR_B)
        return read_binary(a, json_text(json), out, why);
    out->bytes = json_text(json);
    return ERR_NONE;
}

static int
duplicates(enum attr_type type, const json_t *json, struct buf *why)
{
    size_t start = why->n;
    if (type == ATTR_NS)
        return refuse(why, "Input collection contains duplicates");
    buf_puts(why, BAD_PARAMETER "Input collection [");
    for (size_t i = 0; i < json_array_size(json) && why->n - start < LIST_SHOWN_MAX; i++) {
        struct slice s = json_text(json_array_get(json, i));
        s.n = s.n < LIST_SHOWN_MAX ? s.n : LIST_SHOWN_MAX;
        buf_puts(why, i == 0 ? "" : ", ");
        buf_put_slice(why, s);
    }
    return refuse(why,
                  type == ATTR_BS ? "]of type BS contains duplicates." : "] contains duplicates.");
}

static int
read_set(struct arena *a, const json_t *json, enum attr_type type, struct attr_value *out,
         struct buf *why)
{
    *out = (struct attr_value){.type = type};
    if (!json_is_array(json))
        return misshapen(why, json, "List");
    size_t n = json_array_size(json);
    if (n == 0)
        return refuse(why, BAD_PARAMETER "An AttributeValue may not contain an empty set.");
    int err = attr_list_room(a, out, n);
    for (size_t i = 0; i < n && err == ERR_NONE; i++) {
        err =
            read_scalar(a, json_array_get(json, i), attr_set_element(type), &out->elements[i], why);
        if (err == ERR_NONE && out->elements[i].bytes.n == 0)
            return refuse(why, type == ATTR_SS ? BAD_PARAMETER
                                   "An string set may not have a empty string as a"
                                   " member"
                                               : BAD_PARAMETER
                                   "Binary sets may not contain null or empty values");
    }
    if (err == ERR_NONE && attr_set_sort(out) == ERR_EXISTS)
        return duplicates(type, json, why);
    return err;
}

static int
read_list(struct arena *a, const json_t *json, struct attr_value *out, int depth, struct buf *why)
{
    *out = (struct attr_value){.type = ATTR_L};
    if (!json_is_array(json))
        return misshapen(why, json, "List");
    int err = attr_list_room(a, out, json_array_size(json));
    for (size_t i = 0; i < out->count && err == ERR_NONE; i++)
        err = read_value(a, json_array_get(json, i), &out->elements[i], depth + 1, why);
    return err;
}

static int
read_map(struct arena *a, const json_t *json, struct attr_value *out, int depth, struct buf *why)
{
    const char *name;
    json_t *member;
    size_t n = 0;
    if (!json_is_object(json))
        return misshapen(why, json, "Map");
    int err = attr_map_room(a, out, json_object_size(json));
    if (err != ERR_NONE)
        return err;
    json_object_foreach((json_t *)json, name, member)
    {
        out->names[n] = slice_str(name);
        if (out->names[n].n == 0)
            return refuse(why, BAD_PARAMETER "Empty attribute name");
        err = read_value(a, member, &out->elements[n++], depth + 1, why);
        if (err != ERR_NONE)
            return err;
    }
    return attr_map_sort(a, out) == ERR_NOMEM ? ERR_NOMEM : ERR_NONE;
}

static int
read_flag(const json_t *json, enum attr_type type, struct attr_value *out, struct buf *why)
{
    *out = (struct attr_value){.type = type};
    if (!json_is_boolean(json))
        return misshapen(why, json, "Boolean");
    if (type == ATTR_BOOL)
        out->boolean = json_is_true(json);
    else if (!json_is_true(json))
        return refuse(why, BAD_PARAMETER "Null attribute value types must have the value of true");
    return ERR_NONE;
}

static int
read_value(struct arena *a, const json_t *json, struct attr_value *out, int depth, struct buf *why)
{
    const json_t *content = NULL;
    enum attr_type type = (enum attr_type)0;
    if (!json_is_object(json))
        return misshapen(why, json, "AttributeValue");
    if (depth > ITEM_DEPTH_MAX)
        return refuse(why, "Nesting Levels have exceeded supported limits");
    for (int t = ATTR_S; t <= ATTR_BS; t++) {
        const json_t *member = json_object_get(json, attr_type_name((enum attr_type)t));
        if (member == NULL || json_is_null(member))
            continue;
        if (content != NULL)
            return refuse(why, "Supplied AttributeValue has more than one datatypes set, must"
                               " contain exactly one of the supported datatypes");
        content = member;
        type = (enum attr_type)t;
    }
    switch (type) {
    case ATTR_S:
    case ATTR_N:
    case ATTR_B:
        return read_scalar(a, content, type, out, why);
    case ATTR_BOOL:
    case ATTR_NULL:
        return read_flag(content, type, out, why);
    case ATTR_L:
        return read_list(a, content, out, depth, why);
    case ATTR_M:
        return read_map(a, content, out, depth, why);
    case ATTR_SS:
    case ATTR_NS:
    case ATTR_BS:
        return read_set(a, content, type, out, why);
    default:
        return refuse(why, "Supplied AttributeValue is empty, must contain exactly one of the"
                           " supported datatypes");
    }
}

int
ddb_read_value(struct arena *a, const json_t *json, struct attr_value *out, struct buf *why)
{
    return read_value(a, json, out, 1, why);
}

int
ddb_read_map(struct arena *a, const json_t *json, struct attr_value *out, struct buf *why)
{
    return read_map(a, json, out, 0, why);
}

/* ---- writing ---- */

static void write_value(struct buf *out, const struct attr_value *v);

static void
write_base64(struct buf *out, struct slice bytes)
{
    buf_putc(out, '"');
    base64_encode(out, bytes.p, bytes.n);
    buf_putc(out, '"');
}

static void
write_scalar(struct buf *out, const struct attr_value *v)
{
    if (v->type == ATTR_B)
        write_base64(out, v->bytes);
    else
        json_quote(out, v->bytes);
}

void
ddb_write_map(struct buf *out, const struct attr_value *map)
{
    buf_putc(out, '{');
    for (size_t i = 0; i < map->count; i++) {
        if (i > 0)
            buf_putc(out, ',');
        json_quote(out, map->names[i]);
        buf_putc(out, ':');
        write_value(out, &map->elements[i]);
    }
    buf_putc(out, '}');
}

static void
write_value(struct buf *out, const struct attr_value *v)
{
    buf_printf(out, "{\"%s\":", attr_type_name(v->type));
    if (v->type <= ATTR_B) {
        write_scalar(out, v);
    } else if (v->type == ATTR_BOOL || v->type == ATTR_NULL) {
        buf_puts(out, v->type == ATTR_NULL || v->boolean ? "true" : "false");
    } else if (v->type == ATTR_M) {
        ddb_write_map(out, v);
    } else {
        buf_putc(out, '[');
        for (size_t i = 0; i < v->count; i++) {
            if (i > 0)
                buf_putc(out, ',');
            if (v->type == ATTR_L)
                write_value(out, &v->elements[i]);
            else
                write_scalar(out, &v->elements[i]);
        }
        buf_putc(out, ']');
    }
    buf_putc(out, '}');
}
