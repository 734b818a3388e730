/*
 * Versions against a model: a list of versions per key. Seeded random puts, copies, deletions with
 * and without a version id, versioning enabled and suspended; after each the store must say what
 * the model says: what is current, every version by id, the listing in pages of every size, the
 * hook's kinds and generations, and no byte too many.
 */
#include "base/clock.h"
#include "tests/objectstore/fixture.h"

#define KEYS 4
#define VERSIONS_MAX 400
#define BIG 70000 /* above STORE_INLINE_MAX: a file */
#define ROUNDS 350

struct version {
    char id[STORE_VERSION_ID_MAX];
    bool marker;
    uint64_t content;
    size_t size;
};

struct key_model { /* oldest first */
    struct version v[VERSIONS_MAX];
    size_t count;
};

struct told {
    enum store_change_kind kind[4];
    int64_t generation[4];
    size_t count;
};

static const char *const names[KEYS] = {"a", "b", "b/x", "b/y"};
static struct key_model model[KEYS];
static struct told told;

static int
listen(void *arg, struct db_conn *conn, const struct store_change *change)
{
    (void)arg;
    (void)conn;
    assert_true(told.count < ARRAY_LEN(told.kind));
    assert_non_null(change->version_id);
    assert_true((change->object != NULL) ==
                (change->kind <= STORE_CREATED_MULTIPART || change->kind >= STORE_TAGGED ||
                 change->kind == STORE_RESTORED));
    if (change->object != NULL)
        assert_int_equal(change->object->generation, change->generation);
    told.kind[told.count] = change->kind;
    told.generation[told.count++] = change->generation;
    return ERR_NONE;
}

static int
setup(void **state)
{
    int err = fix_setup(state);
    struct fix *f = *state;
    f->hooks.changed = listen;
    fix_reopen(f);
    memset(model, 0, sizeof model);
    return err;
}

/* ---- the model ---- */

static struct version *
newest(struct key_model *k)
{
    return k->count == 0 ? NULL : &k->v[k->count - 1];
}

static void
forget(struct key_model *k, size_t at)
{
    memmove(&k->v[at], &k->v[at + 1], (k->count - at - 1) * sizeof k->v[0]);
    k->count--;
}

static struct version *
by_id(struct key_model *k, const char *id)
{
    for (size_t i = 0; i < k->count; i++) {
        if (strcmp(k->v[i].id, id) == 0)
            return &k->v[i];
    }
    return NULL;
}

static void
add(struct key_model *k, const struct version *v)
{
    struct version *old = strcmp(v->id, "null") == 0 ? by_id(k, "null") : NULL;
    if (old != NULL)
        forget(k, (size_t)(old - k->v));
    assert_true(k->count < VERSIONS_MAX);
    k->v[k->count++] = *v;
}

/* ---- one step each ---- */

static int
versioning_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    return store_apply_bucket_versioning(f->store, conn, SLICE_LIT("photos"),
                                         *(const enum store_versioning *)arg);
}

static void
check_id(const char *id, enum store_versioning now)
{
    if (now == STORE_VERSIONING_OFF)
        assert_string_equal(id, "");
    else if (now == STORE_VERSIONING_SUSPENDED)
        assert_string_equal(id, "null");
    else
        assert_int_equal(strlen(id), 16);
}

static void
step_put(struct fix *f, int k, uint64_t seed, enum store_versioning now)
{
    struct version v = {.content = seed, .size = seed % 3 == 0 ? BIG : seed % 500};
    struct slice bytes = fix_bytes(v.content, v.size);
    struct fix_put p;
    fix_put_spec(&p, "photos", slice_str(names[k]), bytes);
    told.count = 0;
    assert_int_equal(fix_put_run(f, &p, bytes), ERR_NONE);
    fix_free(&bytes);
    assert_int_equal(told.count, 1);
    assert_int_equal(told.kind[0], STORE_CREATED_PUT);
    assert_int_equal(told.generation[0], p.result.generation);
    check_id(p.result.version_id, now);
    snprintf(v.id, sizeof v.id, "%s", now == STORE_VERSIONING_OFF ? "null" : p.result.version_id);
    add(&model[k], &v);
}

static void
step_delete(struct fix *f, int k, enum store_versioning now)
{
    struct key_model *m = &model[k];
    struct version *top = newest(m);
    bool had = top != NULL && !top->marker;
    struct fix_delete d = {.spec = {.bucket = SLICE_LIT("photos"), .key = slice_str(names[k])}};
    told.count = 0;
    assert_int_equal(fix_run(f, fix_delete_apply, &d), ERR_NONE);
    assert_int_equal(d.result.existed, had);
    check_id(d.result.version_id, now);
    if (now == STORE_VERSIONING_OFF) {
        assert_int_equal(told.count, had);
        assert_true(!had || told.kind[0] == STORE_REMOVED);
        m->count = 0;
        return;
    }
    struct version v = {.marker = true};
    assert_int_equal(told.count, 1);
    assert_int_equal(told.kind[0], STORE_REMOVED_MARKER);
    snprintf(v.id, sizeof v.id, "%s", d.result.version_id);
    add(m, &v);
}

static void
step_delete_version(struct fix *f, int k, size_t at)
{
    struct key_model *m = &model[k];
    struct version v = m->v[at];
    bool was_top = at == m->count - 1;
    struct fix_delete d = {.spec = {.bucket = SLICE_LIT("photos"),
                                    .key = slice_str(names[k]),
                                    .version_id = slice_str(v.id)}};
    told.count = 0;
    assert_int_equal(fix_run(f, fix_delete_apply, &d), ERR_NONE);
    assert_true(d.result.existed);
    assert_int_equal(d.result.marker, v.marker);
    assert_string_equal(d.result.version_id, v.id);
    forget(m, at);
    bool restored = was_top && m->count > 0 && !newest(m)->marker;
    bool removed = was_top && !v.marker && !restored;
    assert_int_equal(told.count, restored ? 2 : 1);
    assert_int_equal(told.kind[0], removed ? STORE_REMOVED : STORE_REMOVED_VERSION);
    assert_true(!restored || told.kind[1] == STORE_RESTORED);
    /* Gone already: nothing happens. */
    told.count = 0;
    assert_int_equal(fix_run(f, fix_delete_apply, &d), ERR_NONE);
    assert_false(d.result.existed);
    assert_int_equal(told.count, 0);
}

/* ---- what the store says ---- */

static void
check_bytes(struct fix *f, const struct store_object *o, const struct version *v)
{
    char *got = NULL;
    struct slice want = fix_bytes(v->content, v->size);
    assert_int_equal(o->size, v->size);
    assert_int_equal(fix_read(f, o, 0, o->size, &got), ERR_NONE);
    assert_true(v->size == 0 || memcmp(got, want.p, v->size) == 0);
    free(got);
    fix_free(&want);
}

static void
check_key(struct fix *f, int k)
{
    struct key_model *m = &model[k];
    const struct store_object *o = NULL;
    struct slice bucket = SLICE_LIT("photos"), key = slice_str(names[k]);
    const struct version *top = newest(m);
    int err = store_get(f->store, bucket, key, &o);
    assert_int_equal(err, top == NULL || top->marker ? ERR_NOTFOUND : ERR_NONE);
    if (err == ERR_NONE) {
        assert_string_equal(o->version_id, top->id);
        check_bytes(f, o, top);
        store_object_unref(&o);
    }
    err = store_get_version(f->store, bucket, key, SLICE_NONE, &o);
    assert_int_equal(err, top == NULL ? ERR_NOTFOUND : ERR_NONE);
    if (err == ERR_NONE) {
        assert_true(o->is_latest && o->is_marker == top->marker);
        assert_string_equal(o->version_id, top->id);
        store_object_unref(&o);
    }
    for (size_t i = 0; i < m->count; i++) {
        err = store_get_version(f->store, bucket, key, slice_str(m->v[i].id), &o);
        assert_int_equal(err, ERR_NONE);
        assert_int_equal(o->is_latest, i == m->count - 1);
        assert_int_equal(o->is_marker, m->v[i].marker);
        if (!o->is_marker)
            check_bytes(f, o, &m->v[i]);
        store_object_unref(&o);
    }
}

struct page {
    int k; /* the next expected version: key, versions from the newest */
    size_t from_top;
    size_t given;
    char name[8];
    char id[STORE_VERSION_ID_MAX];
};

static int
page_entry(void *arg, const struct store_list_entry *e)
{
    struct page *p = arg;
    while (p->k < KEYS && p->from_top == model[p->k].count) {
        p->k++;
        p->from_top = 0;
    }
    assert_true(p->k < KEYS);
    const struct key_model *m = &model[p->k];
    const struct version *v = &m->v[m->count - 1 - p->from_top];
    assert_true(slice_eqs(e->name, names[p->k]));
    assert_string_equal(e->version_id, v->id);
    assert_int_equal(e->is_marker, v->marker);
    assert_int_equal(e->is_latest, p->from_top == 0);
    assert_int_equal(e->noncurrent_ms != 0, p->from_top != 0);
    assert_int_equal(e->size, v->marker ? 0 : v->size);
    p->from_top++;
    p->given++;
    snprintf(p->name, sizeof p->name, "%s", names[p->k]);
    snprintf(p->id, sizeof p->id, "%s", v->id);
    return 0;
}

static void
check_list(struct fix *f, int max)
{
    struct store_list_spec spec = {.bucket = SLICE_LIT("photos"), .max = max};
    struct page p = {.k = 0};
    size_t want = 0;
    bool more = true;
    for (int k = 0; k < KEYS; k++)
        want += model[k].count;
    while (more) {
        assert_int_equal(store_list_versions(f->store, &spec, page_entry, &p, &more), ERR_NONE);
        spec.after = slice_str(p.name);
        spec.after_version = slice_str(p.id);
    }
    assert_int_equal(p.given, want);
}

/* Every version's bytes and not one more. */
static void
check_room(struct fix *f)
{
    int64_t objects = 0, files = 0;
    for (int k = 0; k < KEYS; k++) {
        for (size_t i = 0; i < model[k].count; i++) {
            objects += !model[k].v[i].marker && model[k].v[i].size > 0;
            files += !model[k].v[i].marker && model[k].v[i].size == BIG;
        }
    }
    fix_settle(f);
    assert_int_equal(fix_files(f), files);
    assert_true(fix_count(f, FIX_BLOBS) >= objects);
}

static void
random_history(void **state)
{
    struct fix *f = *state;
    enum store_versioning now = STORE_VERSIONING_OFF;
    uint64_t seed = 20261121;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t r = fix_random(&seed);
        int k = (int)(r % KEYS);
        r /= KEYS;
        if (round > 60 && r % 17 == 0) {
            now = now == STORE_VERSIONING_ENABLED ? STORE_VERSIONING_SUSPENDED
                                                  : STORE_VERSIONING_ENABLED;
            assert_int_equal(fix_run(f, versioning_apply, &now), ERR_NONE);
        } else if (r % 5 < 2) {
            step_put(f, k, r, now);
        } else if (r % 5 == 2) {
            step_delete(f, k, now);
        } else if (model[k].count > 0) {
            step_delete_version(f, k, r % 5 == 3 ? model[k].count - 1 : r / 5 % model[k].count);
        }
        check_key(f, k);
        check_list(f, 1 + (int)(r % 7));
        check_room(f);
    }
    check_list(f, 1000);
    fix_reopen(f);
    for (int k = 0; k < KEYS; k++) {
        while (model[k].count > 0)
            step_delete_version(f, k, 0);
    }
    check_room(f);
    assert_int_equal(fix_count(f, FIX_BLOBS), 0);
    assert_int_equal(fix_bucket_drop(f, "photos"), ERR_NONE);
}

/* ---- single rules ---- */

static void
bucket_not_empty(void **state)
{
    struct fix *f = *state;
    enum store_versioning on = STORE_VERSIONING_ENABLED;
    assert_int_equal(fix_run(f, versioning_apply, &on), ERR_NONE);
    step_delete(f, 0, on); /* a lone marker */
    assert_int_equal(fix_bucket_drop(f, "photos"), ERR_NOTEMPTY);
    step_delete_version(f, 0, 0);
    assert_int_equal(fix_bucket_drop(f, "photos"), ERR_NONE);
}

static void
wrong_ids(void **state)
{
    struct fix *f = *state;
    const struct store_object *o = NULL;
    step_put(f, 0, 1, STORE_VERSIONING_OFF);
    static const struct {
        const char *id;
        int err;
    } cases[] = {{"null", ERR_NONE},
                 {"0000000000000001", ERR_NOTFOUND},
                 {"0000000000000000", ERR_INVALID},
                 {"000000000000000A", ERR_INVALID},
                 {"ffffffffffffffff", ERR_INVALID},
                 {"NULL", ERR_INVALID},
                 {"1", ERR_INVALID},
                 {"00000000000000011", ERR_INVALID}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(store_get_version(f->store, SLICE_LIT("photos"), slice_str(names[0]),
                                           slice_str(cases[i].id), &o),
                         cases[i].err);
        store_object_unref(&o);
    }
}

static int
object_lock_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    (void)arg;
    return store_apply_bucket_object_lock(f->store, conn, SLICE_LIT("photos"));
}

struct attribute {
    struct store_attribute_spec spec;
    char version_id[STORE_VERSION_ID_MAX];
};

static int
attribute_apply(struct fix *f, struct db_conn *conn, void *arg)
{
    struct attribute *a = arg;
    return store_apply_attribute(f->store, conn, &a->spec, a->version_id);
}

static int
attribute_set(struct fix *f, const struct store_attribute_spec *spec)
{
    struct attribute a = {.spec = *spec};
    told.count = 0;
    a.spec.bucket = SLICE_LIT("photos");
    a.spec.key = slice_str(names[0]);
    return fix_run(f, attribute_apply, &a);
}

static int
delete_locked(struct fix *f, const char *id, bool bypass)
{
    struct fix_delete d = {.spec = {.bucket = SLICE_LIT("photos"),
                                    .key = slice_str(names[0]),
                                    .version_id = slice_str(id),
                                    .bypass_governance = bypass}};
    told.count = 0;
    return fix_run(f, fix_delete_apply, &d);
}

static void
locks(void **state)
{
    struct fix *f = *state;
    enum store_versioning off = STORE_VERSIONING_SUSPENDED;
    int64_t far = clock_wall_ms() + 3600 * 1000;
    struct store_attribute_spec set = {.attribute = STORE_ATTR_RETENTION};
    assert_int_equal(fix_run(f, object_lock_apply, NULL), ERR_NONE);
    assert_int_equal(fix_run(f, versioning_apply, &off), ERR_CONFLICT);
    step_put(f, 0, 1, STORE_VERSIONING_ENABLED);
    const char *id = newest(&model[0])->id;
    set.lock = (struct store_lock){STORE_RETENTION_GOVERNANCE, far, false, false};
    assert_int_equal(attribute_set(f, &set), ERR_NONE);
    assert_int_equal(delete_locked(f, id, false), ERR_DENIED);
    set.lock.retain_until_ms = far - 1;
    assert_int_equal(attribute_set(f, &set), ERR_DENIED);
    set.bypass_governance = true;
    assert_int_equal(attribute_set(f, &set), ERR_NONE);
    set.lock = (struct store_lock){STORE_RETENTION_COMPLIANCE, far, false, false};
    set.bypass_governance = false; /* a stricter mode is another one, all the same */
    assert_int_equal(attribute_set(f, &set), ERR_DENIED);
    set.bypass_governance = true;
    assert_int_equal(attribute_set(f, &set), ERR_NONE);
    assert_int_equal(delete_locked(f, id, true), ERR_DENIED);
    set.lock.retention = STORE_RETENTION_GOVERNANCE;
    assert_int_equal(attribute_set(f, &set), ERR_DENIED);
    step_delete(f, 0, STORE_VERSIONING_ENABLED); /* a marker may always be put on top */
    set.version_id = slice_str(id);
    set.lock = (struct store_lock){STORE_RETENTION_COMPLIANCE, far + 1, false, false};
    assert_int_equal(attribute_set(f, &set), ERR_NONE); /* of a noncurrent version */
    assert_int_equal(delete_locked(f, id, true), ERR_DENIED);
    set.version_id = slice_str(newest(&model[0])->id);
    assert_int_equal(attribute_set(f, &set), ERR_UNSUPPORTED);
}

static void
holds_and_tags(void **state)
{
    struct fix *f = *state;
    const struct store_object *o = NULL;
    assert_int_equal(fix_run(f, object_lock_apply, NULL), ERR_NONE);
    step_put(f, 0, 1, STORE_VERSIONING_ENABLED);
    step_put(f, 0, 2, STORE_VERSIONING_ENABLED);
    const char *old = model[0].v[0].id;
    struct store_attribute_spec set = {
        .attribute = STORE_ATTR_HOLD, .version_id = slice_str(old), .lock = {.legal_hold = true}};
    assert_int_equal(attribute_set(f, &set), ERR_NONE);
    assert_int_equal(delete_locked(f, old, true), ERR_DENIED);
    set.attribute = STORE_ATTR_TAGS;
    set.value = SLICE_LIT("colour");
    assert_int_equal(attribute_set(f, &set), ERR_NONE);
    assert_int_equal(told.kind[0], STORE_TAGGED);
    set.attribute = STORE_ATTR_ACL;
    set.version_id = SLICE_NONE;
    assert_int_equal(attribute_set(f, &set), ERR_NONE);
    assert_int_equal(told.kind[0], STORE_ACL_SET);
    assert_int_equal(store_get(f->store, SLICE_LIT("photos"), slice_str(names[0]), &o), ERR_NONE);
    assert_true(slice_eqs(o->acl, "colour") && o->tags.n == 0 && !o->lock.legal_hold);
    store_object_unref(&o);
    assert_int_equal(
        store_get_version(f->store, SLICE_LIT("photos"), slice_str(names[0]), slice_str(old), &o),
        ERR_NONE);
    assert_true(slice_eqs(o->tags, "colour") && o->acl.n == 0 && o->lock.legal_hold);
    store_object_unref(&o);
    set.attribute = STORE_ATTR_HOLD;
    set.version_id = slice_str(old);
    set.lock.legal_hold = false;
    assert_int_equal(attribute_set(f, &set), ERR_NONE);
    assert_int_equal(delete_locked(f, old, false), ERR_NONE);
}

/* Permission was judged by a version; a newer one is none of its business. */
static void
overtaken(void **state)
{
    struct fix *f = *state;
    const struct store_object *judged = NULL, *now = NULL;
    const struct slice bucket = SLICE_LIT("photos"), key = slice_str(names[0]);
    struct store_attribute_spec set = {.attribute = STORE_ATTR_TAGS, .value = SLICE_LIT("colour")};
    step_put(f, 0, 1, STORE_VERSIONING_OFF);
    assert_int_equal(store_get(f->store, bucket, key, &judged), ERR_NONE);
    set.only_seq = judged->seq;
    store_object_unref(&judged);
    step_put(f, 0, 2, STORE_VERSIONING_OFF);
    assert_int_equal(attribute_set(f, &set), ERR_STALE);
    assert_int_equal(told.count, 0);
    assert_int_equal(store_get(f->store, bucket, key, &now), ERR_NONE);
    assert_int_equal(now->tags.n, 0);
    set.only_seq = now->seq;
    store_object_unref(&now);
    assert_int_equal(attribute_set(f, &set), ERR_NONE);
}

static void
classes(void **state)
{
    (void)state;
    for (int i = 0; i < STORE_CLASS_COUNT; i++) {
        enum store_class c = STORE_CLASS_COUNT;
        const char *name = store_class_name((enum store_class)i);
        assert_int_equal(store_class_parse(slice_str(name), &c), ERR_NONE);
        assert_int_equal(c, i);
    }
    enum store_class c;
    assert_int_equal(store_class_parse(SLICE_LIT("standard"), &c), ERR_INVALID);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(random_history, setup, fix_teardown),
        cmocka_unit_test_setup_teardown(bucket_not_empty, setup, fix_teardown),
        cmocka_unit_test_setup_teardown(wrong_ids, setup, fix_teardown),
        cmocka_unit_test_setup_teardown(locks, setup, fix_teardown),
        cmocka_unit_test_setup_teardown(holds_and_tags, setup, fix_teardown),
        cmocka_unit_test_setup_teardown(overtaken, setup, fix_teardown),
        cmocka_unit_test(classes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
