/*
 * The pages: which phase, where in it, when to stop. A page ends when its time is over or it holds
 * enough, between two objects or rows; a phase that ends makes room for the next one in the next
 * page, so that each page is of one phase.
 */
#include "pipeline/verify.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "objectstore/scrub.h"
#include "pipeline/native_item.h"
#include "pipeline/verify_priv.h"

#include <inttypes.h>

#define PAGE_KEYS 200
#define DEEP_PIECE ((int64_t)4 << 20) /* bytes read between two looks at the clock */

const char *
verify_kind_name(enum verify_kind k)
{
    static const char *const names[] = {
#define X(id, name) [VERIFY_##id] = name,
        VERIFY_KIND_LIST(X)
#undef X
    };
    return names[k];
}

struct verify_finding *
verify_add(struct verify *v, enum verify_kind kind, struct slice bucket, struct slice key,
           const char *what, const char *todo, enum verify_fix fix)
{
    struct arena *a = v->page->a;
    struct verify_finding *f = arena_alloc(a, sizeof *f);
    if (f == NULL)
        return NULL;
    *f = (struct verify_finding){.kind = kind,
                                 .fix = fix,
                                 .bucket = arena_dup(a, bucket),
                                 .key = arena_dup(a, key),
                                 .what = arena_dup(a, slice_str(what)),
                                 .todo = arena_dup(a, slice_str(todo))};
    if (f->bucket.p == NULL || f->key.p == NULL || f->what.p == NULL || f->todo.p == NULL)
        return NULL;
    *v->page->last = f;
    v->page->last = &f->next;
    v->page->count++;
    return f;
}

static bool
page_is_full(const struct verify *v)
{
    return v->page->count >= VERIFY_PAGE_FINDINGS || clock_mono_ms() >= v->until_ms;
}

/* ---- objects ---- */

struct keys {
    struct arena *a;
    struct slice list[PAGE_KEYS];
    size_t count;
    bool truncated;
};

static int
key_add(void *arg, const struct store_list_entry *e)
{
    struct keys *k = arg;
    k->list[k->count] = arena_dup(k->a, e->name);
    return k->list[k->count++].p == NULL;
}

struct next_bucket {
    struct arena *a;
    struct slice name;
};

static int
bucket_first(void *arg, const struct store_bucket *b)
{
    struct next_bucket *n = arg;
    n->name = arena_dup(n->a, b->name);
    return 1;
}

/* Reads the bytes from *at on; false: the page is full before their end. */
static int
object_bytes(struct verify *v, const struct store_object *o, struct slice bucket, int64_t *at,
             bool *whole)
{
    enum damage damage = DAMAGE_NONE;
    int err = ERR_NONE;
    char *what;
    if (o->size == 0)
        return ERR_NONE;
    do { /* at least a piece: an object that was judged is under way, and is not judged again */
        int64_t from = *at;
        err = scrub_object(v->store, o, at, DEEP_PIECE, &damage);
        v->page->bytes += *at - from;
    } while (err == ERR_NONE && damage == DAMAGE_NONE && *at < o->size && !page_is_full(v));
    *whole = damage != DAMAGE_NONE || *at >= o->size;
    if (err != ERR_NONE || damage == DAMAGE_NONE)
        return err == ERR_STALE ? (*whole = true, ERR_NONE) : err;
    what = arena_printf(v->page->a, "%s", damage_text(damage));
    struct verify_finding *f =
        what == NULL ? NULL
                     : verify_add(v, VERIFY_DAMAGED, bucket, o->key, what,
                                  o->by_function ? "it is made again of its source"
                                                 : "upload it again, or restore it from a backup",
                                  o->by_function ? VERIFY_FIX_REQUEUE : VERIFY_FIX_NONE);
    if (f == NULL)
        return ERR_NOMEM;
    f->bucket_id = o->bucket_id;
    f->id = o->generation;
    return ERR_NONE;
}

/* One object; *whole: it is done. `at` > 0: judged before, its bytes are under way. */
static int
object_run(struct verify *v, struct slice bucket, struct slice key, int64_t *at, bool *whole)
{
    const struct store_object *o = NULL;
    const struct store_bucket *b = NULL;
    *whole = true;
    v->damaged = false;
    int err = store_bucket_get(v->store, bucket, &b);
    if (err != ERR_NONE)
        return err == ERR_NOTFOUND ? ERR_NONE : err;
    v->scratch = arena_new(ITEM_ARENA_BYTES);
    err = v->scratch == NULL ? ERR_NOMEM : db_read_begin(v->spec->db, &v->conn);
    if (err != ERR_NONE)
        goto out;
    err = store_apply_get(v->store, v->conn, b->id, key, &o);
    if (err == ERR_NONE && *at == 0) {
        v->page->objects++;
        err = verify_object(v, bucket, o);
    }
    db_read_end(v->spec->db, &v->conn);
    if (err == ERR_NONE && v->spec->deep && !v->damaged)
        err = object_bytes(v, o, bucket, at, whole);
    if (err == ERR_NOTFOUND || err == ERR_NOPARENT) /* deleted since it was listed */
        err = ERR_NONE;
out:
    store_object_unref(&o);
    store_bucket_unref(&b);
    arena_free(&v->scratch);
    return err;
}

static int
keys_run(struct verify *v, struct verify_cursor *at, const struct keys *keys, bool *all)
{
    int err = ERR_NONE;
    size_t i = 0;
    for (; i < keys->count && err == ERR_NONE && !page_is_full(v); i++) {
        bool whole = true;
        int64_t bytes = slice_eq(keys->list[i], at->more) ? at->at : 0;
        err = object_run(v, at->bucket, keys->list[i], &bytes, &whole);
        at->more = whole ? SLICE_NONE : keys->list[i];
        at->at = whole ? 0 : bytes;
        if (!whole)
            break;
        at->key = keys->list[i];
    }
    *all = i == keys->count && !keys->truncated;
    return err;
}

static int
objects_page(struct verify *v, struct verify_cursor *at, bool *end)
{
    struct keys keys = {.a = v->page->a};
    struct next_bucket next = {.a = v->page->a};
    bool scoped = v->spec->bucket.n > 0, all = false;
    int err = ERR_NONE;
    if (at->bucket.n == 0 && scoped) {
        at->bucket = v->spec->bucket;
    } else if (at->bucket.n == 0) {
        err = store_bucket_list(v->store, SLICE_NONE, at->key, bucket_first, &next);
        at->bucket = next.name;
        at->key = SLICE_NONE;
    }
    *end = at->bucket.n == 0;
    if (err != ERR_NONE || *end)
        return err;
    struct store_list_spec list = {
        .bucket = at->bucket, .prefix = v->spec->prefix, .after = at->key, .max = PAGE_KEYS};
    err = store_list(v->store, &list, key_add, &keys, &keys.truncated);
    if (err == ERR_NOPARENT && !scoped)
        err = ERR_NONE; /* deleted since */
    if (err == ERR_NONE)
        err = keys_run(v, at, &keys, &all);
    if (err == ERR_NONE && all) { /* the next bucket: `key` says behind which one */
        at->key = at->bucket;
        at->bucket = SLICE_NONE;
        *end = scoped;
    }
    return err;
}

/* ---- the whole ---- */

static int
phase_run(struct verify *v, struct verify_cursor *at, bool *end)
{
    int err = ERR_NONE;
    if (at->phase == VERIFY_OBJECTS)
        return objects_page(v, at, end);
    *end = true;
    if (at->phase == VERIFY_COUNTS && v->spec->bucket.n > 0)
        return ERR_NONE;
    v->scratch = arena_new(ITEM_ARENA_BYTES);
    err = v->scratch == NULL ? ERR_NOMEM : db_read_begin(v->spec->db, &v->conn);
    if (err == ERR_NONE) {
        switch (at->phase) {
        case VERIFY_PROVENANCE:
            err = verify_provenance(v, at, end);
            break;
        case VERIFY_ITEMS:
            err = verify_items(v, at, end);
            break;
        case VERIFY_EVENTS:
            err = verify_events(v, at, end);
            break;
        default:
            err = verify_counts(v);
            break;
        }
        db_read_end(v->spec->db, &v->conn);
    }
    arena_free(&v->scratch);
    return err;
}

int
verify_page(const struct verify_spec *spec, const struct verify_cursor *from, struct arena *a,
            struct verify_page *page)
{
    struct verify v = {.spec = spec,
                       .store = registry_store(spec->registry),
                       .page = page,
                       .until_ms = clock_mono_ms() + VERIFY_PAGE_MS};
    bool end = false;
    CHK(from->phase < VERIFY_END);
    *page = (struct verify_page){.a = a, .last = &page->findings, .next = *from};
    int err = phase_run(&v, &page->next, &end);
    if (err != ERR_NONE)
        return err;
    if (end)
        page->next = (struct verify_cursor){.phase = from->phase + 1};
    if (spec->fix)
        err = verify_fix(&v);
    return err == ERR_NONE ? db_settle(spec->db) : err;
}
