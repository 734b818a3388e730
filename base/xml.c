/*
 * Reading: expat walks the text and calls back; we keep one frame per open element, so the tree
 * exists as soon as the root closes. A frame collects its element's text, which expat hands over
 * in pieces. The first refusal (DTD, entity, a limit) is kept in `err` and stops expat; what was
 * built by then stays in the arena and is never shown. The encoding is UTF-8 whatever the
 * document claims.
 *
 * The text of an element with children is dropped when it is only the white space of an indented
 * document; in a leaf every blank counts, because a key may be one.
 */
#include "base/xml.h"
#include "base/chk.h"
#include "base/err.h"
#include "base/utf8.h"

#include <expat.h>
#include <limits.h>

/* No request body the server reads as XML is longer; the callers' own ceilings are lower. */
#define XML_BYTES_MAX (16u << 20)
/* Of one element. A key has 1 KiB. */
#define XML_TEXT_MAX (64u << 10)

struct frame {
    struct xml_node *node;
    struct xml_node *last; /* youngest child */
    struct buf text;
};

struct reader {
    XML_Parser expat;
    struct arena *arena;
    struct xml_node *root;
    struct frame frames[XML_DEPTH_MAX];
    size_t depth;
    size_t nodes;
    int err;
};

static void
refuse(struct reader *r, int err)
{
    if (r->err == ERR_NONE)
        r->err = err;
    XML_StopParser(r->expat, XML_FALSE);
}

static struct slice
without_prefix(const char *name)
{
    const char *colon = strrchr(name, ':');
    return slice_str(colon == NULL ? name : colon + 1);
}

static struct xml_node *
node_new(struct reader *r, const char *name, const char **attributes)
{
    struct xml_node *node = arena_alloc(r->arena, sizeof *node);
    if (node == NULL)
        return NULL;
    node->text = slice_str("");
    node->name = arena_dup(r->arena, without_prefix(name));
    if (node->name.p == NULL)
        return NULL;
    for (; attributes[0] != NULL; attributes += 2) {
        if (strcmp(attributes[0], "xsi:type") != 0)
            continue;
        node->xsi_type = arena_dup(r->arena, slice_str(attributes[1]));
        if (node->xsi_type.p == NULL)
            return NULL;
    }
    return node;
}

static void XMLCALL
on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
    struct reader *r = arg;
    if (r->err != ERR_NONE)
        return;
    if (r->depth == XML_DEPTH_MAX || r->nodes == XML_NODES_MAX) {
        refuse(r, ERR_TOOBIG);
        return;
    }
    struct xml_node *node = node_new(r, name, attributes);
    if (node == NULL) {
        refuse(r, ERR_NOMEM);
        return;
    }
    if (r->depth == 0) {
        r->root = node;
    } else {
        struct frame *parent = &r->frames[r->depth - 1];
        if (parent->last == NULL)
            parent->node->child = node;
        else
            parent->last->next = node;
        parent->last = node;
    }
    struct frame *f = &r->frames[r->depth];
    f->node = node;
    f->last = NULL;
    buf_reset(&f->text);
    r->depth++;
    r->nodes++;
}

static bool
is_white(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct slice
xml_trim(struct slice text)
{
    while (text.n > 0 && is_white(text.p[0]))
        text = slice_skip(text, 1);
    while (text.n > 0 && is_white(text.p[text.n - 1]))
        text.n--;
    return text;
}

static void XMLCALL
on_end(void *arg, const XML_Char *name)
{
    struct reader *r = arg;
    (void)name;
    if (r->err != ERR_NONE)
        return;
    CHK(r->depth > 0);
    struct frame *f = &r->frames[--r->depth];
    struct slice text = buf_slice(&f->text);
    if (text.n == 0 || (f->node->child != NULL && xml_trim(text).n == 0))
        return;
    f->node->text = arena_dup(r->arena, text);
    if (f->node->text.p == NULL)
        refuse(r, ERR_NOMEM);
}

static void XMLCALL
on_text(void *arg, const XML_Char *text, int n)
{
    struct reader *r = arg;
    if (r->err != ERR_NONE || r->depth == 0)
        return;
    struct buf *b = &r->frames[r->depth - 1].text;
    buf_put(b, text, (size_t)n);
    if (b->err != ERR_NONE)
        refuse(r, b->err);
}

static void XMLCALL
on_doctype(void *arg, const XML_Char *name, const XML_Char *sysid, const XML_Char *pubid,
           int has_internal_subset)
{
    (void)name;
    (void)sysid;
    (void)pubid;
    (void)has_internal_subset;
    refuse(arg, ERR_INVALID);
}

/* Cannot be reached without a doctype; kept in case expat ever sees it otherwise. */
static void XMLCALL
on_entity(void *arg, const XML_Char *name, int is_parameter, const XML_Char *value, int value_n,
          const XML_Char *base, const XML_Char *sysid, const XML_Char *pubid,
          const XML_Char *notation)
{
    (void)name;
    (void)is_parameter;
    (void)value;
    (void)value_n;
    (void)base;
    (void)sysid;
    (void)pubid;
    (void)notation;
    refuse(arg, ERR_INVALID);
}

int
xml_parse(struct arena *a, struct slice text, const struct xml_node **root)
{
    struct reader r = {.arena = a};
    *root = NULL;
    _Static_assert(XML_BYTES_MAX <= INT_MAX, "expat counts in int");
    if (text.n > XML_BYTES_MAX)
        return ERR_TOOBIG;
    r.expat = XML_ParserCreate("UTF-8");
    if (r.expat == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < XML_DEPTH_MAX; i++)
        buf_init(&r.frames[i].text, XML_TEXT_MAX);
    XML_SetUserData(r.expat, &r);
    XML_SetElementHandler(r.expat, on_start, on_end);
    XML_SetCharacterDataHandler(r.expat, on_text);
    XML_SetStartDoctypeDeclHandler(r.expat, on_doctype);
    XML_SetEntityDeclHandler(r.expat, on_entity);
    enum XML_Status status = XML_Parse(r.expat, text.p, (int)text.n, XML_TRUE);
    if (r.err == ERR_NONE && status != XML_STATUS_OK) {
        bool no_memory = XML_GetErrorCode(r.expat) == XML_ERROR_NO_MEMORY;
        r.err = no_memory ? ERR_NOMEM : ERR_INVALID;
    }
    if (r.err == ERR_NONE)
        *root = r.root;
    for (size_t i = 0; i < XML_DEPTH_MAX; i++)
        buf_fini(&r.frames[i].text);
    XML_ParserFree(r.expat);
    return r.err;
}

/* ---- looking things up ---- */

static const struct xml_node *
named(const struct xml_node *n, const char *name)
{
    while (n != NULL && !slice_eqs(n->name, name))
        n = n->next;
    return n;
}

const struct xml_node *
xml_child(const struct xml_node *n, const char *name)
{
    return n == NULL ? NULL : named(n->child, name);
}

const struct xml_node *
xml_next(const struct xml_node *n, const char *name)
{
    return n == NULL ? NULL : named(n->next, name);
}

struct slice
xml_text(const struct xml_node *n, const char *name)
{
    const struct xml_node *child = xml_child(n, name);
    return child == NULL ? SLICE_NONE : child->text;
}

/* ---- writing ---- */

void
xml_head(struct buf *b)
{
    buf_puts(b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
}

void
xml_open(struct buf *b, const char *name)
{
    buf_putc(b, '<');
    buf_puts(b, name);
    buf_putc(b, '>');
}

void
xml_close(struct buf *b, const char *name)
{
    buf_puts(b, "</");
    buf_puts(b, name);
    buf_putc(b, '>');
}

void
xml_put(struct buf *b, const char *name, struct slice text)
{
    xml_open(b, name);
    xml_escape(b, text);
    xml_close(b, name);
}

void
xml_puts(struct buf *b, const char *name, const char *text)
{
    xml_put(b, name, slice_str(text));
}

void
xml_put_int(struct buf *b, const char *name, int64_t value)
{
    xml_open(b, name);
    buf_printf(b, "%lld", (long long)value);
    xml_close(b, name);
}

static bool
is_plain(unsigned char c)
{
    return c >= 0x20 && c != 0x7f && c != '&' && c != '<' && c != '>' && c != '"';
}

static void
put_special(struct buf *b, unsigned char c)
{
    if (c == '&')
        buf_puts(b, "&amp;");
    else if (c == '<')
        buf_puts(b, "&lt;");
    else if (c == '>')
        buf_puts(b, "&gt;");
    else if (c == '"')
        buf_puts(b, "&quot;");
    else
        buf_printf(b, "&#x%X;", c);
}

void
xml_escape(struct buf *b, struct slice text)
{
    size_t run = 0; /* plain bytes from here on are not yet put */
    for (size_t i = 0; i < text.n;) {
        size_t len = utf8_first(slice_skip(text, i));
        if (len > 1 || (len == 1 && is_plain((unsigned char)text.p[i]))) {
            i += len;
            continue;
        }
        buf_put(b, text.p + run, i - run);
        if (len == 0)
            buf_puts(b, UTF8_REPLACEMENT);
        else
            put_special(b, (unsigned char)text.p[i]);
        run = ++i;
    }
    if (run < text.n)
        buf_put(b, text.p + run, text.n - run);
}
