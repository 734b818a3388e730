/*
 * The rules stay in the tree their document was parsed into, in an arena of their own; a rule adds
 * what every answer would otherwise put together again. After cors_parse() nothing changes.
 */
#include "objectstore/cors.h"
#include "base/arena.h"
#include "base/chk.h"
#include "base/err.h"
#include "base/xml.h"

#include <strings.h>

#define CORS_MAGIC 0xc0125a11u
#define PARSE_MEMORY_MAX (16u << 20)
#define LIST_BYTES_MAX (64u << 10) /* as much as the document has */

struct rule {
    const struct xml_node *node;
    struct slice methods;
    struct slice exposed;
    int64_t max_age_s;
};

struct cors {
    uint32_t magic;
    struct arena *arena; /* holds everything, this struct too */
    size_t count;
    struct rule rules[CORS_RULES_MAX];
};

/* ---- reading ---- */

/* The children S3 writes itself, in its order. */
static const char *const children[] = {
    "ID", "AllowedHeader", "AllowedMethod", "AllowedOrigin", "ExposeHeader", "MaxAgeSeconds",
};

/* The five a browser may be allowed to use. */
static const char *const methods[] = {"GET", "PUT", "HEAD", "POST", "DELETE"};

static bool
one_of(struct slice text, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (slice_eqs(text, list[i]))
            return true;
    }
    return false;
}

static size_t
count_char(struct slice text, char c)
{
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++)
        n += text.p[i] == c;
    return n;
}

/* Much of it will stand in a header. */
static bool
has_control(struct slice text)
{
    for (size_t i = 0; i < text.n; i++) {
        if ((unsigned char)text.p[i] < ' ' || text.p[i] == 0x7f)
            return true;
    }
    return false;
}

/* The sentence S3 answers a refused value with; false: the value will do. */
static bool
refused(const struct xml_node *n, struct buf *why)
{
    size_t stars = count_char(n->text, '*');
    if (slice_eqs(n->name, "AllowedMethod") && !one_of(n->text, methods, ARRAY_LEN(methods)))
        buf_printf(why, "Found unsupported HTTP method in CORS config. Unsupported method is %.*s",
                   SLICE_FMT(n->text));
    else if (slice_eqs(n->name, "ExposeHeader") && stars > 0)
        buf_printf(why,
                   "ExposeHeader \"%.*s\" contains wildcard. We currently do not support wildcard "
                   "for ExposeHeader.",
                   SLICE_FMT(n->text));
    else if ((slice_eqs(n->name, "AllowedOrigin") || slice_eqs(n->name, "AllowedHeader")) &&
             stars > 1)
        buf_printf(why, "%.*s \"%.*s\" can not have more than one wildcard.", SLICE_FMT(n->name),
                   SLICE_FMT(n->text));
    else
        return false;
    return true;
}

/* The text of all children so named, with ", " between them; p = NULL: out of memory. */
static struct slice
joined(struct arena *a, const struct xml_node *node, const char *name)
{
    struct buf b;
    buf_init(&b, LIST_BYTES_MAX);
    for (const struct xml_node *n = xml_child(node, name); n != NULL; n = xml_next(n, name)) {
        if (b.n > 0)
            buf_puts(&b, ", ");
        buf_put_slice(&b, n->text);
    }
    struct slice text = b.err == ERR_NONE ? arena_dup(a, buf_slice(&b)) : SLICE_NONE;
    buf_fini(&b);
    return text;
}

static bool
max_age_read(const struct xml_node *node, int64_t *seconds)
{
    struct slice text = slice_trim(xml_text(node, "MaxAgeSeconds"));
    uint64_t value;
    *seconds = -1;
    if (text.p == NULL)
        return true;
    if (slice_to_u64(text, &value) != ERR_NONE || value > CORS_MAX_AGE_MAX)
        return false;
    *seconds = (int64_t)value;
    return true;
}

/* Which children a rule has, and how many of those that come once. */
static bool
shape_ok(const struct xml_node *node)
{
    size_t ids = 0, ages = 0;
    for (const struct xml_node *n = node->child; n != NULL; n = n->next) {
        if (!one_of(n->name, children, ARRAY_LEN(children)) || n->child != NULL ||
            has_control(n->text))
            return false;
        ids += slice_eqs(n->name, "ID");
        ages += slice_eqs(n->name, "MaxAgeSeconds");
    }
    return ids <= 1 && ages <= 1 && xml_text(node, "ID").n <= CORS_ID_MAX &&
           xml_child(node, "AllowedOrigin") != NULL && xml_child(node, "AllowedMethod") != NULL;
}

static int
rule_read(struct cors *c, const struct xml_node *node, struct buf *why)
{
    struct rule *rule = &c->rules[c->count];
    if (!slice_eqs(node->name, "CORSRule") || !shape_ok(node) ||
        !max_age_read(node, &rule->max_age_s))
        return ERR_INVALID;
    for (const struct xml_node *n = node->child; n != NULL; n = n->next) {
        if (refused(n, why))
            return ERR_INVALID;
    }
    rule->node = node;
    rule->methods = joined(c->arena, node, "AllowedMethod");
    rule->exposed = joined(c->arena, node, "ExposeHeader");
    if (rule->methods.p == NULL || rule->exposed.p == NULL)
        return ERR_NOMEM;
    c->count++;
    return ERR_NONE;
}

static int
rules_read(struct cors *c, const struct xml_node *root, struct buf *why)
{
    if (!slice_eqs(root->name, "CORSConfiguration") || root->child == NULL)
        return ERR_INVALID;
    for (const struct xml_node *n = root->child; n != NULL; n = n->next) {
        if (c->count == CORS_RULES_MAX) {
            buf_puts(why, "The number of CORS rules should not exceed allowed limit of 100 rules.");
            return ERR_INVALID;
        }
        int err = rule_read(c, n, why);
        if (err != ERR_NONE)
            return err;
    }
    return ERR_NONE;
}

int
cors_parse(struct slice xml, struct cors **out, struct buf *why)
{
    const struct xml_node *root = NULL;
    struct arena *a = arena_new(PARSE_MEMORY_MAX);
    struct cors *c = a == NULL ? NULL : arena_alloc(a, sizeof *c);
    *out = NULL;
    if (c == NULL) {
        arena_free(&a);
        return ERR_NOMEM;
    }
    c->magic = CORS_MAGIC;
    c->arena = a;
    int err = xml_parse(a, xml, &root);
    if (err == ERR_NONE)
        err = rules_read(c, root, why);
    else if (err == ERR_TOOBIG)
        err = ERR_INVALID;
    if (err == ERR_NONE)
        *out = c;
    else
        arena_free(&a);
    return err;
}

void
cors_free(struct cors **cp)
{
    struct cors *c = *cp;
    *cp = NULL;
    if (c == NULL)
        return;
    CHK_MAGIC(c, CORS_MAGIC);
    c->magic = 0;
    struct arena *a = c->arena;
    arena_free(&a);
}

/* ---- writing ---- */

void
cors_write(const struct cors *c, struct buf *out)
{
    CHK_MAGIC(c, CORS_MAGIC);
    xml_head(out);
    xml_open(out, "CORSConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"");
    for (size_t i = 0; i < c->count; i++) {
        const struct xml_node *node = c->rules[i].node;
        xml_open(out, "CORSRule");
        for (size_t k = 0; k < ARRAY_LEN(children); k++) {
            const struct xml_node *n = xml_child(node, children[k]);
            for (; n != NULL; n = xml_next(n, children[k]))
                xml_put(out, children[k], n->text);
        }
        xml_close(out, "CORSRule");
    }
    xml_close(out, "CORSConfiguration");
}

/* ---- judging ---- */

static bool
same(struct slice a, struct slice b, bool fold)
{
    return fold ? a.n == b.n && strncasecmp(a.p, b.p, a.n) == 0 : slice_eq(a, b);
}

/* One "*" at most in the pattern. */
static bool
fits(struct slice pattern, struct slice text, bool fold)
{
    struct slice tail, head = slice_cut(pattern, '*', &tail);
    if (tail.p == NULL)
        return same(pattern, text, fold);
    return text.n >= head.n + tail.n && same(head, slice_of(text.p, head.n), fold) &&
           same(tail, slice_skip(text, text.n - tail.n), fold);
}

static const struct xml_node *
fitting_child(const struct xml_node *rule, const char *name, struct slice text, bool fold)
{
    const struct xml_node *n = xml_child(rule, name);
    while (n != NULL && !fits(n->text, text, fold))
        n = xml_next(n, name);
    return n;
}

static bool
headers_allowed(const struct xml_node *rule, struct slice list)
{
    while (list.p != NULL) {
        struct slice name = slice_trim(slice_cut(list, ',', &list));
        if (name.n > 0 && fitting_child(rule, "AllowedHeader", name, true) == NULL)
            return false;
    }
    return true;
}

bool
cors_match(const struct cors *c, const struct cors_request *rq, struct cors_answer *out)
{
    CHK_MAGIC(c, CORS_MAGIC);
    for (size_t i = 0; i < c->count; i++) {
        const struct rule *rule = &c->rules[i];
        const struct xml_node *origin =
            fitting_child(rule->node, "AllowedOrigin", rq->origin, false);
        if (origin == NULL || !headers_allowed(rule->node, rq->headers))
            continue;
        const struct xml_node *method = xml_child(rule->node, "AllowedMethod");
        while (method != NULL && !slice_eq(method->text, rq->method))
            method = xml_next(method, "AllowedMethod");
        if (method == NULL)
            continue;
        *out = (struct cors_answer){.any_origin = slice_eqs(origin->text, "*"),
                                    .methods = rule->methods,
                                    .exposed = rule->exposed,
                                    .max_age_s = rule->max_age_s};
        return true;
    }
    return false;
}
