#include "pipeline/event.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"

#include <ctype.h>
#include <stdio.h>

static const struct {
    const char *name;
    enum store_change_kind kind;
} types[EVENT_TYPE_COUNT] = {
#define X(id, text, from) [EVENT_##id] = {text, from},
    EVENT_TYPE_LIST(X)
#undef X
};

/* Names S3 knows and this server never raises. */
static const char *const foreign_types[] = {
    "s3:ReducedRedundancyLostObject", "s3:ObjectRestore:",     "s3:Replication:",
    "s3:LifecycleTransition",         "s3:IntelligentTiering",
};

/* Names that stand for several types. */
static const struct {
    const char *name;
    unsigned mask;
} families[] = {
    {"s3:ObjectCreated:*", EVENT_MASK_CREATED},
    {"s3:ObjectRemoved:*", EVENT_MASK_REMOVED},
    {"s3:ObjectTagging:*", EVENT_MASK_TAGGING},
    {"s3:LifecycleExpiration:*", EVENT_MASK_EXPIRED},
};

const char *
event_type_name(enum event_type type)
{
    CHK(type < EVENT_TYPE_COUNT);
    return types[type].name;
}

enum event_type
event_type_of(enum store_change_kind kind)
{
    for (int t = 0; t < EVENT_TYPE_COUNT; t++) {
        if (types[t].kind == kind)
            return (enum event_type)t;
    }
    CHK(!"unknown change");
    return EVENT_CREATED_PUT;
}

int
event_types_parse(struct slice name, unsigned *mask)
{
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        if (slice_eqs(name, families[i].name)) {
            *mask = families[i].mask;
            return ERR_NONE;
        }
    }
    if (slice_starts(name, SLICE_LIT("s3:"))) {
        for (int t = 0; t < EVENT_TYPE_COUNT; t++) {
            if (t != EVENT_RESTORED && slice_eqs(slice_skip(name, 3), types[t].name)) {
                *mask = EVENT_MASK(t);
                return ERR_NONE;
            }
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(foreign_types); i++) {
        if (slice_starts(name, slice_str(foreign_types[i])))
            return ERR_UNSUPPORTED;
    }
    return ERR_INVALID;
}

void
event_types_each(unsigned mask, void (*fn)(void *arg, const char *name), void *arg)
{
    char name[64];
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        if ((mask & families[i].mask) == families[i].mask) {
            fn(arg, families[i].name);
            mask &= ~families[i].mask;
        }
    }
    for (int t = 0; t < EVENT_TYPE_COUNT; t++) {
        if (t != EVENT_RESTORED && (mask & EVENT_MASK(t))) {
            snprintf(name, sizeof name, "s3:%s", types[t].name);
            fn(arg, name);
        }
    }
}

void
event_sequencer(int64_t generation, char out[EVENT_SEQUENCER_TEXT])
{
    snprintf(out, EVENT_SEQUENCER_TEXT, "%016llX", (unsigned long long)generation);
}

void
event_key_encode(struct slice key, struct buf *out)
{
    for (size_t i = 0; i < key.n; i++) {
        unsigned char c = (unsigned char)key.p[i];
        if (isalnum(c) || memchr("-_.*/", c, 5) != NULL)
            buf_putc(out, (char)c);
        else if (c == ' ')
            buf_putc(out, '+');
        else
            buf_printf(out, "%%%02X", c);
    }
}

static void
member(struct buf *json, const char *name, struct slice value)
{
    buf_printf(json, "\"%s\":", name);
    json_quote(json, value);
}

static void
write_object(const struct event_record *e, struct buf *json)
{
    char sequencer[EVENT_SEQUENCER_TEXT];
    bool removed = (EVENT_MASK(e->type) & (EVENT_MASK_REMOVED | EVENT_MASK_EXPIRED)) != 0;
    event_sequencer(e->generation, sequencer);
    buf_puts(json, "\"object\":{\"key\":\"");
    event_key_encode(e->key, json); /* only characters that JSON takes as they are */
    buf_puts(json, "\",");
    if (!removed) {
        buf_printf(json, "\"size\":%lld,", (long long)e->size);
        member(json, "eTag", e->etag);
        buf_putc(json, ',');
    }
    if (e->version_id.n > 0 && !slice_eqs(e->version_id, "null")) {
        member(json, "versionId", e->version_id);
        buf_putc(json, ',');
    }
    member(json, "sequencer", slice_str(sequencer));
    buf_putc(json, '}');
}

void
event_record_write(const struct event_record *e, struct buf *json)
{
    char when[CLOCK_TEXT_MAX];
    clock_iso8601(e->time_ms, when);
    buf_puts(json, "{\"Records\":[{\"eventVersion\":\"2.1\",\"eventSource\":\"aws:s3\",");
    member(json, "awsRegion", e->region);
    buf_printf(json, ",\"eventTime\":\"%s\",\"eventName\":\"%s\",\"userIdentity\":{", when,
               event_type_name(e->type));
    member(json, "principalId", e->principal);
    buf_puts(json, "},\"requestParameters\":{");
    member(json, "sourceIPAddress", e->source_ip);
    buf_puts(json, "},\"responseElements\":{");
    member(json, "x-amz-request-id", e->request_id);
    buf_putc(json, ',');
    member(json, "x-amz-id-2", e->request_id);
    buf_puts(json, "},\"s3\":{\"s3SchemaVersion\":\"1.0\",");
    member(json, "configurationId", e->rule_id);
    buf_puts(json, ",\"bucket\":{");
    member(json, "name", e->bucket);
    buf_puts(json, ",\"ownerIdentity\":{");
    member(json, "principalId", e->bucket_owner);
    buf_puts(json, "},\"arn\":\"arn:aws:s3:::");
    buf_put_slice(json, e->bucket);
    buf_puts(json, "\"},");
    write_object(e, json);
    buf_puts(json, "}}]}");
}
