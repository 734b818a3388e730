#include "base/err.h"
#include "objectstore/s3_priv.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* Every refusal has a code in S3's form, a status of the 4xx or 5xx kind, and a message. */
static void
test_list_is_complete(void **state)
{
    (void)state;
    for (enum s3_fault f = 0; f < S3_FAULT_COUNT; f++) {
        const char *code = s3_refusal(f)->code;
        assert_true(isupper((unsigned char)code[0]));
        for (const char *p = code; *p != '\0'; p++)
            assert_true(isalnum((unsigned char)*p));
        assert_in_range(s3_refusal(f)->status, 400, 599);
        assert_true(strlen(s3_refusal(f)->message) > 5);
        for (enum s3_fault g = 0; g < f; g++)
            assert_string_not_equal(code, s3_refusal(g)->code);
    }
}

static void
test_every_error_has_an_answer(void **state)
{
    static const struct {
        int err;
        const char *code;
        int status;
    } rows[] = {
        {ERR_NOMEM, "SlowDown", 503},
        {ERR_INVALID, "InvalidArgument", 400},
        {ERR_TOOBIG, "EntityTooLarge", 400},
        {ERR_NOTFOUND, "NoSuchKey", 404},
        {ERR_NOPARENT, "NoSuchBucket", 404},
        {ERR_EXISTS, "BucketAlreadyExists", 409},
        {ERR_NOTEMPTY, "BucketNotEmpty", 409},
        {ERR_CONFLICT, "OperationAborted", 409},
        {ERR_PRECONDITION, "PreconditionFailed", 412},
        {ERR_DENIED, "AccessDenied", 403},
        {ERR_BUSY, "SlowDown", 503},
        {ERR_FULL, "SlowDown", 503},
        {ERR_IO, "InternalError", 500},
        {ERR_SYNC, "ServiceUnavailable", 503},
        {ERR_CORRUPT, "InternalError", 500},
        {ERR_TIMEOUT, "SlowDown", 503},
        {ERR_CANCELED, "ServiceUnavailable", 503},
        {ERR_RANGE, "InvalidRange", 416},
        {ERR_UNSUPPORTED, "NotImplemented", 501},
        {ERR_DIGEST, "BadDigest", 400},
        {ERR_SHORT, "IncompleteBody", 400},
        {ERR_STALE, "OperationAborted", 409},
        {ERR_CLOSED, "InternalError", 500},
        {ERR_LOOP, "InvalidRequest", 400},
        {ERR_INUSE, "InternalError", 500},
    };
    size_t listed = 0;
    (void)state;
#define X(name, value, text) listed++;
    ERR_LIST(X)
#undef X
    assert_int_equal(sizeof rows / sizeof rows[0], listed - 1); /* all but ERR_NONE */
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        enum s3_fault f = s3_fault_of(rows[i].err);
        assert_string_equal(s3_refusal(f)->code, rows[i].code);
        assert_int_equal(s3_refusal(f)->status, rows[i].status);
    }
    assert_int_equal(s3_fault_of(-12345), S3_INTERNAL);
}

/* The table itself: no request can mean two rows, and each row can be answered. */
static void
test_operations_are_distinct(void **state)
{
    const struct s3_op *a, *b;
    (void)state;
    for (size_t i = 0; (a = s3_op_at(i)) != NULL; i++) {
        assert_non_null(a->run);
        assert_memory_equal(a->action, "s3:", 3);
        assert_true((a->body == S3_BODY_DOC) == (a->doc_max > 0));
        for (size_t k = 0; k < i; k++) {
            b = s3_op_at(k);
            bool same_sub = (a->sub == NULL) == (b->sub == NULL) &&
                            (a->sub == NULL || strcmp(a->sub, b->sub) == 0);
            assert_false(a->method == b->method && a->level == b->level && same_sub &&
                         (a->flags & S3_COPIES) == (b->flags & S3_COPIES));
        }
    }
}

static void
range_is(const char *text, int64_t size, int err, int64_t offset, int64_t bytes)
{
    int64_t o = -1, n = -1;
    int got = s3_range(slice_str(text), size, &o, &n);
    if (got != err || (err == ERR_NONE && (o != offset || n != bytes)))
        fail_msg("%s of %lld: %d %lld %lld", text, (long long)size, got, (long long)o,
                 (long long)n);
}

static void
test_ranges(void **state)
{
    (void)state;
    range_is("bytes=0-0", 10, ERR_NONE, 0, 1);
    range_is("bytes=2-5", 10, ERR_NONE, 2, 4);
    range_is("bytes=2-", 10, ERR_NONE, 2, 8);
    range_is("bytes=-3", 10, ERR_NONE, 7, 3);
    range_is("bytes=-30", 10, ERR_NONE, 0, 10);
    range_is("bytes=9-100", 10, ERR_NONE, 9, 1);
    range_is("bytes=0-18446744073709551615", 10, ERR_NONE, 0, 10);
    range_is("bytes=10-", 10, ERR_RANGE, 0, 0);
    range_is("bytes=10-20", 10, ERR_RANGE, 0, 0);
    range_is("bytes=-0", 10, ERR_RANGE, 0, 0);
    range_is("bytes=0-", 0, ERR_RANGE, 0, 0);
    range_is("bytes=-5", 0, ERR_RANGE, 0, 0);
    static const char *const ignored[] = {"",           "bytes",      "bytes=",        "bytes=-",
                                          "bytes=a-b",  "bytes=5-2",  "bytes=0-1,3-4", "items=0-1",
                                          "bytes=+1-2", "bytes=1--2", "bytes=1-2x"};
    for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++)
        range_is(ignored[i], 10, ERR_UNSUPPORTED, 0, 0);
}

static void
test_etags(void **state)
{
    (void)state;
    assert_true(s3_etag_matches(SLICE_LIT("\"abc\""), "abc", true));
    assert_true(s3_etag_matches(SLICE_LIT("abc"), "abc", true));
    assert_true(s3_etag_matches(SLICE_LIT("\"x\" , \"abc\""), "abc", true));
    assert_true(s3_etag_matches(SLICE_LIT("*"), "abc", true));
    assert_true(s3_etag_matches(SLICE_LIT("W/\"abc\""), "abc", false));
    assert_false(s3_etag_matches(SLICE_LIT("W/\"abc\""), "abc", true));
    assert_false(s3_etag_matches(SLICE_LIT("\"ab\",\"abcd\""), "abc", false));
    assert_false(s3_etag_matches(SLICE_LIT(""), "abc", false));
}

/* RFC 9110 section 13.2.2: the tags hide the dates. */
static void
test_conditions(void **state)
{
    static const char *const before = "Sat, 31 Jan 2026 11:59:59 GMT";
    static const char *const at = "Sat, 31 Jan 2026 12:00:00 GMT";
    static const char *const junk = "yesterday";
    const int64_t mtime = 1769860800000 + 999; /* 12:00:00.999 */
    static const struct {
        const char *match, *none, *since, *unmodified;
        enum s3_verdict verdict;
    } rows[] = {
        {NULL, NULL, NULL, NULL, S3_GO},           {"\"e\"", NULL, NULL, NULL, S3_GO},
        {"\"f\"", NULL, NULL, NULL, S3_FAILED},    {NULL, "\"e\"", NULL, NULL, S3_NOT_MODIFIED},
        {NULL, "\"f\"", NULL, NULL, S3_GO},        {NULL, NULL, "at", NULL, S3_NOT_MODIFIED},
        {NULL, NULL, "before", NULL, S3_GO},       {NULL, NULL, "junk", NULL, S3_GO},
        {NULL, NULL, NULL, "at", S3_GO},           {NULL, NULL, NULL, "before", S3_FAILED},
        {NULL, NULL, NULL, "junk", S3_GO},         {"\"e\"", NULL, NULL, "before", S3_GO},
        {NULL, "\"f\"", "at", NULL, S3_GO},        {"\"e\"", "\"e\"", NULL, NULL, S3_NOT_MODIFIED},
        {"\"f\"", "\"e\"", NULL, NULL, S3_FAILED}, {NULL, "\"e\"", NULL, "before", S3_FAILED},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *dates[2] = {rows[i].since, rows[i].unmodified};
        for (int k = 0; k < 2; k++) {
            if (dates[k] != NULL)
                dates[k] = dates[k][0] == 'a' ? at : dates[k][0] == 'b' ? before : junk;
        }
        struct s3_conditions c = {.if_match = slice_str(rows[i].match),
                                  .if_none_match = slice_str(rows[i].none),
                                  .if_modified_since = slice_str(dates[0]),
                                  .if_unmodified_since = slice_str(dates[1])};
        if (s3_conditions_judge(&c, "e", mtime) != rows[i].verdict)
            fail_msg("row %zu", i);
    }
    assert_true(s3_if_range_holds(SLICE_NONE, "e", mtime));
    assert_true(s3_if_range_holds(SLICE_LIT("\"e\""), "e", mtime));
    assert_false(s3_if_range_holds(SLICE_LIT("\"f\""), "e", mtime));
    assert_false(s3_if_range_holds(SLICE_LIT("W/\"e\""), "e", mtime));
    assert_true(s3_if_range_holds(slice_str(at), "e", mtime));
    assert_false(s3_if_range_holds(slice_str(before), "e", mtime));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list_is_complete),
        cmocka_unit_test(test_every_error_has_an_answer),
        cmocka_unit_test(test_operations_are_distinct),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_etags),
        cmocka_unit_test(test_conditions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
