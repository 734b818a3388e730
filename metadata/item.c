/*
 * Attribute values in memory and on disk.
 *
 * In memory the attributes of a map and the elements of a set are kept sorted: look-up is a binary
 * search and comparing two values takes linear time whatever a client sends.
 *
 * On disk, format version 1:
 *
 *     version (1 byte)  CRC32C of the rest (4, little-endian)  map
 *     S N B      type  length  bytes            BOOL  type  0|1          NULL  type
 *     L          type  count  values            sets  type  count  (length bytes)*
 *     M          type  count  (length name value)*, names rising
 *
 * Lengths and counts are base-128, low group first. To change the format: raise ITEM_VERSION,
 * keep reading the older one, write the new one; rows convert as they are rewritten.
 */
#include "metadata/item_priv.h"
#include "base/digest.h"
#include "base/err.h"
#include "metadata/number.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define ITEM_VERSION 1
#define ITEM_HEAD 5
#define VARINT_MAX 5
#define MAP_ROOM_MIN 4

static const char *const type_names[] = {"",  "S", "N",  "B",  "BOOL", "NULL",
                                         "L", "M", "SS", "NS", "BS"};

/* ---- types ---- */

const char *
attr_type_name(enum attr_type type)
{
    return (size_t)type < sizeof type_names / sizeof type_names[0] ? type_names[type] : "";
}

enum attr_type
attr_type_by_name(struct slice name)
{
    for (int i = ATTR_S; i <= ATTR_BS; i++)
        if (slice_eqs(name, type_names[i]))
            return (enum attr_type)i;
    return (enum attr_type)0;
}

bool
attr_type_is_set(enum attr_type type)
{
    return type == ATTR_SS || type == ATTR_NS || type == ATTR_BS;
}

enum attr_type
attr_set_element(enum attr_type set)
{
    return set == ATTR_SS ? ATTR_S : set == ATTR_NS ? ATTR_N : ATTR_B;
}

/* ---- making ---- */

struct attr_value
attr_map_new(void)
{
    return (struct attr_value){.type = ATTR_M};
}

struct attr_value
attr_s(struct slice s)
{
    return (struct attr_value){.type = ATTR_S, .bytes = s};
}

struct attr_value
attr_b(struct slice s)
{
    return (struct attr_value){.type = ATTR_B, .bytes = s};
}

struct attr_value
attr_bool(bool v)
{
    return (struct attr_value){.type = ATTR_BOOL, .boolean = v};
}

/* Type 0, which attr_set() refuses, when memory is out. */
static struct attr_value
attr_n(struct arena *a, const char *text)
{
    struct attr_value v = {.type = ATTR_N};
    if (number_canonical(a, slice_str(text), &v.bytes) != ERR_NONE)
        v = (struct attr_value){0};
    return v;
}

struct attr_value
attr_int(struct arena *a, int64_t v)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)v);
    return attr_n(a, text);
}

struct attr_value
attr_f64(struct arena *a, double v)
{
    char text[48] = "0";
    if (!isfinite(v))
        return (struct attr_value){.type = ATTR_NULL};
    /* What is too small for a number is 0; too large does not fit at all. */
    if (fabs(v) > 9e125)
        return (struct attr_value){.type = ATTR_NULL};
    if (fabs(v) >= 1e-130)
        for (int digits = 1; digits <= 17; digits++) {
            snprintf(text, sizeof text, "%.*e", digits - 1, v);
            if (strtod(text, NULL) == v)
                break;
        }
    return attr_n(a, text);
}

/* The room of a map follows from its count alone, so that attr_set() can add to any map. */
static size_t
map_room(size_t count)
{
    size_t room = count == 0 ? 0 : MAP_ROOM_MIN;
    while (room < count)
        room *= 2;
    return room;
}

int
attr_map_room(struct arena *a, struct attr_value *v, size_t count)
{
    *v = (struct attr_value){.type = ATTR_M, .count = count};
    size_t room = map_room(count);
    if (room == 0)
        return ERR_NONE;
    v->elements = arena_alloc(a, room * sizeof *v->elements);
    v->names = arena_alloc(a, room * sizeof *v->names);
    return v->elements == NULL || v->names == NULL ? ERR_NOMEM : ERR_NONE;
}

int
attr_list_room(struct arena *a, struct attr_value *v, size_t count)
{
    v->count = count;
    v->elements = count == 0 ? NULL : arena_alloc(a, count * sizeof *v->elements);
    return count > 0 && v->elements == NULL ? ERR_NOMEM : ERR_NONE;
}

/* ---- order ---- */

int
attr_scalar_compare(const struct attr_value *a, const struct attr_value *b)
{
    if (a->type == ATTR_N && b->type == ATTR_N)
        return number_compare(a->bytes, b->bytes);
    return slice_cmp(a->bytes, b->bytes);
}

static int
compare_elements(const void *a, const void *b)
{
    return attr_scalar_compare(a, b);
}

int
attr_set_sort(struct attr_value *set)
{
    if (set->count > 1)
        qsort(set->elements, set->count, sizeof *set->elements, compare_elements);
    for (size_t i = 1; i < set->count; i++)
        if (slice_eq(set->elements[i - 1].bytes, set->elements[i].bytes))
            return ERR_EXISTS;
    return ERR_NONE;
}

bool
attr_set_has(const struct attr_value *set, const struct attr_value *element)
{
    return set->count > 0 && element->type == attr_set_element(set->type) &&
           bsearch(element, set->elements, set->count, sizeof *element, compare_elements) != NULL;
}

struct pair {
    struct slice name;
    struct attr_value value;
};

static int
compare_pairs(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    return slice_cmp(x->name, y->name);
}

int
attr_map_sort(struct arena *a, struct attr_value *map)
{
    bool sorted = true;
    for (size_t i = 1; i < map->count; i++)
        sorted = sorted && slice_cmp(map->names[i - 1], map->names[i]) < 0;
    if (sorted)
        return ERR_NONE;
    struct pair *pairs = arena_alloc(a, map->count * sizeof *pairs);
    if (pairs == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < map->count; i++)
        pairs[i] = (struct pair){map->names[i], map->elements[i]};
    qsort(pairs, map->count, sizeof *pairs, compare_pairs);
    for (size_t i = 0; i < map->count; i++) {
        if (i > 0 && slice_eq(pairs[i - 1].name, pairs[i].name))
            return ERR_EXISTS;
        map->names[i] = pairs[i].name;
        map->elements[i] = pairs[i].value;
    }
    return ERR_NONE;
}

/* ---- maps ---- */

/* Where the name is, or where it would have to go. */
static size_t
map_find(const struct attr_value *map, struct slice name, bool *found)
{
    size_t low = 0, high = map->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int c = slice_cmp(map->names[mid], name);
        if (c == 0) {
            *found = true;
            return mid;
        }
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    *found = false;
    return low;
}

struct attr_value *
attr_get(const struct attr_value *map, struct slice name)
{
    if (map->type != ATTR_M)
        return NULL;
    bool found;
    size_t at = map_find(map, name, &found);
    return found ? &map->elements[at] : NULL;
}

int
attr_set(struct arena *a, struct attr_value *map, struct slice name, const struct attr_value *v)
{
    if (map->type != ATTR_M)
        return ERR_INVALID;
    if (v->type == 0)
        return ERR_NOMEM; /* attr_int() and its kin could not make it */
    bool found;
    size_t at = map_find(map, name, &found);
    if (found) {
        map->elements[at] = *v;
        return ERR_NONE;
    }
    if (map->count == map_room(map->count)) {
        struct attr_value larger;
        if (attr_map_room(a, &larger, map->count + 1) != ERR_NONE)
            return ERR_NOMEM;
        for (size_t i = 0; i < map->count; i++) {
            /* Room for count + 1. NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
            larger.names[i] = map->names[i];
            larger.elements[i] = map->elements[i];
        }
        larger.count = map->count;
        *map = larger;
    }
    size_t after = map->count - at;
    memmove(&map->names[at + 1], &map->names[at], after * sizeof *map->names);
    memmove(&map->elements[at + 1], &map->elements[at], after * sizeof *map->elements);
    map->names[at] = name;
    map->elements[at] = *v;
    map->count++;
    return ERR_NONE;
}

bool
attr_remove(struct attr_value *map, struct slice name)
{
    bool found = false;
    size_t at = map->type == ATTR_M ? map_find(map, name, &found) : 0;
    if (!found)
        return false;
    size_t after = map->count - at - 1;
    memmove(&map->names[at], &map->names[at + 1], after * sizeof *map->names);
    memmove(&map->elements[at], &map->elements[at + 1], after * sizeof *map->elements);
    map->count--;
    return true;
}

/* ---- measuring and comparing ---- */

bool
attr_equal(const struct attr_value *a, const struct attr_value *b)
{
    if (a->type != b->type)
        return false;
    if (a->type == ATTR_NULL)
        return true;
    if (a->type == ATTR_BOOL)
        return a->boolean == b->boolean;
    if (a->type <= ATTR_B)
        return slice_eq(a->bytes, b->bytes);
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++) {
        if (a->type == ATTR_M && !slice_eq(a->names[i], b->names[i]))
            return false;
        if (!attr_equal(&a->elements[i], &b->elements[i]))
            return false;
    }
    return true;
}

int
attr_depth(const struct attr_value *v)
{
    int deepest = 0;
    if (v->type != ATTR_L && v->type != ATTR_M)
        return 0;
    for (size_t i = 0; i < v->count; i++) {
        int d = attr_depth(&v->elements[i]);
        deepest = d > deepest ? d : deepest;
    }
    return deepest + 1;
}

static size_t
number_bytes(struct slice text)
{
    struct number v;
    if (number_parse(text, &v) != ERR_NONE)
        return text.n;
    return (size_t)(v.n + 1) / 2 + 1 + (v.negative ? 1 : 0);
}

static size_t
attr_bytes(const struct attr_value *v)
{
    size_t total = 0;
    switch (v->type) {
    case ATTR_S:
    case ATTR_B:
        return v->bytes.n;
    case ATTR_N:
        return number_bytes(v->bytes);
    case ATTR_BOOL:
    case ATTR_NULL:
        return 1;
    case ATTR_L:
    case ATTR_M:
        total = 3;
        break;
    default:
        break;
    }
    for (size_t i = 0; i < v->count; i++) {
        total += attr_bytes(&v->elements[i]);
        total += v->type == ATTR_M ? v->names[i].n + 1 : v->type == ATTR_L ? 1 : 0;
    }
    return total;
}

size_t
item_bytes(const struct attr_value *item)
{
    size_t total = 0;
    for (size_t i = 0; i < item->count; i++)
        total += item->names[i].n + attr_bytes(&item->elements[i]);
    return total;
}

/* ---- to bytes ---- */

static void
put_varint(struct buf *out, size_t v)
{
    while (v >= 0x80) {
        buf_putc(out, (char)(0x80 | (v & 0x7f)));
        v >>= 7;
    }
    buf_putc(out, (char)v);
}

static void
put_bytes(struct buf *out, struct slice s)
{
    put_varint(out, s.n);
    buf_put_slice(out, s);
}

static void
put_value(struct buf *out, const struct attr_value *v)
{
    buf_putc(out, (char)v->type);
    if (v->type <= ATTR_B) {
        put_bytes(out, v->bytes);
    } else if (v->type == ATTR_BOOL) {
        buf_putc(out, v->boolean ? 1 : 0);
    } else if (v->type >= ATTR_L) {
        put_varint(out, v->count);
        for (size_t i = 0; i < v->count; i++) {
            if (v->type == ATTR_M)
                put_bytes(out, v->names[i]);
            if (attr_type_is_set(v->type))
                put_bytes(out, v->elements[i].bytes);
            else
                put_value(out, &v->elements[i]);
        }
    }
}

void
item_encode(struct buf *out, const struct attr_value *item)
{
    size_t start = out->n;
    char *head = buf_extend(out, ITEM_HEAD);
    if (head == NULL)
        return;
    put_value(out, item);
    if (out->err != ERR_NONE)
        return;
    uint32_t crc = digest_crc32c(0, out->p + start + ITEM_HEAD, out->n - start - ITEM_HEAD);
    head = out->p + start;
    head[0] = ITEM_VERSION;
    for (int i = 0; i < 4; i++)
        head[1 + i] = (char)(crc >> (8 * i));
}

/* ---- from bytes ---- */

struct cursor {
    struct arena *arena;
    const uint8_t *p, *end;
};

static int
get_varint(struct cursor *c, size_t *out)
{
    uint64_t v = 0;
    for (int i = 0; i < VARINT_MAX; i++) {
        if (c->p == c->end)
            return ERR_CORRUPT;
        uint8_t byte = *c->p++;
        v |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            *out = (size_t)v;
            return ERR_NONE;
        }
    }
    return ERR_CORRUPT;
}

static int
get_bytes(struct cursor *c, struct slice *out)
{
    size_t n;
    if (get_varint(c, &n) != ERR_NONE || n > (size_t)(c->end - c->p))
        return ERR_CORRUPT;
    *out = slice_of(c->p, n);
    c->p += n;
    return ERR_NONE;
}

static int get_value(struct cursor *c, struct attr_value *v, int depth);

/* Lists, maps and sets: their count is believed only as far as there are bytes for it. */
static int
get_elements(struct cursor *c, struct attr_value *v, int depth)
{
    size_t count;
    if (get_varint(c, &count) != ERR_NONE || count > (size_t)(c->end - c->p))
        return ERR_CORRUPT;
    enum attr_type type = v->type;
    int err =
        type == ATTR_M ? attr_map_room(c->arena, v, count) : attr_list_room(c->arena, v, count);
    for (size_t i = 0; i < count && err == ERR_NONE; i++) {
        if (type == ATTR_M)
            err = get_bytes(c, &v->names[i]);
        if (err == ERR_NONE && type == ATTR_M && i > 0 &&
            slice_cmp(v->names[i - 1], v->names[i]) >= 0)
            err = ERR_CORRUPT;
        if (err != ERR_NONE)
            break;
        if (attr_type_is_set(type)) {
            v->elements[i].type = attr_set_element(type);
            err = get_bytes(c, &v->elements[i].bytes);
        } else {
            err = get_value(c, &v->elements[i], depth + 1);
        }
    }
    return err;
}

static int
get_value(struct cursor *c, struct attr_value *v, int depth)
{
    if (c->p == c->end || depth > ITEM_DEPTH_MAX)
        return ERR_CORRUPT;
    uint8_t type = *c->p++;
    if (type < ATTR_S || type > ATTR_BS)
        return ERR_CORRUPT;
    *v = (struct attr_value){.type = (enum attr_type)type};
    if (type <= ATTR_B)
        return get_bytes(c, &v->bytes);
    if (type == ATTR_NULL)
        return ERR_NONE;
    if (type == ATTR_BOOL) {
        if (c->p == c->end || *c->p > 1)
            return ERR_CORRUPT;
        v->boolean = *c->p++ == 1;
        return ERR_NONE;
    }
    return get_elements(c, v, depth);
}

int
item_decode(struct arena *a, struct slice bytes, struct attr_value *item)
{
    const uint8_t *p = (const uint8_t *)bytes.p;
    *item = (struct attr_value){0};
    if (bytes.n <= ITEM_HEAD || p[0] != ITEM_VERSION)
        return ERR_CORRUPT;
    uint32_t crc = p[1] | (uint32_t)p[2] << 8 | (uint32_t)p[3] << 16 | (uint32_t)p[4] << 24;
    if (crc != digest_crc32c(0, p + ITEM_HEAD, bytes.n - ITEM_HEAD))
        return ERR_CORRUPT;
    struct cursor c = {a, p + ITEM_HEAD, p + bytes.n};
    int err = get_value(&c, item, 0);
    if (err == ERR_NONE && (c.p != c.end || item->type != ATTR_M))
        err = ERR_CORRUPT;
    if (err != ERR_NONE)
        *item = (struct attr_value){0};
    return err;
}
