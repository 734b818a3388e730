/*
 * Random numbers and attribute values for the tests of metadata/.
 */
#ifndef DARKROOM_TESTS_METADATA_VALUES_H
#define DARKROOM_TESTS_METADATA_VALUES_H

#include "base/err.h"
#include "metadata/item_priv.h"

#include <stdio.h>

/* xorshift64*: the same sequence on every machine. */
static uint64_t random_state = 88172645463325252u;

static inline uint32_t
pick(uint32_t below)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (uint32_t)((random_state * 2685821657736338717u) >> 33) % below;
}

/* A valid number as a client may write it; 1 in 20 is a zero. */
static inline const char *
pick_number(char out[256])
{
    int digits = 1 + (int)pick(pick(2) == 0 ? 4 : 38);
    char mantissa[64];
    int n = 0;
    for (int i = 0; i < digits; i++)
        mantissa[n++] = (char)('0' + (i == 0 ? 1 + pick(9) : pick(10)));
    mantissa[n] = '\0';
    if (pick(20) == 0) {
        snprintf(out, 256, "%s", pick(2) == 0 ? "0" : "-0.00e7");
        return out;
    }
    int exp = pick(3) == 0 ? (int)pick(256) - 130 : (int)pick(8) - 4;
    /* d.ddd e exp, so that the magnitude is 10^exp */
    snprintf(out, 256, "%s%c%s%se%d", pick(2) == 0 ? "-" : "", mantissa[0], n > 1 ? "." : "",
             mantissa + 1, exp);
    return out;
}

static inline struct slice
pick_bytes(struct arena *a, uint32_t max, bool text)
{
    char bytes[64];
    uint32_t n = pick(max + 1);
    for (uint32_t i = 0; i < n; i++)
        bytes[i] = text ? (char)('a' + pick(26)) : (char)pick(256);
    return arena_dup(a, slice_of(bytes, n));
}

static inline struct attr_value
pick_value(struct arena *a, int depth)
{
    char number[256];
    struct attr_value v = {.type = (enum attr_type)(ATTR_S + pick(depth > 4 ? 5 : 10))};
    size_t n = pick(5);
    if (v.type == ATTR_N)
        number_canonical(a, slice_str(pick_number(number)), &v.bytes);
    else if (v.type <= ATTR_B)
        v.bytes = pick_bytes(a, 20, v.type == ATTR_S);
    else if (v.type == ATTR_BOOL)
        v.boolean = pick(2) == 1;
    else if (v.type == ATTR_M) {
        for (v = attr_map_new(); n > 0; n--) {
            struct attr_value child = pick_value(a, depth + 1);
            attr_set(a, &v, pick_bytes(a, 6, true), &child);
        }
    } else if (v.type != ATTR_NULL) {
        attr_list_room(a, &v, attr_type_is_set(v.type) ? n + 1 : n);
        for (size_t i = 0; i < v.count; i++) {
            v.elements[i] = v.type == ATTR_L ? pick_value(a, depth + 1) : (struct attr_value){0};
            if (v.type == ATTR_L)
                continue;
            v.elements[i].type = attr_set_element(v.type);
            if (v.type == ATTR_NS)
                number_canonical(a, slice_str(pick_number(number)), &v.elements[i].bytes);
            else
                v.elements[i].bytes = pick_bytes(a, 20, v.type == ATTR_SS);
        }
        if (attr_type_is_set(v.type) && attr_set_sort(&v) == ERR_EXISTS)
            v.count = 1;
    }
    return v;
}

static inline struct attr_value
pick_item(struct arena *a)
{
    struct attr_value item = attr_map_new();
    for (uint32_t n = pick(12); n > 0; n--) {
        struct attr_value v = pick_value(a, 1);
        attr_set(a, &item, pick_bytes(a, 10, true), &v);
    }
    return item;
}

#endif
