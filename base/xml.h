/*
 * XML as S3 uses it: a writer that escapes, and a reader that turns one small document into a tree
 * (expat underneath). No DTD, no entities but the five predefined, bounded depth, size and count:
 * anything else is ERR_INVALID (S3: MalformedXML). Namespaces are dropped from names.
 */
#ifndef DARKROOM_BASE_XML_H
#define DARKROOM_BASE_XML_H

#include "base/arena.h"
#include "base/buf.h"

#define XML_DEPTH_MAX 32
#define XML_NODES_MAX 50000 /* a completion of 10,000 parts with a checksum each has 40,001 */

struct xml_node {
    struct slice name;
    struct slice
        text; /* of this element alone, white space kept; n = 0 when it has children only */
    struct xml_node *child; /* first */
    struct xml_node *next;  /* sibling */
    struct slice xsi_type;  /* the xsi:type attribute, for ACL grantees; n = 0 without */
};

/* The root element, in the arena. ERR_INVALID, ERR_TOOBIG, ERR_NOMEM. */
int xml_parse(struct arena *a, struct slice text, const struct xml_node **root);
const struct xml_node *xml_child(const struct xml_node *n, const char *name);
const struct xml_node *xml_next(const struct xml_node *n, const char *name); /* sibling so named */
/* Text of that child; p = NULL when there is no such child. */
struct slice xml_text(const struct xml_node *n, const char *name);

/* Without white space at both ends: space, tab, CR, LF (XML 1.0 section 2.3). */
struct slice xml_trim(struct slice text);

/* Writing: into a buf, sticky errors there. */
void xml_head(struct buf *b);
void xml_open(struct buf *b, const char *name); /* may carry attributes: "Grantee xsi:type=\"x\"" */
void xml_close(struct buf *b, const char *name);
void xml_put(struct buf *b, const char *name, struct slice text); /* <name>escaped</name> */
void xml_puts(struct buf *b, const char *name, const char *text);
void xml_put_int(struct buf *b, const char *name, int64_t value);
void xml_escape(struct buf *b, struct slice text); /* control bytes as &#xN; as S3 does */

#endif
