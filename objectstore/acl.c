/*
 * One list in three forms. Reading an outer form resolves every grantee at once, so that only ids
 * of accounts we have are ever kept; a grantee by e-mail address becomes the user behind it.
 *
 * Canned lists name groups before the owner: S3 promises no order, and conformance suites look for
 * them there.
 */
#include "objectstore/acl.h"
#include "base/chk.h"
#include "base/err.h"

#define FORMAT 1
#define XMLNS " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""
#define XSI "Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type="
/* The account that "aws-exec-read" stands for: EC2 reading a machine image's bundle. */
#define EXEC_READER "6aa5a366c34c1cbe25dc49211496e913e0351eb0e8c37aa3477e40942ec6b97c"

static const char *const group_uris[] = {
    [ACL_ALL_USERS] = "http://acs.amazonaws.com/groups/global/AllUsers",
    [ACL_AUTHENTICATED_USERS] = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers",
    [ACL_LOG_DELIVERY] = "http://acs.amazonaws.com/groups/s3/LogDelivery",
};

static const struct {
    const char *name;
    enum acl_permission permission;
} permissions[] = {
    {"READ", ACL_READ},
    {"WRITE", ACL_WRITE},
    {"READ_ACP", ACL_READ_ACP},
    {"WRITE_ACP", ACL_WRITE_ACP},
    {"FULL_CONTROL", ACL_FULL_CONTROL},
};

const char *const acl_header_names[ACL_HEADERS] = {
    "x-amz-grant-read",      "x-amz-grant-write",        "x-amz-grant-read-acp",
    "x-amz-grant-write-acp", "x-amz-grant-full-control",
};

/* ---- grantees ---- */

static enum acl_fault
user_find(const struct acl_subject *s, struct slice id, struct acl_grant *out)
{
    const struct account *a = accounts_by_canonical_id(s->accounts, id);
    *out = (struct acl_grant){.grantee = ACL_USER};
    if (a != NULL)
        out->id = slice_str(a->canonical_id);
    else if (slice_eqs(id, EXEC_READER))
        out->id = SLICE_LIT(EXEC_READER);
    return out->id.p != NULL ? ACL_OK : ACL_NO_USER;
}

static enum acl_fault
email_find(const struct acl_subject *s, struct slice email, struct acl_grant *out)
{
    const struct account *a = accounts_by_email(s->accounts, email);
    if (a == NULL)
        return ACL_NO_EMAIL;
    *out = (struct acl_grant){.grantee = ACL_USER, .id = slice_str(a->canonical_id)};
    return ACL_OK;
}

static enum acl_fault
group_find(struct slice uri, struct acl_grant *out)
{
    for (size_t i = ACL_ALL_USERS; i < ARRAY_LEN(group_uris); i++) {
        if (slice_eqs(uri, group_uris[i])) {
            *out = (struct acl_grant){.grantee = (enum acl_grantee)i};
            return ACL_OK;
        }
    }
    return ACL_NO_GROUP;
}

static void
add(struct acl *a, enum acl_grantee grantee, struct slice id, enum acl_permission permission)
{
    CHK(a->count < ACL_GRANTS_MAX);
    a->grants[a->count++] = (struct acl_grant){grantee, permission, id};
}

/* ---- canned lists ---- */

enum canned_for { FOR_OBJECT = 1, FOR_BUCKET = 2, FOR_BOTH = 3 };

static const struct {
    const char *name;
    enum canned_for what;
    struct acl_grant grants[2]; /* besides the owner's; permission 0: none */
} canned[] = {
    {"private", FOR_BOTH, {{0}}},
    {"public-read", FOR_BOTH, {{ACL_ALL_USERS, ACL_READ, SLICE_NONE}}},
    {"public-read-write",
     FOR_BOTH,
     {{ACL_ALL_USERS, ACL_READ, SLICE_NONE}, {ACL_ALL_USERS, ACL_WRITE, SLICE_NONE}}},
    {"authenticated-read", FOR_BOTH, {{ACL_AUTHENTICATED_USERS, ACL_READ, SLICE_NONE}}},
    {"aws-exec-read", FOR_BOTH, {{ACL_USER, ACL_READ, SLICE_LIT(EXEC_READER)}}},
    {"log-delivery-write",
     FOR_BUCKET,
     {{ACL_LOG_DELIVERY, ACL_WRITE, SLICE_NONE}, {ACL_LOG_DELIVERY, ACL_READ_ACP, SLICE_NONE}}},
    /* The bucket's owner, whose id is not known here; of a bucket itself they say nothing. */
    {"bucket-owner-read", FOR_BOTH, {{ACL_USER, ACL_READ, SLICE_NONE}}},
    {"bucket-owner-full-control", FOR_BOTH, {{ACL_USER, ACL_FULL_CONTROL, SLICE_NONE}}},
};

static enum acl_fault
from_canned(const struct acl_subject *s, struct slice name, struct acl *out)
{
    size_t i = 0;
    while (i < ARRAY_LEN(canned) && !slice_eqs(name, canned[i].name))
        i++;
    if (i == ARRAY_LEN(canned) || !(canned[i].what & (s->is_bucket ? FOR_BUCKET : FOR_OBJECT)))
        return ACL_NO_CANNED;
    for (size_t k = 0; k < ARRAY_LEN(canned[i].grants); k++) {
        struct acl_grant g = canned[i].grants[k];
        if (g.permission == 0)
            break;
        if (g.grantee == ACL_USER && g.id.p == NULL)
            g.id = s->bucket_owner;
        if (g.grantee != ACL_USER || !slice_eq(g.id, s->owner))
            add(out, g.grantee, g.id, g.permission);
    }
    add(out, ACL_USER, s->owner, ACL_FULL_CONTROL);
    return ACL_OK;
}

/* ---- headers ---- */

bool
acl_headers_given(const struct acl_headers *h)
{
    bool given = h->canned.p != NULL;
    for (size_t i = 0; i < ACL_HEADERS; i++)
        given |= h->grants[i].p != NULL;
    return given;
}

/* id="...", uri="...", emailAddress="..."; the quotes may be missing. */
static enum acl_fault
grantee_parse(const struct acl_subject *s, struct slice text, struct acl_grant *out)
{
    struct slice value;
    struct slice kind = slice_trim(slice_cut(text, '=', &value));
    if (value.p == NULL)
        return ACL_NO_GRANTEE_FORM;
    value = slice_trim(value);
    if (value.n >= 2 && value.p[0] == '"' && value.p[value.n - 1] == '"')
        value = slice_of(value.p + 1, value.n - 2);
    if (slice_ieqs(kind, "id"))
        return user_find(s, value, out);
    if (slice_ieqs(kind, "uri"))
        return group_find(value, out);
    if (slice_ieqs(kind, "emailAddress"))
        return email_find(s, value, out);
    return ACL_NO_GRANTEE_FORM;
}

/* One header: a list of grantees that all get its permission. */
static enum acl_fault
from_header(const struct acl_subject *s, struct slice list, enum acl_permission permission,
            struct acl *out)
{
    while (list.p != NULL) {
        struct acl_grant g;
        struct slice one = slice_trim(slice_cut(list, ',', &list));
        if (one.n == 0)
            continue;
        enum acl_fault fault = grantee_parse(s, one, &g);
        if (fault != ACL_OK)
            return fault;
        if (out->count == ACL_GRANTS_MAX)
            return ACL_MALFORMED;
        add(out, g.grantee, g.id, permission);
    }
    return ACL_OK;
}

enum acl_fault
acl_from_headers(const struct acl_subject *s, const struct acl_headers *h, struct acl *out,
                 struct acl_error *error)
{
    enum acl_fault fault = ACL_OK;
    bool grants = false;
    out->count = 0;
    *error = (struct acl_error){"x-amz-acl", h->canned};
    for (size_t i = 0; i < ACL_HEADERS; i++)
        grants |= h->grants[i].p != NULL;
    if (!grants)
        return from_canned(s, h->canned.p == NULL ? SLICE_LIT("private") : h->canned, out);
    if (h->canned.p != NULL)
        return ACL_TWO_FORMS;
    for (size_t i = 0; i < ACL_HEADERS && fault == ACL_OK; i++) {
        *error = (struct acl_error){acl_header_names[i], h->grants[i]};
        fault = from_header(s, h->grants[i], permissions[i].permission, out);
    }
    return fault;
}

/* ---- the document ---- */

/* The type is in xsi:type; some clients leave it out, and the child tells as well. */
static enum acl_fault
grantee_from_xml(const struct acl_subject *s, const struct xml_node *node, struct acl_grant *out,
                 struct acl_error *error)
{
    static const struct {
        const char *type, *child, *argument;
    } kinds[] = {
        {"CanonicalUser", "ID", "CanonicalUser/ID"},
        {"Group", "URI", "Group/URI"},
        {"AmazonCustomerByEmail", "EmailAddress", "AmazonCustomerByEmail/EmailAddress"},
    };
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct slice text = slice_trim(xml_text(node, kinds[i].child));
        if (node->xsi_type.n > 0 ? !slice_eqs(node->xsi_type, kinds[i].type) : text.p == NULL)
            continue;
        if (text.p == NULL)
            return ACL_MALFORMED;
        *error = (struct acl_error){kinds[i].argument, text};
        return i == 0   ? user_find(s, text, out)
               : i == 1 ? group_find(text, out)
                        : email_find(s, text, out);
    }
    return ACL_MALFORMED;
}

static enum acl_fault
grant_from_xml(const struct acl_subject *s, const struct xml_node *node, struct acl *out,
               struct acl_error *error)
{
    struct acl_grant g;
    struct slice permission = slice_trim(xml_text(node, "Permission"));
    const struct xml_node *grantee = xml_child(node, "Grantee");
    size_t i = 0;
    while (i < ARRAY_LEN(permissions) && !slice_eqs(permission, permissions[i].name))
        i++;
    if (i == ARRAY_LEN(permissions) || grantee == NULL || !slice_eqs(node->name, "Grant") ||
        out->count == ACL_GRANTS_MAX)
        return ACL_MALFORMED;
    enum acl_fault fault = grantee_from_xml(s, grantee, &g, error);
    if (fault == ACL_OK)
        add(out, g.grantee, g.id, permissions[i].permission);
    return fault;
}

enum acl_fault
acl_from_xml(const struct acl_subject *s, const struct xml_node *root, struct acl *out,
             struct acl_error *error)
{
    const struct xml_node *owner = xml_child(root, "Owner");
    const struct xml_node *list = xml_child(root, "AccessControlList");
    struct slice id = owner == NULL ? SLICE_NONE : slice_trim(xml_text(owner, "ID"));
    enum acl_fault fault = ACL_OK;
    out->count = 0;
    *error = (struct acl_error){NULL, SLICE_NONE};
    if (!slice_eqs(root->name, "AccessControlPolicy") || id.p == NULL || list == NULL)
        return ACL_MALFORMED;
    if (!slice_eq(id, s->owner))
        return ACL_OWNER_CHANGED;
    for (const struct xml_node *n = list->child; n != NULL && fault == ACL_OK; n = n->next)
        fault = grant_from_xml(s, n, out, error);
    return fault;
}

static const char *
permission_name(enum acl_permission permission)
{
    for (size_t i = 0; i < ARRAY_LEN(permissions); i++) {
        if (permissions[i].permission == permission)
            return permissions[i].name;
    }
    return "NONE";
}

static void
write_user(struct buf *out, struct slice id, const struct accounts *accounts)
{
    const struct account *a = accounts_by_canonical_id(accounts, id);
    xml_put(out, "ID", id);
    if (a != NULL)
        xml_puts(out, "DisplayName", a->display_name);
}

void
acl_write(const struct acl *a, struct slice owner, const struct accounts *accounts, struct buf *out)
{
    xml_head(out);
    xml_open(out, "AccessControlPolicy" XMLNS);
    xml_open(out, "Owner");
    write_user(out, owner, accounts);
    xml_close(out, "Owner");
    xml_open(out, "AccessControlList");
    for (size_t i = 0; i < a->count; i++) {
        const struct acl_grant *g = &a->grants[i];
        xml_open(out, "Grant");
        xml_open(out, g->grantee == ACL_USER ? XSI "\"CanonicalUser\"" : XSI "\"Group\"");
        if (g->grantee == ACL_USER)
            write_user(out, g->id, accounts);
        else
            xml_puts(out, "URI", group_uris[g->grantee]);
        xml_close(out, "Grantee");
        xml_puts(out, "Permission", permission_name(g->permission));
        xml_close(out, "Grant");
    }
    xml_close(out, "AccessControlList");
    xml_close(out, "AccessControlPolicy");
}

/* ---- the kept form ---- */

void
acl_encode(const struct acl *a, struct slice owner, struct buf *out)
{
    const struct acl_grant *g = a->grants;
    if (a->count == 1 && g->grantee == ACL_USER && g->permission == ACL_FULL_CONTROL &&
        slice_eq(g->id, owner))
        return;
    buf_putc(out, FORMAT);
    for (size_t i = 0; i < a->count; i++, g++) {
        buf_putc(out, (char)g->grantee);
        buf_putc(out, (char)g->permission);
        if (g->grantee == ACL_USER) {
            CHK(g->id.n <= ACL_ID_MAX);
            buf_putc(out, (char)g->id.n);
            buf_put_slice(out, g->id);
        }
    }
}

/* The grant at kept[*at]; false at the end, or at damage. Start with *at = 1. */
static bool
next(struct slice kept, size_t *at, struct acl_grant *g)
{
    struct slice rest = slice_skip(kept, *at);
    if (rest.n < 2 || kept.p[0] != FORMAT || (unsigned char)rest.p[0] > ACL_LOG_DELIVERY)
        return false;
    *g =
        (struct acl_grant){(enum acl_grantee)rest.p[0], (enum acl_permission)rest.p[1], SLICE_NONE};
    *at += 2;
    if (g->grantee != ACL_USER)
        return true;
    size_t n = rest.n < 3 ? 0 : (unsigned char)rest.p[2];
    if (n == 0 || rest.n < 3 + n)
        return false;
    g->id = slice_of(rest.p + 3, n);
    *at += 1 + n;
    return true;
}

void
acl_decode(struct slice kept, struct slice owner, struct acl *out)
{
    size_t at = 1;
    struct acl_grant g;
    out->count = 0;
    if (kept.n == 0)
        add(out, ACL_USER, owner, ACL_FULL_CONTROL);
    while (out->count < ACL_GRANTS_MAX && next(kept, &at, &g))
        out->grants[out->count++] = g;
}

bool
acl_allows(struct slice kept, struct slice owner, struct slice who, enum acl_permission permission,
           bool ignore_public)
{
    size_t at = 1;
    struct acl_grant g;
    if (who.n > 0 && slice_eq(who, owner) &&
        (kept.n == 0 || permission == ACL_READ_ACP || permission == ACL_WRITE_ACP))
        return true;
    while (next(kept, &at, &g)) {
        if ((g.permission & permission) != permission)
            continue;
        if (g.grantee == ACL_USER && slice_eq(g.id, who))
            return true;
        if (ignore_public)
            continue;
        if (g.grantee == ACL_ALL_USERS || (g.grantee == ACL_AUTHENTICATED_USERS && who.n > 0))
            return true;
    }
    return false;
}

bool
acl_is_public(struct slice kept)
{
    size_t at = 1;
    struct acl_grant g;
    while (next(kept, &at, &g)) {
        if (g.grantee == ACL_ALL_USERS || g.grantee == ACL_AUTHENTICATED_USERS)
            return true;
    }
    return false;
}
