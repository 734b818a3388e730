/* XML bodies: every tree keeps its bounds, and written out it is read back the same. */
#include "base/xml.h"
#include "tests/fuzz/fuzz.h"

/* Returns how many there are. */
static size_t
walk(const struct xml_node *n, size_t depth)
{
    size_t nodes = 0;
    for (; n != NULL; n = n->next) {
        CHK(depth <= XML_DEPTH_MAX);
        CHK(n->text.p != NULL && slice_is_utf8(n->text) && slice_is_utf8(n->name));
        CHK(memchr(n->text.p, '\0', n->text.n) == NULL);
        nodes += 1 + walk(n->child, depth + 1);
    }
    return nodes;
}

/* Text before the children: mixed content is flattened so, both times alike. */
static void
put_tree(struct buf *b, const struct xml_node *n)
{
    for (; n != NULL; n = n->next) {
        xml_open(b, n->name.p);
        xml_escape(b, n->text);
        put_tree(b, n->child);
        xml_close(b, n->name.p);
    }
}

static void
check_same(const struct xml_node *a, const struct xml_node *b)
{
    for (; a != NULL && b != NULL; a = a->next, b = b->next) {
        CHK(slice_eq(a->name, b->name) && slice_eq(a->text, b->text));
        check_same(a->child, b->child);
    }
    CHK(a == NULL && b == NULL);
}

/* "a:" and ":" leave no name, and "a:1" one that cannot be written. */
static bool
can_be_written(const struct xml_node *n)
{
    for (; n != NULL; n = n->next) {
        if (n->name.n == 0 || strchr("0123456789-.", n->name.p[0]) != NULL ||
            (unsigned char)n->name.p[0] >= 0x80 || !can_be_written(n->child))
            return false;
    }
    return true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = fuzz_exact(slice_of(data, size));
    struct arena *a = fuzz_arena();
    const struct xml_node *root = NULL, *again = NULL;
    int err = xml_parse(a, text, &root);
    CHK((err == ERR_NONE) == (root != NULL));
    if (err == ERR_NONE)
        CHK(root->next == NULL && walk(root, 1) <= XML_NODES_MAX);
    if (err == ERR_NONE && can_be_written(root)) {
        struct buf written;
        buf_init(&written, 4u << 20);
        xml_head(&written);
        put_tree(&written, root);
        CHK(written.err == ERR_NONE);
        CHK(xml_parse(a, buf_slice(&written), &again) == ERR_NONE);
        check_same(root, again);
        buf_fini(&written);
    }
    arena_free(&a);
    free((void *)(uintptr_t)text.p);
    return 0;
}
