/*
 * Listing against a brute-force model: random keys over a small alphabet with the awkward bytes
 * (0x00, 0xff, 0x7f, multi-byte UTF-8), prefixes and delimiters of any length, every page size.
 */
#include "tests/objectstore/fixture.h"

#define KEYS_MAX 300
#define ENTRIES_MAX 1200
#define TEXT_MAX 40

struct entry {
    bool is_prefix;
    char text[TEXT_MAX];
    size_t n;
};

struct entries {
    struct entry e[ENTRIES_MAX];
    size_t count;
    size_t stop_at;
};

struct model {
    char keys[KEYS_MAX][TEXT_MAX];
    size_t n[KEYS_MAX];
    size_t count;
};

static struct slice
key_of(const struct model *m, size_t i)
{
    return slice_of(m->keys[i], m->n[i]);
}

static void
add(struct entries *out, bool is_prefix, struct slice name)
{
    struct entry *e = &out->e[out->count++];
    CHK(out->count < ENTRIES_MAX && name.n <= TEXT_MAX);
    e->is_prefix = is_prefix;
    e->n = name.n;
    if (name.n > 0)
        memcpy(e->text, name.p, name.n);
}

static struct slice
name_of(const struct entry *e)
{
    return slice_of(e->text, e->n);
}

static void
model_add(struct model *m, struct slice key)
{
    size_t at = 0;
    while (at < m->count && slice_cmp(key_of(m, at), key) < 0)
        at++;
    if (at < m->count && slice_eq(key_of(m, at), key))
        return;
    memmove(m->keys[at + 1], m->keys[at], (m->count - at) * TEXT_MAX);
    memmove(&m->n[at + 1], &m->n[at], (m->count - at) * sizeof m->n[0]);
    memcpy(m->keys[at], key.p, key.n);
    m->n[at] = key.n;
    m->count++;
}

/* All entries: what S3 says a listing is, without any cleverness. */
static void
model_list(const struct model *m, const struct store_list_spec *spec, struct entries *out)
{
    out->count = 0;
    for (size_t i = 0; i < m->count; i++) {
        struct slice key = key_of(m, i), name = key;
        bool is_prefix = false;
        if (!slice_starts(key, spec->prefix))
            continue;
        for (size_t at = spec->prefix.n; spec->delimiter.n > 0 && at < key.n; at++) {
            if (slice_starts(slice_skip(key, at), spec->delimiter)) {
                name = slice_of(key.p, at + spec->delimiter.n);
                is_prefix = true;
                break;
            }
        }
        if (slice_cmp(name, spec->after) <= 0 && spec->after.n > 0)
            continue;
        if (is_prefix && out->count > 0 && out->e[out->count - 1].is_prefix &&
            slice_eq(name_of(&out->e[out->count - 1]), name))
            continue;
        add(out, is_prefix, name);
    }
}

static int
collect(void *arg, const struct store_list_entry *e)
{
    struct entries *out = arg;
    add(out, e->is_prefix, e->name);
    if (!e->is_prefix)
        CHK(e->generation > 0 && strlen(e->etag) == 32 && e->size == (int64_t)e->name.n);
    return out->stop_at > 0 && out->count >= out->stop_at;
}

static void
same(const struct entries *a, const struct entries *b)
{
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++) {
        assert_true(a->e[i].is_prefix == b->e[i].is_prefix);
        assert_true(slice_eq(name_of(&a->e[i]), name_of(&b->e[i])));
    }
}

/* Page by page with `max`, and one page of each size: always the model's entries. */
static void
check_pages(struct fix *f, const struct model *m, struct store_list_spec spec)
{
    static struct entries want, got;
    char after[TEXT_MAX];
    bool truncated = true;
    model_list(m, &spec, &want);
    got.count = 0;
    got.stop_at = 0;
    while (truncated) {
        size_t before = got.count;
        assert_int_equal(store_list(f->store, &spec, collect, &got, &truncated), ERR_NONE);
        assert_true(got.count - before <= (size_t)spec.max);
        if (!truncated)
            break;
        assert_int_equal(got.count - before, spec.max);
        memcpy(after, got.e[got.count - 1].text, got.e[got.count - 1].n);
        spec.after = slice_of(after, got.e[got.count - 1].n);
    }
    same(&want, &got);
}

static const char *const pieces[] = {"a",    "b",        "/",        "//",   "\xff",     "\xff\xff",
                                     "\x7f", "\xc3\xa4", "\xf4\x8f", "a/b/", "\xef\xbf", "-"};

static size_t
random_text(uint64_t *seed, char *out, size_t pieces_max)
{
    size_t n = 0, count = fix_random(seed) % (pieces_max + 1);
    for (size_t i = 0; i < count; i++) {
        const char *piece = pieces[fix_random(seed) % ARRAY_LEN(pieces)];
        memcpy(out + n, piece, strlen(piece));
        n += strlen(piece);
        if (fix_random(seed) % 20 == 0)
            out[n++] = '\0';
    }
    return n;
}

static void
put_key(struct fix *f, struct slice key)
{
    struct fix_put p;
    fix_put_spec(&p, "photos", key, key);
    assert_int_equal(fix_put_run(f, &p, key), ERR_NONE);
}

static void
random_keys(void **state)
{
    struct fix *f = *state;
    struct model *m = chk_calloc(1, sizeof *m);
    uint64_t seed = 42;
    char text[3][TEXT_MAX];
    for (int i = 0; i < 150; i++) {
        size_t n = random_text(&seed, text[0], 6);
        if (n == 0)
            continue;
        model_add(m, slice_of(text[0], n));
        put_key(f, slice_of(text[0], n));
    }
    for (int i = 0; i < 1500; i++) {
        struct store_list_spec spec = {.bucket = SLICE_LIT("photos")};
        spec.prefix = slice_of(text[0], random_text(&seed, text[0], 2));
        spec.delimiter = slice_of(text[1], random_text(&seed, text[1], 2));
        spec.after = slice_of(text[2], random_text(&seed, text[2], 4));
        if (fix_random(&seed) % 3 == 0)
            spec.after = key_of(m, fix_random(&seed) % m->count);
        spec.max = fix_random(&seed) % 2 == 0 ? 1000 : 1 + (int)(fix_random(&seed) % 7);
        check_pages(f, m, spec);
    }
    free(m);
}

static void
edges(void **state)
{
    struct fix *f = *state;
    static struct entries got;
    static char longest[STORE_KEY_MAX + 300];
    bool truncated = true;
    struct store_list_spec spec = {.bucket = SLICE_LIT("photos"), .max = 10};
    got = (struct entries){.count = 0};
    assert_int_equal(store_list(f->store, &spec, collect, &got, &truncated), ERR_NONE);
    assert_true(got.count == 0 && !truncated);
    put_key(f, SLICE_LIT("a/1"));
    put_key(f, SLICE_LIT("a/2"));
    put_key(f, SLICE_LIT("b"));
    spec.max = 0;
    assert_int_equal(store_list(f->store, &spec, collect, &got, &truncated), ERR_NONE);
    assert_true(got.count == 0 && !truncated);
    spec.max = 3;
    assert_int_equal(store_list(f->store, &spec, collect, &got, &truncated), ERR_NONE);
    assert_true(got.count == 3 && !truncated);
    got.count = 0;
    got.stop_at = 1;
    assert_int_equal(store_list(f->store, &spec, collect, &got, &truncated), ERR_NONE);
    assert_true(got.count == 1 && truncated);
    memset(longest, 'a', sizeof longest);
    got = (struct entries){.count = 0};
    spec.prefix = slice_of(longest, sizeof longest);
    assert_int_equal(store_list(f->store, &spec, collect, &got, &truncated), ERR_NONE);
    assert_int_equal(got.count, 0);
    spec.prefix = SLICE_NONE;
    spec.after = slice_of(longest, sizeof longest);
    assert_int_equal(store_list(f->store, &spec, collect, &got, &truncated), ERR_NONE);
    assert_int_equal(got.count, 1); /* "b" */
    spec.bucket = SLICE_LIT("nobody");
    assert_int_equal(store_list(f->store, &spec, collect, &got, &truncated), ERR_NOPARENT);
}

struct fill {
    struct fix_put p;
    int from, to;
};

static int
fill_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    struct fill *fill = arg;
    int err = ERR_NONE;
    char key[64];
    for (int i = fill->from; i < fill->to && err == ERR_NONE; i++) {
        snprintf(key, sizeof key, "folder%d/%06d", i % 4, i);
        fill->p.spec.key = slice_str(key);
        err = store_apply_put(f->store, conn, &fill->p.spec, fill->p.put, &fill->p.result);
    }
    return err;
}

/* Four folders of 5,000 keys are four entries of one page, in one short read. */
static void
folders_are_skipped(void **state)
{
    struct fix *f = *state;
    static struct entries got;
    bool truncated;
    struct fill fill = {.from = 0, .to = 20000};
    struct store_list_spec spec = {
        .bucket = SLICE_LIT("photos"), .delimiter = SLICE_LIT("/"), .max = 1000};
    fix_put_spec(&fill.p, "photos", SLICE_NONE, SLICE_NONE);
    fill.p.put = fix_sealed_put(f, SLICE_NONE, 0);
    assert_int_equal(fix_run(f, fill_apply, &fill), ERR_NONE);
    store_put_end(&fill.p.put);
    for (int turn = 0; turn < 3; turn++) {
        got = (struct entries){.count = 0};
        assert_int_equal(store_list(f->store, &spec, collect, &got, &truncated), ERR_NONE);
        assert_true(got.count == 4 && !truncated);
    }
    assert_true(slice_eqs(name_of(&got.e[3]), "folder3/"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        FIX_TEST(random_keys),
        FIX_TEST(edges),
        FIX_TEST(folders_are_skipped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
