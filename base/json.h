/*
 * Small helpers over jansson for the modules where JSON is the wire. jansson is given limits here:
 * size by the caller's body ceiling, depth by JSON_DEPTH_MAX, duplicate keys refused.
 */
#ifndef DARKROOM_BASE_JSON_H
#define DARKROOM_BASE_JSON_H

#include "base/buf.h"
#include "base/slice.h"

#include <jansson.h>

#define JSON_DEPTH_MAX 80 /* an item of 32 levels in a batch request takes 70 */

/* NULL when malformed; `why` (may be NULL) gets "line 3: ..." . Free with json_decref(). */
json_t *json_read(struct slice text, struct buf *why);
/* Appends the text; compact, or indented by two when `pretty`. */
void json_write(struct buf *out, const json_t *value, bool pretty);
/* Member as string; p = NULL when absent or no string. Lent by the object. */
struct slice json_get_str(const json_t *object, const char *name);
int64_t json_get_int(const json_t *object, const char *name, int64_t fallback);
bool json_get_bool(const json_t *object, const char *name, bool fallback);
/* Appends a quoted, escaped JSON string; invalid UTF-8 becomes U+FFFD. */
void json_quote(struct buf *out, struct slice text);

#endif
