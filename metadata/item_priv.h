/*
 * Building attribute values inside metadata/: what keeps the orders promised in item.h.
 */
#ifndef DARKROOM_METADATA_ITEM_PRIV_H
#define DARKROOM_METADATA_ITEM_PRIV_H

#include "metadata/item.h"

/* Memory one item of ITEM_BYTES_MAX may need as a tree: the worst is a list of empty strings. */
#define ITEM_MEMORY_MAX (32u << 20)

bool attr_type_is_set(enum attr_type type);
enum attr_type attr_set_element(enum attr_type set); /* ATTR_SS -> ATTR_S */
/* "S", "NS"... */
const char *attr_type_name(enum attr_type type);
/* 0 when there is no such type. */
enum attr_type attr_type_by_name(struct slice name);

/* Room for `count` attributes or elements; v->count = count, to be filled in. ERR_NOMEM. */
int attr_map_room(struct arena *a, struct attr_value *v, size_t count);
int attr_list_room(struct arena *a, struct attr_value *v, size_t count);
/* Sorts what was filled in. ERR_EXISTS for two equal names or elements. */
int attr_map_sort(struct arena *a, struct attr_value *map);
int attr_set_sort(struct attr_value *set);
/* Order of two elements of one set. */
int attr_scalar_compare(const struct attr_value *a, const struct attr_value *b);
/* Binary search in a sorted set. */
bool attr_set_has(const struct attr_value *set, const struct attr_value *element);

/* Attributes of an item are at depth 1. */
int attr_depth(const struct attr_value *v);

#endif
