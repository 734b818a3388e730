/*
 * Tables and items in a real database: life of a table, key checks, exact totals, updates by
 * functions, ranges in every direction, the sweep behind a deleted table.
 */
#include "base/db.h"
#include "base/err.h"
#include "metadata/key.h"
#include "metadata/table_priv.h"
#include "tests/lib/testdir.h"
#include "tests/metadata/values.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static char *dir;
static struct db *db;
static struct arena *arena;

static int
setup(void **state)
{
    (void)state;
    static const char *steps[1];
    steps[0] = table_schema(1);
    dir = testdir_make();
    arena = arena_new(64u << 20);
    struct db_options options = {.path = testdir_path(dir, "db"), .schema = {steps, 1}};
    return db_open(&db, &options);
}

static int
teardown(void **state)
{
    (void)state;
    db_thread_end(db);
    db_close(&db);
    arena_free(&arena);
    testdir_remove(&dir);
    return 0;
}

/* Runs a function as one transaction. */
struct job {
    struct db_op op;
    int (*fn)(struct db_conn *conn, void *arg);
    void *arg;
};

static int
job_apply(struct db_op *op, struct db_conn *conn)
{
    struct job *j = (struct job *)op;
    return j->fn(conn, j->arg);
}

static int
in_transaction(int (*fn)(struct db_conn *conn, void *arg), void *arg)
{
    struct job j = {.op = {.apply = job_apply}, .fn = fn, .arg = arg};
    return db_call(db, &j.op);
}

static int
do_create(struct db_conn *conn, void *arg)
{
    return table_apply_create(conn, arg);
}

static int
do_delete(struct db_conn *conn, void *arg)
{
    return table_apply_delete(conn, slice_str(arg));
}

static struct table
find(const char *name)
{
    struct table t;
    struct db_conn *conn;
    assert_int_equal(db_read_begin(db, &conn), ERR_NONE);
    assert_int_equal(table_find(conn, arena, slice_str(name), &t), ERR_NONE);
    db_read_end(db, &conn);
    return t;
}

static struct table
make_table(const char *name, enum attr_type sort)
{
    struct table t = {.name = slice_str(name),
                      .partition = {SLICE_LIT("pk"), ATTR_S},
                      .sort = {sort == 0 ? SLICE_NONE : SLICE_LIT("sk"), sort},
                      .account_id = SLICE_LIT("000000000000")};
    assert_int_equal(in_transaction(do_create, &t), ERR_NONE);
    return find(name);
}

struct change {
    const struct table *t;
    const struct attr_value *item, *set;
    const struct slice *remove;
    size_t remove_count;
    bool must_exist;
    struct attr_value *old;
};

static int
do_put(struct db_conn *conn, void *arg)
{
    struct change *c = arg;
    return table_apply_put(conn, arena, c->t, c->item, c->old);
}

static int
do_delete_item(struct db_conn *conn, void *arg)
{
    struct change *c = arg;
    return table_apply_delete_item(conn, arena, c->t, c->item, c->old);
}

static int
do_update(struct db_conn *conn, void *arg)
{
    struct change *c = arg;
    return table_apply_update(conn, arena, c->t, c->item, c->set, c->remove, c->remove_count,
                              c->must_exist);
}

static void
set(struct attr_value *map, const char *name, struct attr_value v)
{
    assert_int_equal(attr_set(arena, map, arena_dup(arena, slice_str(name)), &v), ERR_NONE);
}

static struct attr_value
text(const char *s)
{
    return attr_s(arena_dup(arena, slice_str(s)));
}

static struct attr_value
row(const char *pk, struct attr_value sk)
{
    struct attr_value item = attr_map_new();
    set(&item, "pk", text(pk));
    if (sk.type != 0)
        set(&item, "sk", sk);
    return item;
}

static int
put(const struct table *t, const struct attr_value *item, struct attr_value *old)
{
    struct change c = {.t = t, .item = item, .old = old};
    return in_transaction(do_put, &c);
}

static int
get(const struct table *t, const struct attr_value *key, struct attr_value *item)
{
    struct db_conn *conn;
    assert_int_equal(db_read_begin(db, &conn), ERR_NONE);
    int err = table_get(conn, arena, t, key, item);
    db_read_end(db, &conn);
    return err;
}

/* ---- tables ---- */

static int
collect_name(void *arg, struct slice name)
{
    struct buf *b = arg;
    buf_put_slice(b, name);
    buf_putc(b, ' ');
    return 0;
}

static void
tables_live_and_die(void **state)
{
    (void)state;
    struct table t = make_table("images", ATTR_S);
    assert_true(t.id > 0 && t.created_ms > 0 && t.uuid.n == 36);
    assert_int_equal(t.sort.type, ATTR_S);
    struct table again = t;
    assert_int_equal(in_transaction(do_create, &again), ERR_EXISTS);
    struct table bad = t;
    bad.name = SLICE_LIT("a/b");
    assert_int_equal(in_transaction(do_create, &bad), ERR_INVALID);
    bad = t;
    bad.name = SLICE_LIT("same");
    bad.sort = bad.partition;
    assert_int_equal(in_transaction(do_create, &bad), ERR_INVALID);
    make_table("abc", 0);
    make_table("zebra", ATTR_N);
    struct buf names;
    struct db_conn *conn;
    buf_init(&names, 1000);
    assert_int_equal(db_read_begin(db, &conn), ERR_NONE);
    assert_int_equal(table_list(conn, SLICE_NONE, 100, collect_name, &names), ERR_NONE);
    assert_string_equal(names.p, "abc images zebra ");
    buf_reset(&names);
    assert_int_equal(table_list(conn, SLICE_LIT("abc"), 1, collect_name, &names), ERR_NONE);
    assert_string_equal(names.p, "images ");
    buf_fini(&names);
    db_read_end(db, &conn);
    assert_int_equal(in_transaction(do_delete, "images"), ERR_NONE);
    assert_int_equal(in_transaction(do_delete, "images"), ERR_NOPARENT);
    assert_true(make_table("images", ATTR_S).id > t.id);
}

static void
names_are_checked(void **state)
{
    (void)state;
    char longest[257];
    memset(longest, 'a', sizeof longest);
    assert_true(table_name_ok(SLICE_LIT("a.b-c_9")));
    assert_true(table_name_ok(slice_of(longest, 255)));
    assert_false(table_name_ok(slice_of(longest, 256)));
    assert_false(table_name_ok(SLICE_LIT("ab")));
    assert_false(table_name_ok(SLICE_LIT("a b")));
    assert_false(table_name_ok(slice_of("ab\0c", 4)));
}

/* ---- items ---- */

static void
check_totals(const char *name, int64_t items, int64_t bytes)
{
    struct table t = find(name);
    assert_int_equal(t.item_count, items);
    assert_int_equal(t.bytes, bytes);
}

static void
items_come_and_go(void **state)
{
    (void)state;
    struct table t = make_table("items", ATTR_S);
    struct attr_value key = row("p", text("s")), item = row("p", text("s")), old, back;
    set(&item, "n", attr_int(arena, 5));
    assert_int_equal(get(&t, &key, &back), ERR_NOTFOUND);
    assert_int_equal(put(&t, &item, &old), ERR_NONE);
    assert_int_equal(old.type, 0);
    check_totals("items", 1, (int64_t)item_bytes(&item));
    assert_int_equal(get(&t, &key, &back), ERR_NONE);
    assert_true(attr_equal(&item, &back));
    set(&item, "more", text("and more"));
    assert_int_equal(put(&t, &item, &old), ERR_NONE);
    assert_int_equal(attr_get(&old, SLICE_LIT("n"))->type, ATTR_N);
    assert_null(attr_get(&old, SLICE_LIT("more")));
    check_totals("items", 1, (int64_t)item_bytes(&item));
    struct change c = {.t = &t, .item = &key, .old = &old};
    assert_int_equal(in_transaction(do_delete_item, &c), ERR_NONE);
    assert_true(attr_equal(&old, &item));
    assert_int_equal(in_transaction(do_delete_item, &c), ERR_NONE);
    assert_int_equal(old.type, 0);
    check_totals("items", 0, 0);
}

static void
keys_are_checked(void **state)
{
    (void)state;
    struct table t = make_table("keys", ATTR_N);
    struct buf why;
    char *big = malloc(KEY_PARTITION_MAX + 2);
    memset(big, 'x', KEY_PARTITION_MAX + 1);
    big[KEY_PARTITION_MAX + 1] = '\0';
    struct attr_value one = attr_int(arena, 1);
    struct attr_value missing = row("p", (struct attr_value){0}), wrong = row("p", text("1"));
    struct attr_value empty = row("", one), large = row(big, one), fits = row(big + 1, one);
    const struct {
        struct attr_value *item;
        const char *why;
    } table[] = {
        {&missing, "One or more parameter values were invalid: Missing the key sk in the item"},
        {&wrong, "One or more parameter values were invalid: Type mismatch for key sk expected: N"
                 " actual: S"},
        {&empty,
         "One or more parameter values are not valid. The AttributeValue for a key attribute"
         " cannot contain an empty string value. Key: pk"},
        {&large, "One or more parameter values were invalid: Size of hashkey has exceeded the"
                 " maximum size limit of2048 bytes"},
    };
    buf_init(&why, 1000);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        buf_reset(&why);
        assert_int_equal(table_key_check(&t, table[i].item, &why), ERR_INVALID);
        assert_string_equal(why.p, table[i].why);
        assert_int_equal(put(&t, table[i].item, NULL), ERR_INVALID);
    }
    assert_int_equal(put(&t, &fits, NULL), ERR_NONE);
    buf_fini(&why);
    free(big);
}

static void
large_and_deep_items_are_refused(void **state)
{
    (void)state;
    struct table t = make_table("large", 0);
    char *big = calloc(1, ITEM_BYTES_MAX + 1);
    memset(big, 'x', ITEM_BYTES_MAX);
    struct attr_value item = row("p", (struct attr_value){0}), back;
    set(&item, "v", attr_s(slice_of(big, ITEM_BYTES_MAX - 4)));
    assert_int_equal(put(&t, &item, NULL), ERR_NONE);
    assert_int_equal(get(&t, &item, &back), ERR_NONE);
    assert_true(attr_equal(&item, &back));
    check_totals("large", 1, ITEM_BYTES_MAX);
    set(&item, "v", attr_s(slice_of(big, ITEM_BYTES_MAX - 3)));
    assert_int_equal(put(&t, &item, NULL), ERR_TOOBIG);
    check_totals("large", 1, ITEM_BYTES_MAX);
    /* The item is a map itself, so 31 more fit. */
    struct attr_value deep = attr_bool(true);
    for (int i = 0; i < ITEM_DEPTH_MAX; i++) {
        struct attr_value outer = attr_map_new();
        set(&outer, "m", deep);
        deep = outer;
        set(&item, "v", deep);
        assert_int_equal(put(&t, &item, NULL), i < ITEM_DEPTH_MAX - 1 ? ERR_NONE : ERR_INVALID);
    }
    free(big);
}

static int
update(const struct table *t, const struct attr_value *key, const struct attr_value *with,
       const char *remove, bool must_exist)
{
    struct slice names[1] = {slice_str(remove)};
    struct change c = {t, key, with, names, remove == NULL ? 0 : 1, must_exist, NULL};
    return in_transaction(do_update, &c);
}

static void
functions_set_only_their_attributes(void **state)
{
    (void)state;
    struct table t = make_table("images", ATTR_S);
    struct attr_value key = row("photos", text("a.jpg")), with = attr_map_new(), back;
    set(&with, "state", text("ready"));
    set(&with, "thumbnails.small", text("a.jpg/small.webp"));
    assert_int_equal(update(&t, &key, &with, NULL, true), ERR_NOTFOUND);
    assert_int_equal(get(&t, &key, &back), ERR_NOTFOUND);
    assert_int_equal(update(&t, &key, &with, NULL, false), ERR_NONE);
    /* A user's attribute, also inside our map, survives the next update. */
    assert_int_equal(get(&t, &key, &back), ERR_NONE);
    set(&back, "caption", text("at sea"));
    set(attr_get(&back, SLICE_LIT("thumbnails")), "mine", attr_bool(true));
    assert_int_equal(put(&t, &back, NULL), ERR_NONE);
    struct attr_value next = attr_map_new();
    set(&next, "thumbnails.large", text("a.jpg/large.webp"));
    assert_int_equal(update(&t, &key, &next, "thumbnails.small", true), ERR_NONE);
    assert_int_equal(get(&t, &key, &back), ERR_NONE);
    const struct attr_value *thumbs = attr_get(&back, SLICE_LIT("thumbnails"));
    assert_int_equal(thumbs->count, 2);
    assert_non_null(attr_get(thumbs, SLICE_LIT("large")));
    assert_non_null(attr_get(thumbs, SLICE_LIT("mine")));
    assert_true(slice_eqs(attr_get(&back, SLICE_LIT("caption"))->bytes, "at sea"));
    assert_true(slice_eqs(attr_get(&back, SLICE_LIT("state"))->bytes, "ready"));
    check_totals("images", 1, (int64_t)item_bytes(&back));
    assert_int_equal(update(&t, &key, NULL, "state", true), ERR_NONE);
    assert_int_equal(get(&t, &key, &back), ERR_NONE);
    assert_null(attr_get(&back, SLICE_LIT("state")));
    struct attr_value forbidden = attr_map_new();
    set(&forbidden, "sk", text("b.jpg"));
    assert_int_equal(update(&t, &key, &forbidden, NULL, true), ERR_INVALID);
    assert_int_equal(update(&t, &key, NULL, "pk", true), ERR_INVALID);
}

/* ---- ranges ---- */

static int
collect_sort(void *arg, const struct attr_value *item, size_t stored_bytes)
{
    struct buf *b = arg;
    assert_int_equal(stored_bytes, item_bytes(item));
    buf_put_slice(b, attr_get(item, SLICE_LIT("sk"))->bytes);
    buf_putc(b, ' ');
    return 0;
}

static void
check_range(const struct table *t, const struct table_range *range, const char *want)
{
    struct buf got;
    struct db_conn *conn;
    buf_init(&got, 1 << 20);
    buf_puts(&got, "");
    assert_int_equal(db_read_begin(db, &conn), ERR_NONE);
    assert_int_equal(table_range(conn, t, range, collect_sort, &got), ERR_NONE);
    db_read_end(db, &conn);
    assert_string_equal(got.n == 0 ? "" : got.p, want);
    buf_fini(&got);
}

static void
ranges_of_strings(void **state)
{
    (void)state;
    struct table t = make_table("strings", ATTR_S);
    static const char *const keys[] = {"b", "a", "ab", "abc", "ac", "\xff", "\xff\xff", "b!"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        struct attr_value item = row("p", text(keys[i])), other = row("q", text(keys[i]));
        assert_int_equal(put(&t, &item, NULL), ERR_NONE);
        assert_int_equal(put(&t, &other, NULL), ERR_NONE);
    }
    struct attr_value p = text("p"), a = text("a"), ab = text("ab"), b = text("b"),
                      ff = text("\xff");
    struct attr_value after = row("p", text("ab"));
#define RANGE(...) check_range(&t, &(struct table_range){.partition = &p, __VA_ARGS__)
    RANGE(.op = SORT_ALL
}, "a ab abc ac b b! \xff \xff\xff ");
    RANGE(.op = SORT_ALL, .backward = true
    }, "\xff\xff \xff b! b ac abc ab a ");
    RANGE(.op = SORT_EQ, .low = &ab
    }, "ab ");
    RANGE(.op = SORT_LT, .low = &ab
    }, "a ");
    RANGE(.op = SORT_LE, .low = &ab
    }, "a ab ");
    RANGE(.op = SORT_GT, .low = &ab
    }, "abc ac b b! \xff \xff\xff ");
    RANGE(.op = SORT_GE, .low = &ab
    }, "ab abc ac b b! \xff \xff\xff ");
    RANGE(.op = SORT_BETWEEN, .low = &ab, .high = &b
    }, "ab abc ac b ");
    RANGE(.op = SORT_BETWEEN, .low = &b, .high = &ab
    }, "");
    RANGE(.op = SORT_BEGINS, .low = &a
    }, "a ab abc ac ");
    RANGE(.op = SORT_BEGINS, .low = &ff, .backward = true
    }, "\xff\xff \xff ");
    RANGE(.op = SORT_ALL, .start_after = &after
    }, "abc ac b b! \xff \xff\xff ");
    RANGE(.op = SORT_ALL, .start_after = &after, .backward = true
    }, "a ");
    RANGE(.op = SORT_BEGINS, .low = &a, .start_after = &after
    }, "abc ac ");
    RANGE(.op = SORT_GE, .low = &b, .start_after = &after
    }, "b b! \xff \xff\xff ");
    RANGE(.op = SORT_LT, .low = &a, .start_after = &after, .backward = true
    }, "");
#undef RANGE
    struct db_conn *conn;
    struct attr_value number = attr_int(arena, 1);
    struct table_range wrong = {.partition = &p, .op = SORT_EQ, .low = &number};
    assert_int_equal(db_read_begin(db, &conn), ERR_NONE);
    assert_int_equal(table_range(conn, &t, &wrong, collect_sort, NULL), ERR_INVALID);
    db_read_end(db, &conn);
    }

    static void
    ranges_of_numbers(void **state)
    {
        (void)state;
        struct table t = make_table("numbers", ATTR_N);
        static const int64_t keys[] = {100, -1, 20, 3, 0, -100, -20};
        for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
            struct attr_value item = row("p", attr_int(arena, keys[i]));
            assert_int_equal(put(&t, &item, NULL), ERR_NONE);
        }
        struct attr_value p = text("p"), low = attr_int(arena, -20), high = attr_int(arena, 20);
        check_range(&t, &(struct table_range){.partition = &p}, "-100 -20 -1 0 3 20 100 ");
        check_range(&t, &(struct table_range){.partition = &p, .op = SORT_GT, .low = &low},
                    "-1 0 3 20 100 ");
        check_range(&t, &(struct table_range){.partition = &p, .op = SORT_LE, .low = &low},
                    "-100 -20 ");
        check_range(
            &t,
            &(struct table_range){.partition = &p, .op = SORT_BETWEEN, .low = &low, .high = &high},
            "-20 -1 0 3 20 ");
    }

    static void
    scans_walk_every_partition(void **state)
    {
        (void)state;
        struct table t = make_table("scan", ATTR_S), other = make_table("other", ATTR_S);
        static const char *const rows[][2] = {{"b", "1"}, {"a", "2"}, {"a", "1"}, {"ab", "3"}};
        for (size_t i = 0; i < 4; i++) {
            struct attr_value item = row(rows[i][0], text(rows[i][1]));
            assert_int_equal(put(&t, &item, NULL), ERR_NONE);
        }
        struct attr_value alien = row("a", text("9")), after = row("a", text("2"));
        assert_int_equal(put(&other, &alien, NULL), ERR_NONE);
        check_range(&t, &(struct table_range){0}, "1 2 3 1 ");
        check_range(&t, &(struct table_range){.start_after = &after}, "3 1 ");
        after = row("zz", text("z"));
        check_range(&t, &(struct table_range){.start_after = &after}, "");
    }

    /* ---- sweeping ---- */

    static int
    do_sweep(struct db_conn *conn, void *arg)
    {
        return table_apply_sweep(conn, 10, arg);
    }

    static int
    count_rows(struct db_conn *conn, void *arg)
    {
        struct db_stmt *s = db_prepare(conn, "SELECT count(*) FROM item");
        assert_int_equal(db_step(s), DB_ROW);
        *(int64_t *)arg = db_column_int(s, 0);
        db_reset(s);
        return ERR_NONE;
    }

    static void
    a_deleted_table_is_swept_in_bites(void **state)
    {
        (void)state;
        char name[16];
        int64_t rows;
        struct table t = make_table("gone", ATTR_S), kept = make_table("kept", ATTR_S);
        for (int i = 0; i < 35; i++) {
            snprintf(name, sizeof name, "%d", i);
            struct attr_value item = row(i % 2 == 0 ? "p" : "q", text(name));
            assert_int_equal(put(&t, &item, NULL), ERR_NONE);
            assert_int_equal(put(&kept, &item, NULL), ERR_NONE);
        }
        assert_int_equal(in_transaction(do_delete, "gone"), ERR_NONE);
        bool more = true;
        int rounds = 0;
        while (more) {
            assert_int_equal(in_transaction(do_sweep, &more), ERR_NONE);
            rounds++;
            assert_int_equal(in_transaction(count_rows, &rows), ERR_NONE);
            assert_int_equal(rows, rounds < 4 ? 70 - 10 * rounds : 35);
        }
        assert_int_equal(rounds, 5);
        assert_int_equal(find("kept").item_count, 35);
    }

    /* Random puts and deletes against a model: totals and order must agree. */
    static void
    totals_stay_exact(void **state)
    {
        (void)state;
        struct table t = make_table("model", ATTR_N);
        struct attr_value model[40] = {{0}};
        for (int i = 0; i < 400; i++) {
            uint32_t at = pick(40);
            struct attr_value item = row("p", attr_int(arena, (int64_t)at - 20));
            struct change c = {.t = &t, .item = &item};
            if (pick(3) == 0) {
                assert_int_equal(in_transaction(do_delete_item, &c), ERR_NONE);
                model[at] = (struct attr_value){0};
            } else {
                set(&item, "v", pick_value(arena, 1));
                assert_int_equal(in_transaction(do_put, &c), ERR_NONE);
                model[at] = item;
            }
        }
        int64_t count = 0, bytes = 0;
        for (size_t i = 0; i < 40; i++) {
            struct attr_value back, key = row("p", attr_int(arena, (int64_t)i - 20));
            assert_int_equal(get(&t, &key, &back), model[i].type == 0 ? ERR_NOTFOUND : ERR_NONE);
            if (model[i].type == 0)
                continue;
            assert_true(attr_equal(&back, &model[i]));
            count++;
            bytes += (int64_t)item_bytes(&back);
        }
        check_totals("model", count, bytes);
    }

    int
    main(void)
    {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        const struct CMUnitTest tests[] = {
            T(tables_live_and_die),
            T(names_are_checked),
            T(items_come_and_go),
            T(keys_are_checked),
            T(large_and_deep_items_are_refused),
            T(functions_set_only_their_attributes),
            T(ranges_of_strings),
            T(ranges_of_numbers),
            T(scans_walk_every_partition),
            T(a_deleted_table_is_swept_in_bites),
            T(totals_stay_exact),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
    }
