/*
 * Access control lists of buckets and objects: who holds which permission. Their outer forms (the
 * canned ones, x-amz-grant-* headers, the AccessControlPolicy document) and the one they are kept
 * in.
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/acl-overview.html
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectAcl.html
 *
 * Kept, a list is a string of bytes (STORE_ACL_BYTES_MAX is ample for it): a format number, then
 * for each grant the kind of grantee, the permission, and for users the length and bytes of the
 * canonical id. No bytes at all is the list nearly everything has: FULL_CONTROL for the owner,
 * nothing else. The kept form is judged as it stands, without memory.
 */
#ifndef DARKROOM_OBJECTSTORE_ACL_H
#define DARKROOM_OBJECTSTORE_ACL_H

#include "base/account.h"
#include "base/xml.h"

#define ACL_GRANTS_MAX 100
#define ACL_ID_MAX 64
#define ACL_KEPT_MAX (1 + ACL_GRANTS_MAX * (3 + ACL_ID_MAX))

enum acl_permission {
    ACL_READ = 1,
    ACL_WRITE = 2,
    ACL_READ_ACP = 4,
    ACL_WRITE_ACP = 8,
    ACL_FULL_CONTROL = 15
};

enum acl_grantee { ACL_USER, ACL_ALL_USERS, ACL_AUTHENTICATED_USERS, ACL_LOG_DELIVERY };

struct acl_grant {
    enum acl_grantee grantee;
    enum acl_permission permission;
    struct slice id; /* canonical id of a user */
};

struct acl { /* ids are lent by what the list was read from */
    size_t count;
    struct acl_grant grants[ACL_GRANTS_MAX];
};

/* What the list is about. */
struct acl_subject {
    bool is_bucket;
    struct slice owner; /* canonical id, as is the next */
    struct slice bucket_owner;
    const struct accounts *accounts; /* who may be named */
};

/* In the order of their headers: read, write, read-acp, write-acp, full-control. */
#define ACL_HEADERS 5
extern const char *const acl_header_names[ACL_HEADERS]; /* "x-amz-grant-read"... */

struct acl_headers { /* p = NULL: not sent */
    struct slice canned;
    struct slice grants[ACL_HEADERS];
};

enum acl_fault {
    ACL_OK,
    ACL_NO_CANNED, /* no canned ACL is called so */
    ACL_TWO_FORMS, /* a canned one and grants */
    ACL_NO_GRANTEE_FORM,
    ACL_NO_USER,
    ACL_NO_GROUP,
    ACL_NO_EMAIL,
    ACL_OWNER_CHANGED, /* a document that names another owner */
    ACL_MALFORMED      /* no such document, or too many grants */
};

/* What was wrong: the argument and its value as S3 names them. */
struct acl_error {
    const char *name;
    struct slice value;
};

bool acl_headers_given(const struct acl_headers *h);
/* The list that the headers ask for; without any the owner's alone. */
enum acl_fault acl_from_headers(const struct acl_subject *s, const struct acl_headers *h,
                                struct acl *out, struct acl_error *error);
/* The children of <AccessControlPolicy>. */
enum acl_fault acl_from_xml(const struct acl_subject *s, const struct xml_node *root,
                            struct acl *out, struct acl_error *error);

/* Appends the kept form; nothing for the owner's alone. */
void acl_encode(const struct acl *a, struct slice owner, struct buf *out);
/* The kept form back; ids are lent by it. Damage ends the list there. */
void acl_decode(struct slice kept, struct slice owner, struct acl *out);
/* <AccessControlPolicy>, with the XML declaration. */
void acl_write(const struct acl *a, struct slice owner, const struct accounts *accounts,
               struct buf *out);

/* Does the kept list grant the permission to that canonical id (n = 0: to anybody unsigned)?
 * Owners always have READ_ACP and WRITE_ACP. `ignore_public`: groups count for nothing. */
bool acl_allows(struct slice kept, struct slice owner, struct slice who,
                enum acl_permission permission, bool ignore_public);
/* Grants something to everybody, or to everybody with an account. */
bool acl_is_public(struct slice kept);

#endif
