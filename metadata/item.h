/*
 * Attribute values and items, as DynamoDB defines them, and their compact binary form on disk.
 * Values live in an arena.
 * https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.html (data types)
 */
#ifndef DARKROOM_METADATA_ITEM_H
#define DARKROOM_METADATA_ITEM_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/slice.h"

#define ITEM_BYTES_MAX (400u << 10)
#define ITEM_DEPTH_MAX 32
#define ITEM_NUMBER_DIGITS_MAX 38

enum attr_type {
    ATTR_S = 1,
    ATTR_N, /* text of a number in canonical form */
    ATTR_B,
    ATTR_BOOL,
    ATTR_NULL,
    ATTR_L,
    ATTR_M,
    ATTR_SS,
    ATTR_NS,
    ATTR_BS
};

struct attr_value {
    enum attr_type type;
    bool boolean;                /* ATTR_BOOL */
    struct slice bytes;          /* ATTR_S, ATTR_N, ATTR_B */
    struct attr_value *elements; /* ATTR_L, sets, and the values of ATTR_M; sets rise, no equals */
    struct slice *names;         /* ATTR_M: names[i] belongs to elements[i]; they rise bytewise */
    size_t count;
};

/* An item is a value of type ATTR_M. */
struct attr_value *attr_get(const struct attr_value *map, struct slice name); /* NULL */
/* Sets or replaces in a map made in `a`; the map must have been made by attr_map_new(). */
int attr_set(struct arena *a, struct attr_value *map, struct slice name,
             const struct attr_value *v);
bool attr_remove(struct attr_value *map, struct slice name);
struct attr_value attr_map_new(void);
struct attr_value attr_s(struct slice s);
struct attr_value attr_b(struct slice s);
struct attr_value attr_bool(bool v);
/* Number from an integer or a double (shortest text that reads back the same). */
struct attr_value attr_int(struct arena *a, int64_t v);
struct attr_value attr_f64(struct arena *a, double v);
bool attr_equal(const struct attr_value *a, const struct attr_value *b);

/* DynamoDB's item size: names plus values (UTF-8 bytes, numbers (digits + 1) / 2 + 1 ...). */
size_t item_bytes(const struct attr_value *item);

/* "1.50e3" -> "1500". ERR_INVALID: no number, more than 38 digits, outside 1e-130 .. 9.99e125. */
int number_canonical(struct arena *a, struct slice text, struct slice *out);
int number_compare(struct slice a, struct slice b); /* both canonical */

void item_encode(struct buf *out, const struct attr_value *item);
/* ERR_CORRUPT, ERR_NOMEM. Slices point into `bytes`. */
int item_decode(struct arena *a, struct slice bytes, struct attr_value *item);

#endif
