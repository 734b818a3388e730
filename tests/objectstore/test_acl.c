#include "base/arena.h"
#include "base/err.h"
#include "objectstore/acl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define ALL "http://acs.amazonaws.com/groups/global/AllUsers"
#define EVERY "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"

static struct accounts *accounts;
static const struct account *ann, *bob;

static int
setup(void **state)
{
    struct account a = {"1", NULL, "Ann & Co", "ann@example.org", "A", "S", false};
    struct account b = {"2", NULL, "bob", "Bob@Example.org", "B", "S", false};
    (void)state;
    accounts = accounts_new();
    assert_int_equal(accounts_add(accounts, &a), ERR_NONE);
    assert_int_equal(accounts_add(accounts, &b), ERR_NONE);
    ann = accounts_by_id(accounts, SLICE_LIT("1"));
    bob = accounts_by_id(accounts, SLICE_LIT("2"));
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    accounts_free(&accounts);
    return 0;
}

/* Ann's object in Bob's bucket, or Ann's bucket. */
static struct acl_subject
subject(bool bucket)
{
    return (struct acl_subject){.is_bucket = bucket,
                                .owner = slice_str(ann->canonical_id),
                                .bucket_owner =
                                    slice_str(bucket ? ann->canonical_id : bob->canonical_id),
                                .accounts = accounts};
}

/* A list as text: "ann=FULL_CONTROL all=READ ". */
static void
describe(const struct acl *a, char *out, size_t size)
{
    static const char *const groups[] = {
        [ACL_ALL_USERS] = "all", [ACL_AUTHENTICATED_USERS] = "every", [ACL_LOG_DELIVERY] = "log"};
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; i < a->count; i++) {
        const struct acl_grant *g = &a->grants[i];
        const char *who = g->grantee != ACL_USER                ? groups[g->grantee]
                          : slice_eqs(g->id, ann->canonical_id) ? "ann"
                          : slice_eqs(g->id, bob->canonical_id) ? "bob"
                                                                : "else";
        n += (size_t)snprintf(out + n, size - n, "%s%s=%d", i == 0 ? "" : " ", who,
                              (int)g->permission);
    }
}

/* Encoded and decoded again it must be the same. */
static void
check(const struct acl *a, const char *expect)
{
    char text[1024];
    struct acl back;
    struct buf kept;
    struct slice owner = slice_str(ann->canonical_id);
    describe(a, text, sizeof text);
    assert_string_equal(text, expect);
    buf_init(&kept, ACL_KEPT_MAX);
    acl_encode(a, owner, &kept);
    assert_int_equal(kept.err, ERR_NONE);
    acl_decode(buf_slice(&kept), owner, &back);
    describe(&back, text, sizeof text);
    assert_string_equal(text, expect);
    assert_true((kept.n == 0) == (strcmp(expect, "ann=15") == 0));
    buf_fini(&kept);
}

static void
test_canned(void **state)
{
    static const struct {
        const char *name, *object, *bucket; /* NULL: there is no such */
    } rows[] = {
        {"private", "ann=15", "ann=15"},
        {"public-read", "all=1 ann=15", "all=1 ann=15"},
        {"public-read-write", "all=1 all=2 ann=15", "all=1 all=2 ann=15"},
        {"authenticated-read", "every=1 ann=15", "every=1 ann=15"},
        {"aws-exec-read", "else=1 ann=15", "else=1 ann=15"},
        {"bucket-owner-read", "bob=1 ann=15", "ann=15"},
        {"bucket-owner-full-control", "bob=15 ann=15", "ann=15"},
        {"log-delivery-write", NULL, "log=2 log=4 ann=15"},
        {"Private", NULL, NULL},
        {"", NULL, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int bucket = 0; bucket < 2; bucket++) {
            struct acl_subject s = subject(bucket);
            struct acl_headers h = {.canned = slice_str(rows[i].name)};
            struct acl a;
            struct acl_error e;
            const char *expect = bucket ? rows[i].bucket : rows[i].object;
            enum acl_fault fault = acl_from_headers(&s, &h, &a, &e);
            if (fault != (expect == NULL ? ACL_NO_CANNED : ACL_OK))
                fail_msg("%s: %d", rows[i].name, fault);
            if (expect != NULL)
                check(&a, expect);
            else
                assert_string_equal(e.name, "x-amz-acl");
        }
    }
}

static enum acl_fault
from_grant(const char *value, struct acl *a)
{
    struct acl_subject s = subject(false);
    struct acl_headers h = {.grants = {[4] = slice_str(value)}};
    struct acl_error e;
    enum acl_fault fault = acl_from_headers(&s, &h, a, &e);
    if (fault != ACL_OK) {
        assert_string_equal(e.name, "x-amz-grant-full-control");
        assert_true(slice_eqs(e.value, value));
    }
    return fault;
}

static void
test_grant_headers(void **state)
{
    struct acl a;
    char text[512];
    (void)state;
    snprintf(text, sizeof text, "id=\"%s\", id=%s ,,uri=\"" ALL "\"", bob->canonical_id,
             ann->canonical_id);
    assert_int_equal(from_grant(text, &a), ACL_OK);
    check(&a, "bob=15 ann=15 all=15");
    assert_int_equal(from_grant("emailAddress=\"bob@example.org\"", &a), ACL_OK);
    check(&a, "bob=15");
    assert_int_equal(from_grant("id=nobody", &a), ACL_NO_USER);
    assert_int_equal(from_grant("id=", &a), ACL_NO_USER);
    assert_int_equal(from_grant("uri=http://acs.amazonaws.com/groups/x", &a), ACL_NO_GROUP);
    assert_int_equal(from_grant("emailAddress=eve@example.org", &a), ACL_NO_EMAIL);
    assert_int_equal(from_grant("bob", &a), ACL_NO_GRANTEE_FORM);
    assert_int_equal(from_grant("user=bob", &a), ACL_NO_GRANTEE_FORM);

    struct acl_subject s = subject(false);
    struct acl_error e;
    struct acl_headers h = {.canned = SLICE_LIT("private"), .grants = {SLICE_LIT("uri=" ALL)}};
    assert_true(acl_headers_given(&h));
    assert_int_equal(acl_from_headers(&s, &h, &a, &e), ACL_TWO_FORMS);
    h.canned = SLICE_NONE;
    assert_int_equal(acl_from_headers(&s, &h, &a, &e), ACL_OK);
    check(&a, "all=1");
    h = (struct acl_headers){.canned = SLICE_NONE};
    assert_false(acl_headers_given(&h));
    assert_int_equal(acl_from_headers(&s, &h, &a, &e), ACL_OK);
    check(&a, "ann=15");
}

static enum acl_fault
from_xml(const char *text, struct acl *a, struct arena *arena, struct acl_error *e)
{
    struct acl_subject s = subject(false);
    const struct xml_node *root = NULL;
    assert_int_equal(xml_parse(arena, slice_str(text), &root), ERR_NONE);
    return acl_from_xml(&s, root, a, e);
}

#define GRANT(grantee, permission) \
    "<Grant>" grantee "<Permission>" permission "</Permission></Grant>"
#define XSI(type) " xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"" type "\""

static void
test_document(void **state)
{
    static const struct {
        const char *list;
        enum acl_fault fault;
        const char *is; /* the list, or the argument that was wrong */
    } rows[] = {
        {"", ACL_OK, ""},
        {GRANT("<Grantee" XSI("CanonicalUser") "><ID>BOB</ID></Grantee>", "READ_ACP"), ACL_OK,
         "bob=4"},
        {GRANT("<Grantee><ID>BOB</ID></Grantee>", "WRITE"), ACL_OK, "bob=2"},
        {GRANT("<Grantee" XSI("Group") "><URI>" EVERY "</URI></Grantee>", "READ")
             GRANT("<Grantee><URI>" ALL "</URI></Grantee>", "WRITE_ACP"),
         ACL_OK, "every=1 all=8"},
        {GRANT(
             "<Grantee" XSI(
                 "AmazonCustomerByEmail") "><EmailAddress>ann@example.org</EmailAddress></Grantee>",
             "FULL_CONTROL"),
         ACL_OK, "ann=15"},
        {GRANT("<Grantee><EmailAddress>x@y</EmailAddress></Grantee>", "READ"), ACL_NO_EMAIL,
         "AmazonCustomerByEmail/EmailAddress"},
        {GRANT("<Grantee><ID>_foo</ID></Grantee>", "READ"), ACL_NO_USER, "CanonicalUser/ID"},
        {GRANT("<Grantee" XSI("Group") "><URI>x</URI></Grantee>", "READ"), ACL_NO_GROUP,
         "Group/URI"},
        {GRANT("<Grantee" XSI("Group") "><ID>BOB</ID></Grantee>", "READ"), ACL_MALFORMED, NULL},
        {GRANT("<Grantee" XSI("Robot") "><ID>BOB</ID></Grantee>", "READ"), ACL_MALFORMED, NULL},
        {GRANT("<Grantee></Grantee>", "READ"), ACL_MALFORMED, NULL},
        {GRANT("<Grantee><ID>BOB</ID></Grantee>", "read"), ACL_MALFORMED, NULL},
        {"<Grant><Grantee><ID>BOB</ID></Grantee></Grant>", ACL_MALFORMED, NULL},
        {"<Grant><Permission>READ</Permission></Grant>", ACL_MALFORMED, NULL},
        {"<Other/>", ACL_MALFORMED, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[2048], list[1024];
        struct arena *arena = arena_new(1 << 20);
        struct acl a;
        struct acl_error e;
        const char *hole = strstr(rows[i].list, "BOB");
        if (hole != NULL)
            snprintf(list, sizeof list, "%.*s%s%s", (int)(hole - rows[i].list), rows[i].list,
                     bob->canonical_id, hole + 3);
        else
            snprintf(list, sizeof list, "%s", rows[i].list);
        snprintf(text, sizeof text,
                 "<AccessControlPolicy><Owner><ID>%s</ID></Owner><AccessControlList>%s"
                 "</AccessControlList></AccessControlPolicy>",
                 ann->canonical_id, list);
        enum acl_fault fault = from_xml(text, &a, arena, &e);
        if (fault != rows[i].fault)
            fail_msg("%s: %d", rows[i].list, fault);
        if (fault == ACL_OK)
            check(&a, rows[i].is);
        else if (rows[i].is != NULL)
            assert_string_equal(e.name, rows[i].is);
        arena_free(&arena);
    }
}

static void
test_document_frame(void **state)
{
    struct acl a;
    struct acl_error e;
    char text[512];
    struct arena *arena = arena_new(1 << 20);
    (void)state;
    assert_int_equal(from_xml("<Other/>", &a, arena, &e), ACL_MALFORMED);
    assert_int_equal(from_xml("<AccessControlPolicy/>", &a, arena, &e), ACL_MALFORMED);
    assert_int_equal(
        from_xml("<AccessControlPolicy><AccessControlList/></AccessControlPolicy>", &a, arena, &e),
        ACL_MALFORMED);
    snprintf(text, sizeof text,
             "<AccessControlPolicy><Owner><ID>%s</ID></Owner></AccessControlPolicy>",
             ann->canonical_id);
    assert_int_equal(from_xml(text, &a, arena, &e), ACL_MALFORMED);
    snprintf(text, sizeof text,
             "<AccessControlPolicy><Owner><ID>%s</ID></Owner><AccessControlList/>"
             "</AccessControlPolicy>",
             bob->canonical_id);
    assert_int_equal(from_xml(text, &a, arena, &e), ACL_OWNER_CHANGED);
    arena_free(&arena);
}

/* 100 grants and not one more, in either form. */
static void
test_limit(void **state)
{
    (void)state;
    for (int n = ACL_GRANTS_MAX; n <= ACL_GRANTS_MAX + 1; n++) {
        struct buf xml, header;
        struct acl a;
        struct acl_error e;
        struct arena *arena = arena_new(1 << 20);
        buf_init(&xml, 1 << 20);
        buf_init(&header, 1 << 20);
        buf_printf(&xml, "<AccessControlPolicy><Owner><ID>%s</ID></Owner><AccessControlList>",
                   ann->canonical_id);
        for (int i = 0; i < n; i++) {
            buf_printf(&xml, GRANT("<Grantee><ID>%s</ID></Grantee>", "READ"), bob->canonical_id);
            buf_printf(&header, "id=%s,", bob->canonical_id);
        }
        buf_puts(&xml, "</AccessControlList></AccessControlPolicy>");
        enum acl_fault expect = n > ACL_GRANTS_MAX ? ACL_MALFORMED : ACL_OK;
        assert_int_equal(from_grant(header.p, &a), expect);
        assert_int_equal(from_xml(xml.p, &a, arena, &e), expect);
        buf_reset(&header);
        acl_encode(&a, slice_str(ann->canonical_id), &header);
        assert_int_equal(header.n, ACL_KEPT_MAX);
        buf_fini(&xml);
        buf_fini(&header);
        arena_free(&arena);
    }
}

static void
test_write(void **state)
{
    struct acl_subject s = subject(false);
    struct acl_headers h = {.canned = SLICE_LIT("public-read")};
    struct acl a;
    struct acl_error e;
    struct buf b;
    (void)state;
    assert_int_equal(acl_from_headers(&s, &h, &a, &e), ACL_OK);
    buf_init(&b, 1 << 16);
    acl_write(&a, s.owner, accounts, &b);
    /* What is written can be read. */
    struct arena *arena = arena_new(1 << 20);
    struct acl back;
    assert_int_equal(from_xml(b.p, &back, arena, &e), ACL_OK);
    check(&back, "all=1 ann=15");
    assert_non_null(strstr(b.p, "<DisplayName>Ann &amp; Co</DisplayName>"));
    assert_non_null(strstr(b.p, "xsi:type=\"Group\"><URI>" ALL "</URI>"));
    arena_free(&arena);
    buf_fini(&b);
}

static void
test_allows(void **state)
{
    static const struct {
        const char *canned, *who; /* "-": nobody */
        enum acl_permission permission;
        bool allowed, allowed_without_public;
    } rows[] = {
        {"private", "ann", ACL_READ, true, true},
        {"private", "ann", ACL_FULL_CONTROL, true, true},
        {"private", "bob", ACL_READ, false, false},
        {"private", "-", ACL_READ, false, false},
        {"public-read", "-", ACL_READ, true, false},
        {"public-read", "bob", ACL_READ, true, false},
        {"public-read", "bob", ACL_WRITE, false, false},
        {"public-read", "bob", ACL_READ_ACP, false, false},
        {"public-read", "bob", ACL_FULL_CONTROL, false, false},
        {"public-read-write", "-", ACL_WRITE, true, false},
        {"authenticated-read", "bob", ACL_READ, true, false},
        {"authenticated-read", "-", ACL_READ, false, false},
        {"bucket-owner-read", "bob", ACL_READ, true, true},
        {"bucket-owner-read", "bob", ACL_WRITE_ACP, false, false},
        {"bucket-owner-full-control", "bob", ACL_WRITE_ACP, true, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct acl_subject s = subject(false);
        struct acl_headers h = {.canned = slice_str(rows[i].canned)};
        struct acl a;
        struct acl_error e;
        struct buf kept;
        struct slice who = rows[i].who[0] == '-'   ? SLICE_NONE
                           : rows[i].who[0] == 'a' ? slice_str(ann->canonical_id)
                                                   : slice_str(bob->canonical_id);
        assert_int_equal(acl_from_headers(&s, &h, &a, &e), ACL_OK);
        buf_init(&kept, ACL_KEPT_MAX);
        acl_encode(&a, s.owner, &kept);
        for (int ignore = 0; ignore < 2; ignore++) {
            bool expect = ignore ? rows[i].allowed_without_public : rows[i].allowed;
            if (acl_allows(buf_slice(&kept), s.owner, who, rows[i].permission, ignore) != expect)
                fail_msg("%s %s %d", rows[i].canned, rows[i].who, (int)rows[i].permission);
        }
        bool is_public = strstr(rows[i].canned, "public") != NULL || rows[i].canned[0] == 'a';
        assert_true(acl_is_public(buf_slice(&kept)) == is_public);
        buf_fini(&kept);
    }
}

/* A list without the owner: he keeps the list, not the data. */
static void
test_owner_without_grant(void **state)
{
    struct slice owner = slice_str(ann->canonical_id), nothing = SLICE_LIT("\1");
    (void)state;
    assert_false(acl_allows(nothing, owner, owner, ACL_READ, false));
    assert_false(acl_allows(nothing, owner, owner, ACL_WRITE, false));
    assert_true(acl_allows(nothing, owner, owner, ACL_READ_ACP, false));
    assert_true(acl_allows(nothing, owner, owner, ACL_WRITE_ACP, false));
    assert_false(acl_allows(nothing, owner, slice_str(bob->canonical_id), ACL_READ_ACP, false));
    assert_false(acl_allows(nothing, SLICE_NONE, SLICE_NONE, ACL_READ_ACP, false));
}

/* Whatever the bytes: no grant beyond the end, none of another format. */
static void
test_damage(void **state)
{
    static const struct slice lists[] = {
        SLICE_LIT("\2\1\1"),        SLICE_LIT("\1\1"),        SLICE_LIT("\1\7\1"),
        SLICE_LIT("\1\0\17"),       SLICE_LIT("\1\0\17\5ab"), SLICE_LIT("\1\0\17\0\1\1"),
        SLICE_LIT("\1\0\17\377ab"),
    };
    struct acl a;
    (void)state;
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        char *exact = malloc(lists[i].n); /* the sanitizer sees what lies behind */
        memcpy(exact, lists[i].p, lists[i].n);
        struct slice kept = slice_of(exact, lists[i].n);
        assert_false(acl_allows(kept, SLICE_LIT("o"), SLICE_NONE, ACL_READ, false));
        assert_false(acl_is_public(kept));
        acl_decode(kept, SLICE_LIT("o"), &a);
        assert_int_equal(a.count, 0);
        free(exact);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_canned),   cmocka_unit_test(test_grant_headers),
        cmocka_unit_test(test_document), cmocka_unit_test(test_document_frame),
        cmocka_unit_test(test_limit),    cmocka_unit_test(test_write),
        cmocka_unit_test(test_allows),   cmocka_unit_test(test_owner_without_grant),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
