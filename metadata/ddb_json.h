/*
 * Attribute values as DynamoDB's JSON writes them: {"S": "text"}, {"N": "12"}, {"B": "base64"}...
 * What is read borrows its strings from the JSON value, which must outlive it.
 */
#ifndef DARKROOM_METADATA_DDB_JSON_H
#define DARKROOM_METADATA_DDB_JSON_H

#include "base/json.h"
#include "metadata/item.h"

/* ERR_INVALID: DynamoDB refuses the value (ValidationException). ERR_UNSUPPORTED: not of this shape
 * at all (SerializationException). Both with a sentence in `why`. ERR_NOMEM. */
int ddb_read_value(struct arena *a, const json_t *json, struct attr_value *out, struct buf *why);
/* An object of attribute values: an item, a key. */
int ddb_read_map(struct arena *a, const json_t *json, struct attr_value *out, struct buf *why);

void ddb_write_map(struct buf *out, const struct attr_value *map);

#endif
