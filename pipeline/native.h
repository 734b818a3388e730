/*
 * What only the native image functions know: their environments, where their derived objects go,
 * and what they owe a table item. Keeps image words out of queue, runtime and dispatch.
 */
#ifndef DARKROOM_PIPELINE_NATIVE_H
#define DARKROOM_PIPELINE_NATIVE_H

#include "base/buf.h"
#include "base/slice.h"
#include "base/conf.h"
#include "functions/fn.h"
#include "functions/preset.h"
#include "metadata/table.h"

#define NATIVE_PATTERN_MAX 128
#define NATIVE_BUCKET_MAX 63
#define NATIVE_DERIVED_DEFAULT "{bucket}-derived"
#define NATIVE_TABLE_DEFAULT "images"
/* Of what `metadata` states: raised when its code states other facts, which makes the items that
 * older code wrote stale. (Of `thumbnail`, the presets' hashes tell: functions/preset.h.) */
#define NATIVE_FACTS_REVISION 1

/* What makes derived objects, by events and on the fly. */
#define NATIVE_THUMBNAIL_NAME SLICE_LIT("thumbnail")

enum native_kind { NATIVE_NONE, NATIVE_THUMBNAIL, NATIVE_METADATA };

struct native_config {
    enum native_kind kind;
    struct preset_list presets;                   /* thumbnail */
    char derived_pattern[NATIVE_PATTERN_MAX + 1]; /* thumbnail; "" without */
    char table[TABLE_NAME_MAX + 1];               /* metadata; "" without */
};

enum native_kind native_kind_of(struct slice function_name);
/* Reads and checks a function's environment: a JSON object of strings. Unknown variables are kept
 * but mean nothing. ERR_INVALID with one sentence in `why`. */
int native_config_parse(enum native_kind kind, struct slice environment, struct native_config *out,
                        struct buf *why);
/* The default environment as JSON text. */
void native_environment_default(enum native_kind kind, struct buf *out);

/* The derived bucket of a source bucket; "" when the function derives nothing. ERR_TOOBIG: longer
 * than 63 characters; ERR_INVALID: no bucket name. */
int native_derived_bucket(const struct native_config *c, struct slice bucket,
                          char out[NATIVE_BUCKET_MAX + 1]);
/* "{key}/{preset}.{ext}" into an empty buffer. ERR_TOOBIG past STORE_KEY_MAX. */
int native_derived_key(struct slice key, const struct preset *p, struct buf *out);

/* The opaque config that goes with a call; `followup`: the secondary formats. */
void native_call_config(const struct native_config *c, bool followup, struct buf *out);
/* Limits of what an image function may decode, from the settings. */
void native_request_limits(const struct conf *conf, struct fn_request *request);
/* Presets that one pass makes. A function without primary presets makes its follow-ups at once. */
bool native_in_pass(const struct native_config *c, const struct preset *p, bool followup);
bool native_wants_followup(const struct native_config *c);
/* Of the list of presets: another list has another mark. Not 0. */
int64_t native_presets_mark(const struct native_config *c);

#endif
