/*
 * The rules stay in the tree their document was parsed into, in an arena of their own; reading it
 * checks every element and keeps beside it what judging needs. After lifecycle_parse() nothing
 * changes.
 */
#include "objectstore/lifecycle.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/err.h"
#include "objectstore/tags.h"

#include <limits.h>

#define LIFECYCLE_MAGIC 0x11fec7c1u
#define PARSE_MEMORY_MAX (16u << 20)
#define ID_RANDOM_BYTES 16
#define ROOT "LifecycleConfiguration"

struct rule {
    const struct xml_node *node;
    struct slice id;
    bool enabled;
    struct slice prefix;
    struct tag tags[TAGS_OBJECT_MAX];
    size_t tag_count;
    int64_t size_above; /* -1: any */
    int64_t size_below;
    int64_t date_ms; /* Expiration; LIFECYCLE_NEVER: none */
    int days;        /* these: 0 when the action is not there */
    int noncurrent_days;
    int keep;
    int abort_days;
    bool lone_markers;
};

struct lifecycle {
    uint32_t magic;
    struct arena *arena; /* holds everything, this struct too */
    size_t count;
    struct rule *rules;
};

/* ---- values ---- */

static int
refuse(struct buf *why, int err, const char *sentence)
{
    buf_puts(why, sentence);
    return err;
}

static bool
comes_once(const struct xml_node *parent, const struct xml_node *n)
{
    for (const struct xml_node *c = parent->child; c != NULL; c = c->next) {
        if (c != n && slice_eq(c->name, n->name))
            return false;
    }
    return true;
}

/* ERR_RANGE: an integer, but none from `min` to `max`. */
static int
integer(const struct xml_node *n, int64_t min, int64_t max, int64_t *out)
{
    uint64_t value = 0;
    struct slice text = slice_trim(n->text);
    bool negative = slice_starts(text, SLICE_LIT("-"));
    if (slice_to_u64(slice_skip(text, negative ? 1 : 0), &value) != ERR_NONE)
        return ERR_INVALID;
    if (negative || value < (uint64_t)min || value > (uint64_t)max)
        return ERR_RANGE;
    *out = (int64_t)value;
    return ERR_NONE;
}

static int
number(const struct xml_node *n, int64_t min, int64_t max, struct buf *why, int64_t *out)
{
    int err = integer(n, min, max, out);
    if (err == ERR_RANGE)
        buf_printf(why, "'%.*s' must be an integer from %lld to %lld", SLICE_FMT(n->name),
                   (long long)min, (long long)max);
    return err;
}

/* `action`: the element around it, for the sentence. */
static int
days(const struct xml_node *n, const char *action, struct buf *why, int *out)
{
    int64_t value = 0;
    int err = integer(n, 1, INT_MAX, &value);
    if (err == ERR_RANGE)
        buf_printf(why, "'%.*s' for %s action must be a positive integer", SLICE_FMT(n->name),
                   action);
    *out = (int)value;
    return err;
}

static int
date(const struct xml_node *n, struct buf *why, int64_t *out)
{
    struct slice text = slice_trim(n->text);
    if (clock_parse_iso(text.p, text.n, out) != ERR_NONE)
        return ERR_INVALID;
    return *out % LIFECYCLE_DAY_MS == 0 ? ERR_NONE
                                        : refuse(why, ERR_RANGE, "'Date' must be at midnight GMT");
}

/* ---- filters ---- */

static int
tag_read(struct rule *rule, const struct xml_node *n, struct buf *why)
{
    struct tag tag = {xml_text(n, "Key"), xml_text(n, "Value")};
    for (const struct xml_node *c = n->child; c != NULL; c = c->next) {
        bool known = slice_eqs(c->name, "Key") || slice_eqs(c->name, "Value");
        if (!known || !comes_once(n, c))
            return ERR_INVALID;
    }
    if (tag.key.n == 0 || tag.value.p == NULL || rule->tag_count == TAGS_OBJECT_MAX)
        return ERR_INVALID;
    for (size_t i = 0; i < rule->tag_count; i++) {
        if (slice_eq(rule->tags[i].key, tag.key))
            return refuse(why, ERR_CONFLICT, "Duplicate Tag Keys are not allowed.");
    }
    rule->tags[rule->tag_count++] = tag;
    return ERR_NONE;
}

/* One condition of a <Filter> or <And>. */
static int
condition_read(struct rule *rule, const struct xml_node *n, struct buf *why)
{
    if (slice_eqs(n->name, "Tag"))
        return tag_read(rule, n, why);
    if (slice_eqs(n->name, "ObjectSizeGreaterThan"))
        return number(n, 0, INT64_MAX / 2, why, &rule->size_above);
    if (slice_eqs(n->name, "ObjectSizeLessThan"))
        return number(n, 1, INT64_MAX / 2, why, &rule->size_below);
    if (!slice_eqs(n->name, "Prefix"))
        return ERR_INVALID;
    rule->prefix = n->text;
    return ERR_NONE;
}

/* The children of `n`; all but tags come once. */
static int
conditions_read(struct rule *rule, const struct xml_node *n, struct buf *why)
{
    int err = ERR_NONE;
    for (const struct xml_node *c = n->child; c != NULL && err == ERR_NONE; c = c->next) {
        bool may = slice_eqs(c->name, "Tag") || comes_once(n, c);
        err = may ? condition_read(rule, c, why) : ERR_INVALID;
    }
    if (err == ERR_NONE && rule->size_below <= rule->size_above)
        err = refuse(why, ERR_CONFLICT,
                     "'ObjectSizeLessThan' has to be a value greater than "
                     "'ObjectSizeGreaterThan'");
    return err;
}

/* At most one child, beside which an empty Prefix is taken for what it says: nothing. */
static int
filter_read(struct rule *rule, const struct xml_node *filter, struct buf *why)
{
    const struct xml_node *only = NULL;
    for (const struct xml_node *n = filter->child; n != NULL; n = n->next) {
        if (slice_eqs(n->name, "Prefix") && n->text.n == 0)
            continue;
        if (only != NULL)
            return ERR_INVALID;
        only = n;
    }
    if (only == NULL)
        return conditions_read(rule, filter, why);
    if (!slice_eqs(only->name, "And"))
        return condition_read(rule, only, why);
    return only->child == NULL ? ERR_INVALID : conditions_read(rule, only, why);
}

/* ---- actions ---- */

static int
expiration_read(struct rule *rule, const struct xml_node *n, struct buf *why)
{
    const struct xml_node *c = n->child;
    if (c == NULL || c->next != NULL)
        return ERR_INVALID;
    if (slice_eqs(c->name, "Days"))
        return days(c, "Expiration", why, &rule->days);
    if (slice_eqs(c->name, "Date"))
        return date(c, why, &rule->date_ms);
    struct slice text = slice_trim(c->text);
    rule->lone_markers = slice_eqs(text, "true");
    bool known = slice_eqs(c->name, "ExpiredObjectDeleteMarker") &&
                 (rule->lone_markers || slice_eqs(text, "false"));
    return known ? ERR_NONE : ERR_INVALID;
}

static int
noncurrent_read(struct rule *rule, const struct xml_node *node, struct buf *why)
{
    int err = ERR_NONE;
    int64_t keep = 0;
    for (const struct xml_node *n = node->child; n != NULL && err == ERR_NONE; n = n->next) {
        if (slice_eqs(n->name, "NoncurrentDays") && rule->noncurrent_days == 0)
            err = days(n, "NoncurrentVersionExpiration", why, &rule->noncurrent_days);
        else if (slice_eqs(n->name, "NewerNoncurrentVersions") && keep == 0)
            err = number(n, 1, LIFECYCLE_KEEP_MAX, why, &keep);
        else
            err = ERR_INVALID;
    }
    rule->keep = (int)keep;
    return err == ERR_NONE && rule->noncurrent_days == 0 ? ERR_INVALID : err;
}

static int
abort_read(struct rule *rule, const struct xml_node *node, struct buf *why)
{
    const struct xml_node *n = node->child;
    if (n == NULL || n->next != NULL || !slice_eqs(n->name, "DaysAfterInitiation"))
        return ERR_INVALID;
    return days(n, "AbortIncompleteMultipartUpload", why, &rule->abort_days);
}

/* What is wrong with it comes first, then that there is nowhere to go. */
static int
transition_refuse(const struct xml_node *node, struct buf *why)
{
    const struct xml_node *n = xml_child(node, "Date");
    int64_t unused;
    int err = n == NULL ? ERR_NONE : date(n, why, &unused);
    if (err == ERR_NONE && xml_text(node, "StorageClass").n == 0)
        err = ERR_INVALID;
    return err != ERR_NONE ? err
                           : refuse(why, ERR_UNSUPPORTED,
                                    "Transitions are not implemented: a storage class is kept, but "
                                    "moves no bytes.");
}

/* ---- rules ---- */

static int
id_make(struct lifecycle *l, struct rule *rule)
{
    uint8_t random[ID_RANDOM_BYTES];
    char *hex = arena_alloc(l->arena, 2 * sizeof random + 1);
    if (hex == NULL)
        return ERR_NOMEM;
    random_bytes(random, sizeof random);
    hex_encode(random, sizeof random, hex);
    rule->id = slice_of(hex, 2 * sizeof random);
    return ERR_NONE;
}

static int
id_read(struct lifecycle *l, struct rule *rule, struct buf *why)
{
    rule->id = xml_text(rule->node, "ID");
    if (rule->id.n == 0)
        return id_make(l, rule);
    if (rule->id.n > LIFECYCLE_ID_MAX)
        return refuse(why, ERR_RANGE, "ID length should not exceed allowed limit of 255");
    for (const struct rule *r = l->rules; r < rule; r++) {
        if (slice_eq(r->id, rule->id))
            return refuse(why, ERR_RANGE,
                          "Rule ID must be unique. Found same ID for more than one rule");
    }
    return ERR_NONE;
}

static int
action_read(struct rule *rule, const struct xml_node *n, struct buf *why)
{
    if (slice_eqs(n->name, "Expiration"))
        return expiration_read(rule, n, why);
    if (slice_eqs(n->name, "NoncurrentVersionExpiration"))
        return noncurrent_read(rule, n, why);
    if (slice_eqs(n->name, "AbortIncompleteMultipartUpload"))
        return abort_read(rule, n, why);
    if (slice_eqs(n->name, "Transition") || slice_eqs(n->name, "NoncurrentVersionTransition"))
        return transition_refuse(n, why);
    return ERR_INVALID;
}

/* Uploads and markers have neither tags nor a size. */
static int
combination_check(const struct rule *rule, struct buf *why)
{
    bool sized = rule->size_above >= 0 || rule->size_below != INT64_MAX;
    if (rule->abort_days > 0 && rule->tag_count > 0)
        return refuse(why, ERR_CONFLICT,
                      "AbortIncompleteMultipartUpload cannot be specified with Tags.");
    if (rule->abort_days > 0 && sized)
        return refuse(why, ERR_CONFLICT,
                      "AbortIncompleteMultipartUpload cannot be specified with Object Size.");
    if (rule->lone_markers && rule->tag_count > 0)
        return refuse(why, ERR_CONFLICT,
                      "ExpiredObjectDeleteMarker cannot be specified with Tags.");
    return ERR_NONE;
}

/* Status, and either a Filter or, as it was before filters, a Prefix. */
static int
frame_read(struct rule *rule, struct buf *why)
{
    const struct xml_node *filter = xml_child(rule->node, "Filter");
    const struct xml_node *prefix = xml_child(rule->node, "Prefix");
    struct slice status = xml_text(rule->node, "Status");
    rule->enabled = slice_eqs(status, "Enabled");
    if ((!rule->enabled && !slice_eqs(status, "Disabled")) || (filter == NULL) == (prefix == NULL))
        return ERR_INVALID;
    if (filter != NULL)
        return filter_read(rule, filter, why);
    return condition_read(rule, prefix, why);
}

static int
rule_read(struct lifecycle *l, struct rule *rule, const struct xml_node *node, struct buf *why)
{
    static const char *const frame[] = {"ID", "Status", "Filter", "Prefix"};
    size_t actions = 0;
    *rule = (struct rule){
        .node = node, .size_above = -1, .size_below = INT64_MAX, .date_ms = LIFECYCLE_NEVER};
    if (!slice_eqs(node->name, "Rule"))
        return ERR_INVALID;
    int err = frame_read(rule, why);
    for (const struct xml_node *n = node->child; n != NULL && err == ERR_NONE; n = n->next) {
        bool framing = false;
        for (size_t i = 0; i < ARRAY_LEN(frame); i++)
            framing |= slice_eqs(n->name, frame[i]);
        actions += !framing;
        if (!framing)
            err = action_read(rule, n, why);
        if (err == ERR_NONE && !comes_once(node, n))
            err = ERR_INVALID;
    }
    if (err == ERR_NONE && actions == 0)
        err = refuse(why, ERR_CONFLICT, "At least one action needs to be specified in a rule.");
    if (err == ERR_NONE)
        err = combination_check(rule, why);
    return err == ERR_NONE ? id_read(l, rule, why) : err;
}

/* Which elements may have others inside; text beside those is white space of the client's. */
static bool
nested_ok(const struct xml_node *n)
{
    static const char *const outer[] = {
        ROOT,
        "Rule",
        "Filter",
        "And",
        "Tag",
        "Expiration",
        "NoncurrentVersionExpiration",
        "AbortIncompleteMultipartUpload",
        "Transition",
        "NoncurrentVersionTransition",
    };
    bool ok = n->child == NULL;
    for (size_t i = 0; !ok && i < ARRAY_LEN(outer); i++)
        ok = slice_eqs(n->name, outer[i]);
    for (const struct xml_node *c = n->child; ok && c != NULL; c = c->next)
        ok = nested_ok(c);
    return ok;
}

static int
rules_read(struct lifecycle *l, const struct xml_node *root, struct buf *why)
{
    size_t count = 0;
    for (const struct xml_node *n = root->child; n != NULL; n = n->next)
        count++;
    if (!slice_eqs(root->name, ROOT) || count == 0 || !nested_ok(root))
        return ERR_INVALID;
    if (count > LIFECYCLE_RULES_MAX)
        return refuse(why, ERR_CONFLICT,
                      "The number of lifecycle rules must not exceed the allowed limit of 1000 "
                      "rules.");
    l->rules = arena_alloc(l->arena, count * sizeof *l->rules);
    if (l->rules == NULL)
        return ERR_NOMEM;
    for (const struct xml_node *n = root->child; n != NULL; n = n->next, l->count++) {
        int err = rule_read(l, &l->rules[l->count], n, why);
        if (err != ERR_NONE)
            return err;
    }
    return ERR_NONE;
}

int
lifecycle_parse(struct slice xml, struct lifecycle **out, struct buf *why)
{
    const struct xml_node *root = NULL;
    struct arena *a = arena_new(PARSE_MEMORY_MAX);
    struct lifecycle *l = a == NULL ? NULL : arena_alloc(a, sizeof *l);
    *out = NULL;
    if (l == NULL) {
        arena_free(&a);
        return ERR_NOMEM;
    }
    *l = (struct lifecycle){.magic = LIFECYCLE_MAGIC, .arena = a};
    int err = xml_parse(a, xml, &root);
    if (err == ERR_NONE)
        err = rules_read(l, root, why);
    else if (err == ERR_TOOBIG)
        err = ERR_INVALID;
    if (err == ERR_NONE)
        *out = l;
    else
        arena_free(&a);
    return err;
}

void
lifecycle_free(struct lifecycle **lp)
{
    struct lifecycle *l = *lp;
    *lp = NULL;
    if (l == NULL)
        return;
    CHK_MAGIC(l, LIFECYCLE_MAGIC);
    l->magic = 0;
    struct arena *a = l->arena;
    arena_free(&a);
}

/* ---- writing ---- */

/* Names were compared with ours; depth is that of the document we know. */
static void
node_write(const struct xml_node *n, struct buf *out)
{
    buf_printf(out, "<%.*s>", SLICE_FMT(n->name));
    for (const struct xml_node *c = n->child; c != NULL; c = c->next)
        node_write(c, out);
    if (n->child == NULL && !slice_eqs(n->name, "Filter"))
        xml_escape(out, n->text);
    buf_printf(out, "</%.*s>", SLICE_FMT(n->name));
}

void
lifecycle_write(const struct lifecycle *l, struct buf *out)
{
    CHK_MAGIC(l, LIFECYCLE_MAGIC);
    xml_head(out);
    xml_open(out, ROOT " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"");
    for (size_t i = 0; i < l->count; i++) {
        xml_open(out, "Rule");
        xml_put(out, "ID", l->rules[i].id);
        for (const struct xml_node *n = l->rules[i].node->child; n != NULL; n = n->next) {
            if (!slice_eqs(n->name, "ID"))
                node_write(n, out);
        }
        xml_close(out, "Rule");
    }
    xml_close(out, ROOT);
}

/* ---- judging ---- */

static struct slice
common(struct slice a, struct slice b)
{
    size_t n = 0;
    while (n < a.n && n < b.n && a.p[n] == b.p[n])
        n++;
    return slice_of(a.p, n);
}

struct lifecycle_scope
lifecycle_scope(const struct lifecycle *l)
{
    struct lifecycle_scope scope = {.prefix = SLICE_NONE};
    CHK_MAGIC(l, LIFECYCLE_MAGIC);
    for (size_t i = 0; i < l->count; i++) {
        const struct rule *r = &l->rules[i];
        if (!r->enabled)
            continue;
        bool first = !scope.versions && !scope.uploads;
        scope.prefix = first ? r->prefix : common(scope.prefix, r->prefix);
        scope.uploads |= r->abort_days > 0;
        scope.versions |= r->days > 0 || r->date_ms != LIFECYCLE_NEVER || r->lone_markers ||
                          r->noncurrent_days > 0;
    }
    return scope;
}

static bool
has_tag(const struct tags *tags, const struct tag *tag)
{
    for (size_t i = 0; i < tags->count; i++) {
        if (slice_eq(tags->list[i].key, tag->key))
            return slice_eq(tags->list[i].value, tag->value);
    }
    return false;
}

static bool
applies(const struct rule *r, const struct lifecycle_subject *s, const struct tags *tags)
{
    bool sized = r->size_above >= 0 || r->size_below != INT64_MAX;
    if (!r->enabled || !slice_starts(s->key, r->prefix))
        return false;
    if (s->is_marker && (sized || r->tag_count > 0))
        return false;
    if (sized && (s->size <= r->size_above || s->size >= r->size_below))
        return false;
    for (size_t i = 0; i < r->tag_count; i++) {
        if (!has_tag(tags, &r->tags[i]))
            return false;
    }
    return true;
}

/* The midnight after so many days. */
static int64_t
after_days(int64_t since_ms, int count, int64_t day_ms)
{
    return count == 0 ? LIFECYCLE_NEVER : ((since_ms / day_ms) + count + 1) * day_ms;
}

static int64_t
rule_due(const struct rule *r, const struct lifecycle_subject *s, int64_t day_ms)
{
    int64_t by_days = after_days(s->since_ms, r->days, day_ms);
    if (s->kind == LIFECYCLE_UPLOAD)
        return after_days(s->since_ms, r->abort_days, day_ms);
    if (s->kind == LIFECYCLE_NONCURRENT)
        return s->newer >= r->keep ? after_days(s->since_ms, r->noncurrent_days, day_ms)
                                   : LIFECYCLE_NEVER;
    if (s->kind == LIFECYCLE_LONE_MARKER && r->lone_markers)
        return s->since_ms;
    return by_days < r->date_ms ? by_days : r->date_ms;
}

int64_t
lifecycle_due(const struct lifecycle *l, const struct lifecycle_subject *subject, int64_t day_ms,
              struct slice *rule_id)
{
    int64_t earliest = LIFECYCLE_NEVER;
    CHK_MAGIC(l, LIFECYCLE_MAGIC);
    struct tags tags;
    *rule_id = SLICE_NONE;
    if (tags_decode(subject->tags, &tags) != ERR_NONE)
        tags.count = 0;
    for (size_t i = 0; i < l->count; i++) {
        const struct rule *r = &l->rules[i];
        int64_t due = applies(r, subject, &tags) ? rule_due(r, subject, day_ms) : LIFECYCLE_NEVER;
        if (due < earliest) {
            earliest = due;
            *rule_id = r->id;
        }
    }
    return earliest;
}
