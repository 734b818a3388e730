/*
 * Key bytes whose memcmp() order is DynamoDB's order: strings by UTF-8 bytes, binary by unsigned
 * bytes, numbers by value (sign, exponent, digits; negatives complemented).
 */
#ifndef DARKROOM_METADATA_KEY_H
#define DARKROOM_METADATA_KEY_H

#include "metadata/item.h"

#define KEY_PARTITION_MAX 2048
#define KEY_SORT_MAX 1024

/* Appends. ERR_INVALID: type is not S, N or B, or the value is empty. */
int key_encode(struct buf *out, const struct attr_value *v);

#endif
