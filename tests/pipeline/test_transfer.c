/*
 * The pure parts of import and export: the join of two listings, keys as paths, ETags as digests.
 */
#include "base/chk.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/fsio.h"
#include "pipeline/transfer_etag.h"
#include "pipeline/transfer_join.h"
#include "pipeline/transfer_path.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB ((int64_t)1 << 20)

/* ---- join ---- */

/* Names with a space between; '!' is an error of the side. */
struct list {
    struct slice rest;
    int64_t bytes;
};

static int
list_next(void *arg, struct transfer_entry *e)
{
    struct list *l = arg;
    if (l->rest.n == 0)
        return 0;
    struct slice name = slice_cut(l->rest, ' ', &l->rest);
    if (slice_eqs(name, "!"))
        return ERR_IO;
    *e = (struct transfer_entry){.name = name, .bytes = l->bytes};
    return 1;
}

/* "name" not at the target, "name=" at it, "name?" unsure, '!' an error; with spaces behind. */
static void
joined(const char *source, const char *target, const char *want)
{
    struct list s = {slice_str(source), 1}, t = {slice_str(target), 2};
    struct transfer_join j;
    struct transfer_pair pair;
    char got[512] = "";
    size_t n = 0;
    int rc;
    transfer_join_init(&j, list_next, &s, target != NULL ? list_next : NULL, &t);
    while ((rc = transfer_join_next(&j, &pair)) == 1) {
        assert_int_equal(pair.source.bytes, 1);
        if (pair.target != NULL) {
            assert_int_equal(pair.target->bytes, 2);
            assert_true(slice_eq(pair.target->name, pair.source.name));
        }
        n += (size_t)snprintf(got + n, sizeof got - n, "%.*s%s%s ", SLICE_FMT(pair.source.name),
                              pair.target != NULL ? "=" : "", pair.unsure ? "?" : "");
    }
    if (rc < 0)
        snprintf(got + n, sizeof got - n, "!");
    assert_string_equal(got, want);
    transfer_join_fini(&j);
}

static void
test_join(void **state)
{
    (void)state;
    joined("", "", "");
    joined("a b c", "", "a b c ");
    joined("a b c", NULL, "a b c ");
    joined("", "a b c", "");
    joined("a b c", "a b c", "a= b= c= ");
    joined("b d f", "a b c d e", "b= d= f ");
    joined("a c e", "b c d", "a c= e ");
    joined("a a.x a/b", "a/b", "a a.x a/b= ");
    joined("\x7f \x80 \xff", "\x80", "\x7f \x80= \xff ");
    joined("a ! c", "a", "a= !");
    joined("a c", "a !", "a= !");
}

static void
test_join_out_of_order(void **state)
{
    (void)state;
    joined("b a c", "a b c", "b= a? c= ");
    joined("a a", "a", "a= a? ");
    joined("c b a", "", "c b? a? ");
    joined("c b a", NULL, "c b a ");
    /* "a" comes late at the target: what is missed from then on is unsure. */
    joined("b c d e", "b a c e d", "b= c= d? e= ");
}

static void
test_join_told_that_the_target_is_unsorted(void **state)
{
    struct list s = {SLICE_LIT("a b"), 1}, t = {SLICE_LIT("b"), 2};
    struct transfer_join j;
    struct transfer_pair pair;
    (void)state;
    transfer_join_init(&j, list_next, &s, list_next, &t);
    j.target_unsorted = true;
    assert_int_equal(transfer_join_next(&j, &pair), 1);
    assert_true(pair.unsure && pair.target == NULL);
    assert_int_equal(transfer_join_next(&j, &pair), 1);
    assert_true(!pair.unsure && pair.target != NULL);
    assert_int_equal(transfer_join_next(&j, &pair), 0);
    transfer_join_fini(&j);
}

static void
test_join_name_over_its_maximum(void **state)
{
    char *name = chk_malloc(TRANSFER_NAME_MAX + 1);
    memset(name, 'x', TRANSFER_NAME_MAX + 1);
    (void)state;
    struct list s = {slice_of(name, TRANSFER_NAME_MAX + 1), 1};
    struct transfer_join j;
    struct transfer_pair pair;
    transfer_join_init(&j, list_next, &s, NULL, NULL);
    assert_int_equal(transfer_join_next(&j, &pair), ERR_TOOBIG);
    transfer_join_fini(&j);
    free(name);
}

/* ---- paths ---- */

static void
test_paths(void **state)
{
    static const char *const good[] = {"a",     "a/b",      "a/b.c/d e", "...", "..a",
                                       "a../b", "-rf",      "a\\b",      "\n",  "ü/日",
                                       "~",     "a/.b/..c", ".git",      " ",   "C:"};
    static const char *const bad[] = {"",
                                      "/",
                                      "/a",
                                      "a/",
                                      "a//b",
                                      ".",
                                      "..",
                                      "./a",
                                      "../a",
                                      "a/..",
                                      "a/../b",
                                      "a/./b",
                                      "a/.",
                                      "//",
                                      "../..",
                                      "a/b//",
                                      "/..",
                                      TRANSFER_PART_PREFIX "1",
                                      "a/" TRANSFER_PART_PREFIX};
    char part[300];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_null(transfer_path_refusal(slice_str(good[i])));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_non_null(transfer_path_refusal(slice_str(bad[i])));
    assert_non_null(transfer_path_refusal(slice_of("a\0b", 3)));
    assert_non_null(transfer_path_refusal(slice_of("\0", 1)));
    memset(part, 'x', sizeof part);
    assert_null(transfer_path_refusal(slice_of(part, TRANSFER_COMPONENT_MAX)));
    assert_non_null(transfer_path_refusal(slice_of(part, TRANSFER_COMPONENT_MAX + 1)));
    part[TRANSFER_COMPONENT_MAX] = '/';
    assert_null(transfer_path_refusal(slice_of(part, sizeof part)));
}

/* Keys in order, ended by NULL; `want` has '!' for each that is refused. */
static void
conflicts(const char *const *keys, const char *want)
{
    struct transfer_above a;
    struct slice file;
    transfer_above_init(&a);
    for (size_t i = 0; keys[i] != NULL; i++) {
        bool conflict = transfer_above_conflict(&a, slice_str(keys[i]), &file);
        assert_int_equal(conflict, want[i] == '!');
        if (conflict) {
            assert_true(slice_starts(slice_str(keys[i]), file));
            assert_int_equal(keys[i][file.n], '/');
        }
    }
    transfer_above_fini(&a);
}

static void
test_file_or_folder(void **state)
{
    (void)state;
    conflicts((const char *const[]){"a", "a-", "a-/x", "a.b", "a/b", "a/c", "a0", "ab/c", NULL},
              "..!.!!..");
    conflicts((const char *const[]){"a/b", "a/b/c", "a/b/c/d", "a/c", "b", NULL}, ".!!..");
    conflicts((const char *const[]){"a", "aa", "aaa", "aaa/x", "aa/x", "a/x", NULL}, "...!!!");
    conflicts((const char *const[]){"x", "x", "x/y", NULL}, "..!");
    conflicts((const char *const[]){"dir/a", "dir/b", "dir2", NULL}, "...");
}

/* ---- ETags ---- */

static void
test_etag_forms(void **state)
{
    static const char md5[] = "d41d8cd98f00b204e9800998ecf8427e";
    char text[64];
    (void)state;
    assert_true(transfer_etag_is_md5(slice_str(md5)));
    assert_false(transfer_etag_is_md5(slice_of(md5, 31)));
    assert_false(transfer_etag_is_md5(SLICE_LIT("g41d8cd98f00b204e9800998ecf8427e")));
    assert_false(transfer_etag_is_md5(SLICE_NONE));
    static const struct {
        const char *behind;
        int parts;
    } cases[] = {{"-1", 1},  {"-3", 3},  {"-10000", 10000}, {"-10001", 0}, {"-0", 0}, {"-", 0},
                 {"-1x", 0}, {"--1", 0}, {"", 0},           {"-+1", 0},    {" -1", 0}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        snprintf(text, sizeof text, "%s%s", md5, cases[i].behind);
        assert_int_equal(transfer_etag_parts(slice_str(text)), cases[i].parts);
    }
}

static void
test_part_sizes(void **state)
{
    (void)state;
    assert_int_equal(transfer_part_bytes(0), 16 * MIB);
    assert_int_equal(transfer_part_bytes(160000 * MIB), 16 * MIB);
    assert_int_equal(transfer_part_bytes(160000 * MIB + 1), 17 * MIB);
    int64_t most = (int64_t)5 << 40; /* S3's largest object */
    assert_true(transfer_part_bytes(most) * 10000 >= most);
    assert_int_equal(transfer_part_guess(20 * MIB, 3, 0), 8 * MIB);
    assert_int_equal(transfer_part_guess(20 * MIB, 3, 1), 0);
    assert_int_equal(transfer_part_guess(20 * MIB, 2, 0), 16 * MIB);
    assert_int_equal(transfer_part_guess(20 * MIB, 2, 1), 15 * MIB);
    assert_int_equal(transfer_part_guess(20 * MIB, 2, 2), 10 * MIB);
    assert_int_equal(transfer_part_guess(20 * MIB, 2, 3), 0);
    assert_int_equal(transfer_part_guess(0, 1, 0), 8 * MIB);
    assert_int_equal(transfer_part_guess(200000 * MIB, 10000, 0), 20 * MIB);
    assert_int_equal(transfer_part_guess(5, 9000, 0), 0);
}

/* The ETag of these bytes in parts of that size (0: one MD5), computed the plain way. */
static void
etag_of(const char *p, size_t n, size_t part, char out[64])
{
    uint8_t md5s[64 * MD5_BYTES];
    uint8_t md5[MD5_BYTES];
    char hex[2 * MD5_BYTES + 1];
    size_t count = 0;
    for (size_t at = 0; part > 0 && (at < n || count == 0); at += part)
        digest_md5(p + at, n - at < part ? n - at : part, md5s + MD5_BYTES * count++);
    if (part > 0)
        digest_md5(md5s, MD5_BYTES * count, md5);
    else
        digest_md5(p, n, md5);
    hex_encode(md5, MD5_BYTES, hex);
    if (part > 0)
        snprintf(out, 64, "%s-%zu", hex, count);
    else
        snprintf(out, 64, "%s", hex);
}

static enum transfer_verdict
check(const char *p, size_t n, const char *etag, int64_t part, size_t step)
{
    struct transfer_check *c = transfer_check_new(slice_str(etag), part);
    for (size_t at = 0; at < n; at += step)
        transfer_check_update(c, p + at, n - at < step ? n - at : step);
    enum transfer_verdict verdict = transfer_check_end(c);
    transfer_check_free(&c);
    assert_null(c);
    return verdict;
}

static void
test_check(void **state)
{
    char bytes[1000], etag[64];
    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 7);
    static const size_t lengths[] = {0, 1, 99, 100, 101, 200, 999, 1000};
    static const size_t parts[] = {0, 100, 250, 1000, 2000};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        for (size_t k = 0; k < ARRAY_LEN(parts); k++) {
            size_t n = lengths[i];
            etag_of(bytes, n, parts[k], etag);
            for (size_t step = 1; step < 1200; step = step * 3 + 1)
                assert_int_equal(check(bytes, n, etag, (int64_t)parts[k], step), TRANSFER_SAME);
            if (n == 0)
                continue;
            bytes[n - 1] ^= 1;
            assert_int_equal(check(bytes, n, etag, (int64_t)parts[k], 64), TRANSFER_DIFFERS);
            bytes[n - 1] ^= 1;
            assert_int_equal(check(bytes, n - 1, etag, (int64_t)parts[k], 64), TRANSFER_DIFFERS);
        }
    }
    etag_of(bytes, 1000, 100, etag);
    assert_int_equal(check(bytes, 1000, etag, 0, 64), TRANSFER_SILENT);
    assert_int_equal(check(bytes, 1000, etag, 101, 64), TRANSFER_DIFFERS);
    assert_int_equal(check(bytes, 1000, "", 0, 64), TRANSFER_SILENT);
    assert_int_equal(check(bytes, 1000, "something-else", 5, 64), TRANSFER_SILENT);
}

static void
test_file_check(void **state)
{
    size_t n = 11 * MIB;
    char *bytes = chk_calloc(1, n);
    char etag[64];
    enum transfer_verdict verdict;
    (void)state;
    bytes[n - 1] = 'x';
    int fd = fsio_memfd("file", slice_of(bytes, n));
    assert_true(fd >= 0);
    static const size_t parts[] = {0, 8 * MIB, 5 * MIB, 10 * MIB, 16 * MIB};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        etag_of(bytes, n, parts[i], etag);
        assert_int_equal(transfer_file_check(fd, (int64_t)n, slice_str(etag), &verdict), 0);
        assert_int_equal(verdict, TRANSFER_SAME);
    }
    etag_of(bytes, n, 7 * MIB, etag); /* nobody's part size: no proof of a difference */
    assert_int_equal(transfer_file_check(fd, (int64_t)n, slice_str(etag), &verdict), 0);
    assert_int_equal(verdict, TRANSFER_SILENT);
    etag_of(bytes, n - 1, 0, etag);
    assert_int_equal(transfer_file_check(fd, (int64_t)n, slice_str(etag), &verdict), 0);
    assert_int_equal(verdict, TRANSFER_DIFFERS);
    assert_int_equal(transfer_file_check(fd, (int64_t)n + 1, slice_str(etag), &verdict), ERR_SHORT);
    close(fd);
    free(bytes);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_join),
        cmocka_unit_test(test_join_out_of_order),
        cmocka_unit_test(test_join_told_that_the_target_is_unsorted),
        cmocka_unit_test(test_join_name_over_its_maximum),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_file_or_folder),
        cmocka_unit_test(test_etag_forms),
        cmocka_unit_test(test_part_sizes),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_file_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
