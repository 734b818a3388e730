/*
 * Reading is one road for both forms: each pair is judged by itself, then the set is sorted and
 * neighbours are compared.
 */
#include "objectstore/tags.h"
#include "base/chk.h"
#include "base/err.h"
#include "base/http.h"

#include <stdlib.h>
#include <strings.h>

#define SYSTEM_PREFIX "aws:"

/* ---- characters ---- */

/* "Unicode letters or numbers, white space, and _ . : / = + @ -". Of what is not ASCII this lists
 * the blocks that have neither letters nor numbers nor spaces: controls, combining marks,
 * punctuation, symbols, emoji, private use. Single marks inside a script's own block pass. */
static const struct {
    uint32_t first, last;
} no_tag_blocks[] = {
    {0x80, 0x9f},       {0xa1, 0xa9},       {0xab, 0xb1},        {0xb4, 0xb4},     {0xb6, 0xb8},
    {0xbb, 0xbb},       {0xbf, 0xbf},       {0xd7, 0xd7},        {0xf7, 0xf7},     {0x2c2, 0x2c5},
    {0x2d2, 0x2df},     {0x300, 0x36f},     {0x200b, 0x2027},    {0x202a, 0x202e}, {0x2030, 0x205e},
    {0x2060, 0x206f},   {0x207a, 0x207e},   {0x208a, 0x208e},    {0x20a0, 0x20ff}, {0x2190, 0x245f},
    {0x249c, 0x24e9},   {0x2500, 0x2775},   {0x2794, 0x2bff},    {0x2e00, 0x2fff}, {0x3001, 0x3004},
    {0x3008, 0x3020},   {0x302a, 0x3030},   {0x3099, 0x309c},    {0xd800, 0xf8ff}, {0xfe00, 0xfe6f},
    {0xff01, 0xff0f},   {0xff1a, 0xff20},   {0xff3b, 0xff40},    {0xff5b, 0xff65}, {0xffe0, 0xffff},
    {0x1d000, 0x1d2bf}, {0x1f000, 0x1fbef}, {0xe0000, 0x10ffff},
};

static bool
tag_char(uint32_t c)
{
    if (c < 0x80)
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
               (c != 0 && strchr(" _.:/=+@-", (int)c) != NULL);
    for (size_t i = 0; i < ARRAY_LEN(no_tag_blocks); i++) {
        if (c >= no_tag_blocks[i].first && c <= no_tag_blocks[i].last)
            return false;
    }
    return true;
}

/* The first character of well-formed UTF-8, cut off. */
static uint32_t
next_char(struct slice *s)
{
    unsigned char c = (unsigned char)s->p[0];
    size_t n = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    uint32_t code = n == 1 ? c : c & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++)
        code = code << 6 | ((unsigned char)s->p[i] & 0x3f);
    *s = slice_skip(*s, n);
    return code;
}

static bool
text_ok(struct slice text, size_t min, size_t max)
{
    size_t units = 0;
    if (!slice_is_utf8(text))
        return false;
    while (text.n > 0 && units <= max) {
        uint32_t c = next_char(&text);
        if (!tag_char(c))
            return false;
        units += c > 0xffff ? 2 : 1;
    }
    return units >= min && units <= max;
}

/* ---- reading ---- */

static enum tags_fault
fault_at(struct tags_error *e, enum tags_fault fault, const struct tag *tag)
{
    e->fault = fault;
    if (tag != NULL && slice_is_utf8(tag->key))
        e->key = tag->key;
    if (fault == TAGS_VALUE && slice_is_utf8(tag->value))
        e->value = tag->value;
    return fault;
}

static enum tags_fault
add(struct tags *t, size_t max, struct tag tag, struct tags_error *e)
{
    size_t prefix = sizeof SYSTEM_PREFIX - 1;
    if (t->count == max)
        return fault_at(e, TAGS_TOO_MANY, NULL);
    if (tag.key.n >= prefix && strncasecmp(tag.key.p, SYSTEM_PREFIX, prefix) == 0)
        return fault_at(e, TAGS_SYSTEM, &tag);
    if (!text_ok(tag.key, 1, TAG_KEY_MAX))
        return fault_at(e, TAGS_KEY, &tag);
    if (!text_ok(tag.value, 0, TAG_VALUE_MAX))
        return fault_at(e, TAGS_VALUE, &tag);
    t->list[t->count++] = tag;
    return TAGS_OK;
}

static int
tag_cmp(const void *a, const void *b)
{
    return slice_cmp(((const struct tag *)a)->key, ((const struct tag *)b)->key);
}

static enum tags_fault
finish(struct tags *t, struct tags_error *e)
{
    qsort(t->list, t->count, sizeof t->list[0], tag_cmp);
    for (size_t i = 1; i < t->count; i++) {
        if (slice_eq(t->list[i].key, t->list[i - 1].key))
            return fault_at(e, TAGS_DUPLICATE, &t->list[i]);
    }
    return TAGS_OK;
}

/* One Key and one Value, without children; false: something else. */
static bool
tag_of(const struct xml_node *n, struct tag *out)
{
    const struct xml_node *key = xml_child(n, "Key"), *value = xml_child(n, "Value");
    size_t children = 0;
    for (const struct xml_node *c = n->child; c != NULL; c = c->next)
        children += c->child == NULL ? 1 : 3;
    if (!slice_eqs(n->name, "Tag") || key == NULL || value == NULL || children != 2)
        return false;
    *out = (struct tag){key->text, value->text};
    return true;
}

enum tags_fault
tags_read_xml(const struct xml_node *tagging, enum tags_of of, struct tags *out,
              struct tags_error *error)
{
    size_t max = of == TAGS_OF_OBJECT ? TAGS_OBJECT_MAX : TAGS_BUCKET_MAX;
    const struct xml_node *set = tagging->child;
    struct tag tag;
    out->count = 0;
    *error = (struct tags_error){.fault = TAGS_OK};
    if (set == NULL || !slice_eqs(set->name, "TagSet") || set->next != NULL)
        return fault_at(error, TAGS_MALFORMED, NULL);
    for (const struct xml_node *n = set->child; n != NULL; n = n->next) {
        if (!tag_of(n, &tag))
            return fault_at(error, TAGS_MALFORMED, NULL);
        if (add(out, max, tag, error) != TAGS_OK)
            return error->fault;
    }
    return finish(out, error);
}

/* "key=value" decoded as forms are; false: not of that form. */
static bool
tag_of_pair(struct arena *a, struct slice pair, struct tag *out)
{
    struct slice value, key = slice_cut(pair, '=', &value);
    if (value.n > 0 && memchr(value.p, '=', value.n) != NULL)
        return false;
    out->key = http_unescape(a, key, true);
    out->value = value.n == 0 ? slice_str("") : http_unescape(a, value, true);
    return out->key.p != NULL && out->value.p != NULL;
}

enum tags_fault
tags_read_header(struct arena *a, struct slice text, struct tags *out, struct tags_error *error)
{
    struct tag tag;
    out->count = 0;
    *error = (struct tags_error){.fault = TAGS_OK};
    while (text.n > 0) {
        struct slice pair = slice_cut(text, '&', &text);
        if (pair.n == 0)
            continue;
        if (!tag_of_pair(a, pair, &tag))
            return fault_at(error, TAGS_MALFORMED, NULL);
        if (add(out, TAGS_OBJECT_MAX, tag, error) != TAGS_OK)
            return error->fault;
    }
    /* A key that comes twice makes no set of parameters. */
    return finish(out, error) == TAGS_OK ? TAGS_OK : fault_at(error, TAGS_MALFORMED, NULL);
}

/* ---- the kept form ---- */

void
tags_encode(const struct tags *t, struct buf *out)
{
    for (size_t i = 0; i < t->count; i++) {
        buf_put_slice(out, t->list[i].key);
        buf_putc(out, '\t');
        buf_put_slice(out, t->list[i].value);
        buf_putc(out, '\n');
    }
}

int
tags_decode(struct slice kept, struct tags *out)
{
    out->count = 0;
    while (kept.n > 0) {
        struct slice value, line = slice_cut(kept, '\n', &kept);
        struct slice key = slice_cut(line, '\t', &value);
        if (kept.p == NULL || value.p == NULL || out->count == TAGS_BUCKET_MAX)
            return ERR_CORRUPT;
        out->list[out->count++] = (struct tag){key, value};
    }
    return ERR_NONE;
}

size_t
tags_count(struct slice kept)
{
    size_t n = 0;
    for (size_t i = 0; i < kept.n; i++)
        n += kept.p[i] == '\n';
    return n;
}

void
tags_write(const struct tags *t, struct buf *out)
{
    xml_head(out);
    xml_open(out, "Tagging xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"");
    xml_open(out, "TagSet");
    for (size_t i = 0; i < t->count; i++) {
        xml_open(out, "Tag");
        xml_put(out, "Key", t->list[i].key);
        xml_put(out, "Value", t->list[i].value);
        xml_close(out, "Tag");
    }
    xml_close(out, "TagSet");
    xml_close(out, "Tagging");
}
