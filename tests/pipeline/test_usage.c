/*
 * Dividing an invocation keeps every sum, whatever the worker claims; rows of a day are bounded,
 * days too, and nothing of the sums is lost at a bound.
 */
#include "tests/pipeline/rig.h"

#include "pipeline/usage.h"

#define DAY_MS ((int64_t)86400 * 1000)
#define NOW ((int64_t)1790000000000)

/* ---- dividing ---- */

static struct fn_output outputs[FN_OUTPUTS_MAX];
static struct fn_answer thumbnail, metadata;

/* 1000 us: 100 decode, metadata 50, thumbnail 10 + 200 + 600; 40 are nobody's. */
static struct usage_invocation
two_functions(void)
{
    outputs[0] = (struct fn_output){
        .name = SLICE_LIT("small"), .status = FN_OK, .bytes = 7, .cost = {.cpu_us = 200}};
    outputs[1] = (struct fn_output){
        .name = SLICE_LIT("large"), .status = FN_FAILED, .bytes = 9, .cost = {.cpu_us = 600}};
    thumbnail = (struct fn_answer){
        .name = SLICE_LIT("thumbnail"), .outputs = outputs, .output_count = 2, .cost = {810, 0}};
    metadata = (struct fn_answer){.name = SLICE_LIT("metadata"), .cost = {50, 0}};
    return (struct usage_invocation){
        .started_ms = NOW,
        .bucket = SLICE_LIT("photos"),
        .key = SLICE_LIT("2026/a.jpg"),
        .source_bytes = 5000,
        .memory_mb = 1024,
        .run_us = 1500,
        .cpu_us = 1000,
        .decode = {100, 0},
        .calls = {{.function = SLICE_LIT("thumbnail"), .answer = &thumbnail},
                  {.function = SLICE_LIT("metadata"), .answer = &metadata}},
        .call_count = 2};
}

static const struct usage_sums *
part_of(const struct usage_part *parts, size_t n, const char *function, const char *preset)
{
    for (size_t i = 0; i < n; i++) {
        if (slice_eqs(parts[i].function, function) && slice_eqs(parts[i].preset, preset))
            return &parts[i].sums;
    }
    fail_msg("no part %s %s", function, preset);
    return NULL;
}

static void
check_sums(const struct usage_invocation *inv, const struct usage_part *parts, size_t n)
{
    int64_t cpu_us = 0, mb_ms = 0, invocations = 0, bytes_in = 0;
    for (size_t i = 0; i < n; i++) {
        assert_true(parts[i].sums.cpu_us >= 0 && parts[i].sums.mb_ms >= 0);
        cpu_us += parts[i].sums.cpu_us;
        mb_ms += parts[i].sums.mb_ms;
        invocations += parts[i].sums.invocations;
        bytes_in += parts[i].sums.bytes_in;
    }
    assert_int_equal(cpu_us, inv->cpu_us);
    assert_int_equal(mb_ms, inv->memory_mb * ((inv->run_us + 999) / 1000));
    assert_int_equal(invocations, inv->call_count);
    assert_int_equal(bytes_in, inv->source_bytes * (int64_t)inv->call_count);
}

static void
test_divide(void **state)
{
    struct usage_part parts[USAGE_PARTS_MAX];
    struct usage_invocation inv = two_functions();
    (void)state;
    size_t n = usage_divide(&inv, parts);
    assert_int_equal(n, 6);
    check_sums(&inv, parts, n);
    assert_int_equal(part_of(parts, n, "thumbnail", "(decode)")->cpu_us, 50);
    assert_int_equal(part_of(parts, n, "metadata", "(decode)")->cpu_us, 50);
    assert_int_equal(part_of(parts, n, "thumbnail", "small")->cpu_us, 200);
    assert_int_equal(part_of(parts, n, "thumbnail", "small")->bytes_out, 7);
    assert_int_equal(part_of(parts, n, "thumbnail", "small")->pictures, 1);
    assert_int_equal(part_of(parts, n, "thumbnail", "small")->mb_ms, 2048 * 200 / 1000);
    assert_int_equal(part_of(parts, n, "thumbnail", "large")->cpu_us, 600);
    assert_int_equal(part_of(parts, n, "thumbnail", "large")->bytes_out, 0);
    assert_int_equal(part_of(parts, n, "thumbnail", "(function)")->cpu_us, 10 + 20);
    assert_int_equal(part_of(parts, n, "metadata", "(function)")->cpu_us, 50 + 20);
    assert_int_equal(part_of(parts, n, "metadata", "(function)")->invocations, 1);
}

/* A worker that claims more than it used, or that cannot count: the whole stays what it is. */
static void
test_divide_lies(void **state)
{
    struct usage_part parts[USAGE_PARTS_MAX];
    struct usage_invocation inv = two_functions();
    (void)state;
    outputs[0].cost.cpu_us = (int64_t)1 << 40;
    size_t n = usage_divide(&inv, parts);
    check_sums(&inv, parts, n);
    assert_true(part_of(parts, n, "thumbnail", "small")->cpu_us >= 998);
    thumbnail.cost.cpu_us = 0; /* less than its outputs */
    n = usage_divide(&inv, parts);
    check_sums(&inv, parts, n);
    inv.cpu_us = 0;
    n = usage_divide(&inv, parts);
    check_sums(&inv, parts, n);
    inv.decode.cpu_us = inv.cpu_us = INT64_C(1) << 40;
    inv.run_us = INT64_C(1) << 40;
    inv.memory_mb = 10240;
    check_sums(&inv, parts, usage_divide(&inv, parts));
}

static void
test_divide_failed(void **state)
{
    struct usage_part parts[USAGE_PARTS_MAX];
    struct usage_invocation inv = two_functions();
    (void)state;
    inv.calls[0].answer = inv.calls[1].answer = NULL;
    inv.decode = (struct fn_cost){0};
    inv.cpu_us = 1001;
    size_t n = usage_divide(&inv, parts);
    assert_int_equal(n, 2);
    check_sums(&inv, parts, n);
    assert_int_equal(part_of(parts, n, "thumbnail", "(function)")->cpu_us, 501);
}

static void
test_divide_most(void **state)
{
    struct usage_part parts[USAGE_PARTS_MAX];
    struct usage_invocation inv = two_functions();
    (void)state;
    for (size_t k = 0; k < FN_OUTPUTS_MAX; k++)
        outputs[k] = outputs[0];
    thumbnail.output_count = FN_OUTPUTS_MAX;
    for (size_t i = 0; i < FN_PER_REQUEST_MAX; i++)
        inv.calls[i] = inv.calls[0];
    inv.call_count = FN_PER_REQUEST_MAX;
    size_t n = usage_divide(&inv, parts);
    assert_int_equal(n, USAGE_PARTS_MAX);
    check_sums(&inv, parts, n);
}

static void
test_on_the_fly(void **state)
{
    struct usage_part parts[USAGE_PARTS_MAX];
    struct usage_invocation inv = two_functions();
    (void)state;
    inv.calls[0].on_the_fly = true;
    size_t n = usage_divide(&inv, parts);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(parts[i].preset.p[0], '(');
    check_sums(&inv, parts, n);
}

static void
test_billed(void **state)
{
    (void)state;
    assert_int_equal(usage_billed_ms(0), 0);
    assert_int_equal(usage_billed_ms(1), 1);
    assert_int_equal(usage_billed_ms(1000), 1);
    assert_int_equal(usage_billed_ms(1001), 2);
}

/* ---- the table ---- */

struct many {
    struct db_op op;
    struct usage_invocation inv;
    const char *fmt; /* of the keys */
    int from, to;
    int64_t days; /* from one to the next */
};

static int
many_apply(struct db_op *op, struct db_conn *conn)
{
    struct many *m = CONTAINER_OF(op, struct many, op);
    int err = ERR_NONE;
    for (int i = m->from; i < m->to && err == ERR_NONE; i++) {
        struct usage_invocation inv = m->inv;
        struct buf key;
        buf_init(&key, STORE_KEY_MAX);
        buf_puts(&key, m->fmt);
        buf_printf(&key, "%d/x", i);
        inv.key = buf_slice(&key);
        inv.started_ms += i * m->days * DAY_MS;
        err = usage_apply_invocation(conn, &inv);
        buf_fini(&key);
    }
    return err;
}

struct found {
    int rows, others, days;
    struct usage_sums sums;
    char names[4096];
};

static int
found_fn(void *arg, struct slice bucket, struct slice name, const struct usage_sums *sums)
{
    struct found *f = arg;
    (void)bucket;
    f->rows++;
    f->others += slice_eqs(name, "(other)");
    f->sums.cpu_us += sums->cpu_us;
    f->sums.invocations += sums->invocations;
    f->sums.mb_ms += sums->mb_ms;
    size_t n = strlen(f->names);
    if (n + name.n + 2 < sizeof f->names)
        snprintf(f->names + n, sizeof f->names - n, "%.*s|", SLICE_FMT(name));
    return 0;
}

static void
find(struct rig *r, enum usage_by by, struct found *f)
{
    *f = (struct found){0};
    for (int64_t day = 0;; day++) {
        struct db_conn *conn = NULL;
        assert_int_equal(db_read_begin(r->db, &conn), ERR_NONE);
        int err = usage_next_day(conn, day, &day);
        if (err == ERR_NONE)
            assert_int_equal(usage_of_day(conn, day, by, found_fn, f), ERR_NONE);
        db_read_end(r->db, &conn);
        if (err == ERR_NOTFOUND)
            return;
        assert_int_equal(err, ERR_NONE);
        f->days++;
    }
}

static void
add(struct rig *r, const char *fmt, int from, int to, int64_t days)
{
    struct many m = {.op = {.apply = many_apply},
                     .inv = two_functions(),
                     .fmt = fmt,
                     .from = from,
                     .to = to,
                     .days = days};
    assert_int_equal(db_call(r->db, &m.op), ERR_NONE);
}

static void
test_table(void **state)
{
    struct rig *r = *state;
    struct found f;
    add(r, "2026/", 0, 3, 0);
    add(r, "2025/", 0, 1, 0);
    find(r, USAGE_BY_PREFIX, &f);
    assert_string_equal(f.names, "2025/|2026/|");
    assert_int_equal(f.sums.cpu_us, 4 * 1000);
    assert_int_equal(f.sums.invocations, 4 * 2);
    find(r, USAGE_BY_PRESET, &f);
    assert_string_equal(f.names, "(decode)|(function)|large|small|");
    assert_int_equal(f.sums.cpu_us, 4 * 1000);
    find(r, USAGE_BY_FUNCTION, &f);
    assert_string_equal(f.names, "metadata|thumbnail|");
    find(r, USAGE_BY_DAY, &f);
    assert_int_equal(f.rows, 1);
    find(r, USAGE_BY_BUCKET, &f);
    assert_int_equal(f.rows, 1);
    assert_int_equal(f.sums.mb_ms, 4 * 2048);
}

static void
test_prefixes_are_bounded(void **state)
{
    struct rig *r = *state;
    struct found f;
    struct many m = {.op = {.apply = many_apply}, .inv = two_functions(), .fmt = "one/", .to = 1};
    add(r, "hostile-", 0, 500, 0);
    find(r, USAGE_BY_PREFIX, &f);
    assert_int_equal(f.others, 1);
    assert_true(f.rows < USAGE_PREFIX_ROWS_MAX);
    assert_int_equal(f.sums.cpu_us, 500 * 1000);
    /* Other buckets: one row more for each, to the second bound. */
    for (int i = 0; i < 300; i++) {
        char bucket[32];
        snprintf(bucket, sizeof bucket, "bucket-%d", i);
        m.inv.bucket = slice_str(bucket);
        assert_int_equal(db_call(r->db, &m.op), ERR_NONE);
    }
    find(r, USAGE_BY_BUCKET, &f);
    assert_true(f.rows > 50 && f.rows < 300);
    assert_int_equal(f.sums.cpu_us, 800 * 1000);
    assert_int_equal(f.sums.invocations, 1600);
}

static void
test_long_component(void **state)
{
    struct rig *r = *state;
    struct found f;
    char wide[400];
    memset(wide, 'w', sizeof wide - 1);
    wide[sizeof wide - 1] = '\0';
    add(r, wide, 0, 1, 0);
    find(r, USAGE_BY_PREFIX, &f);
    assert_string_equal(f.names, "(other)|");
}

static void
test_days_are_bounded(void **state)
{
    struct rig *r = *state;
    struct found f;
    add(r, "a", 0, USAGE_DAYS_MAX, 1);
    find(r, USAGE_BY_DAY, &f);
    assert_int_equal(f.days, USAGE_DAYS_MAX);
    add(r, "a", USAGE_DAYS_MAX, USAGE_DAYS_MAX + 5, 1);
    find(r, USAGE_BY_DAY, &f);
    assert_int_equal(f.days, USAGE_DAYS_MAX);
    assert_int_equal(f.sums.cpu_us, (int64_t)USAGE_DAYS_MAX * 1000);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_divide),
        cmocka_unit_test(test_divide_lies),
        cmocka_unit_test(test_divide_failed),
        cmocka_unit_test(test_divide_most),
        cmocka_unit_test(test_on_the_fly),
        cmocka_unit_test(test_billed),
        cmocka_unit_test_setup_teardown(test_table, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_prefixes_are_bounded, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_long_component, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_days_are_bounded, rig_setup, rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
