/*
 * The graph bucket -> function -> derived bucket over the rules of all buckets, prefixes ignored.
 * An edge is one function that reads one bucket and writes another. It is loaded whole, sorted by
 * source, and walked in depth: an edge is NEW, ON the path, or DONE; meeting an edge that is ON the
 * path is a cycle, and the path from there names it.
 *
 * Rows of deleted buckets may still be there. They are removed only when the graph looks wrong
 * with them, and then it is judged again.
 */
#include "base/chk.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/err.h"
#include "pipeline/rule.h"

#include <stdlib.h>

#define GRAPH_ARENA_BYTES (64u << 20)
#define GRAPH_EDGES_MAX 100000

enum edge_mark { EDGE_NEW, EDGE_ON, EDGE_DONE };

struct edge {
    struct slice source;
    struct slice function;
    struct slice target;
    int64_t source_id;
    enum edge_mark mark;
    size_t next; /* successor to look at */
};

struct graph {
    struct edge *edges;
    size_t count;
};

static int
by_source(const void *a, const void *b)
{
    return slice_cmp(((const struct edge *)a)->source, ((const struct edge *)b)->source);
}

static int
by_target(const void *a, const void *b)
{
    return slice_cmp((*(struct edge *const *)a)->target, (*(struct edge *const *)b)->target);
}

/* First edge with this source, or g->count. */
static size_t
edges_from(const struct graph *g, struct slice source)
{
    size_t low = 0, high = g->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (slice_cmp(g->edges[mid].source, source) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low < g->count && slice_eq(g->edges[low].source, source) ? low : g->count;
}

/* ---- loading ---- */

static int
edge_add(struct graph *g, struct arena *a, struct db_stmt *s, const struct function *f,
         struct buf *why)
{
    char target[NATIVE_BUCKET_MAX + 1];
    struct slice source = db_column_blob(s, 1);
    int err = native_derived_bucket(&f->native, source, target);
    if (err == ERR_TOOBIG || err == ERR_INVALID) {
        buf_printf(
            why, "The derived bucket of %.*s for %.*s %s.", SLICE_FMT(source), SLICE_FMT(f->name),
            err == ERR_TOOBIG ? "would be longer than 63 characters" : "would have no valid name");
        return ERR_INVALID;
    }
    if (target[0] == '\0')
        return err;
    if (g->count == GRAPH_EDGES_MAX)
        return ERR_NOMEM;
    struct edge *e = &g->edges[g->count++];
    *e = (struct edge){.source_id = db_column_int(s, 0),
                       .source = arena_dup(a, source),
                       .function = f->name,
                       .target = arena_dup(a, slice_str(target))};
    return e->source.p == NULL || e->target.p == NULL ? ERR_NOMEM : err;
}

static int
graph_load(struct graph *g, struct arena *a, struct db_conn *conn, const struct function_set *set,
           int64_t bucket_id, struct buf *why)
{
    int rc;
    *g = (struct graph){.edges = chk_malloc(GRAPH_EDGES_MAX * sizeof *g->edges)};
    struct db_stmt *s = db_prepare(conn, "SELECT DISTINCT bucket_id, bucket, function FROM rule "
                                         "WHERE ?1 = 0 OR bucket_id = ?1");
    db_bind_int(s, 1, bucket_id);
    while ((rc = db_step(s)) == DB_ROW) {
        const struct function *f = registry_find(set, db_column_blob(s, 2));
        int err = f == NULL ? ERR_NONE : edge_add(g, a, s, f, why);
        if (err != ERR_NONE) {
            db_reset(s);
            return err;
        }
    }
    if (g->count > 1)
        qsort(g->edges, g->count, sizeof *g->edges, by_source);
    return rc;
}

/* ---- judging ---- */

static int
name_cycle(const struct graph *g, const size_t *path, size_t from, size_t depth, struct buf *why)
{
    buf_puts(why, "This would close a cycle: ");
    buf_put_slice(why, g->edges[path[from]].source);
    for (size_t i = from; i < depth; i++) {
        const struct edge *e = &g->edges[path[i]];
        buf_printf(why, " -> %.*s -> %.*s", SLICE_FMT(e->function), SLICE_FMT(e->target));
    }
    return ERR_LOOP;
}

/* Everything that can be reached from one edge. `path` has room for all edges. */
static int
walk(struct graph *g, size_t start, size_t *path, struct buf *why)
{
    size_t depth = 0;
    path[depth++] = start;
    g->edges[start].mark = EDGE_ON;
    g->edges[start].next = edges_from(g, g->edges[start].target);
    while (depth > 0) {
        struct edge *e = &g->edges[path[depth - 1]];
        if (e->next >= g->count || !slice_eq(g->edges[e->next].source, e->target)) {
            e->mark = EDGE_DONE;
            depth--;
            continue;
        }
        size_t n = e->next++;
        if (g->edges[n].mark == EDGE_ON) {
            size_t from = 0;
            while (path[from] != n)
                from++;
            return name_cycle(g, path, from, depth, why);
        }
        if (g->edges[n].mark == EDGE_NEW) {
            g->edges[n].mark = EDGE_ON;
            g->edges[n].next = edges_from(g, g->edges[n].target);
            path[depth++] = n;
        }
    }
    return ERR_NONE;
}

static int
check_cycles(struct graph *g, struct buf *why)
{
    size_t *path = chk_calloc(g->count + 1, sizeof *path);
    int err = ERR_NONE;
    for (size_t i = 0; i < g->count && err == ERR_NONE; i++) {
        if (g->edges[i].mark == EDGE_NEW)
            err = walk(g, i, path, why);
    }
    free(path);
    return err;
}

/* Two sources on one derived bucket would overwrite and remove each other's objects. */
static int
check_targets(struct graph *g, struct buf *why)
{
    struct edge **sorted = chk_calloc(g->count + 1, sizeof(struct edge *));
    int err = ERR_NONE;
    for (size_t i = 0; i < g->count; i++)
        sorted[i] = &g->edges[i];
    qsort(sorted, g->count, sizeof(struct edge *), by_target);
    for (size_t i = 1; i < g->count && err == ERR_NONE; i++) {
        if (!slice_eq(sorted[i - 1]->target, sorted[i]->target))
            continue;
        buf_printf(why, "The buckets %.*s and %.*s would both derive into %.*s.",
                   SLICE_FMT(sorted[i - 1]->source), SLICE_FMT(sorted[i]->source),
                   SLICE_FMT(sorted[i]->target));
        err = ERR_INVALID;
    }
    free(sorted);
    return err;
}

int
rule_graph_judge(struct db_conn *conn, const struct function_set *set, struct buf *why)
{
    struct graph g = {NULL, 0};
    struct arena *a = arena_new(GRAPH_ARENA_BYTES);
    if (a == NULL)
        return ERR_NOMEM;
    int err = graph_load(&g, a, conn, set, 0, why);
    if (err == ERR_NONE)
        err = check_cycles(&g, why);
    if (err == ERR_NONE)
        err = check_targets(&g, why);
    free(g.edges);
    arena_free(&a);
    return err;
}

struct stale {
    int64_t id;
    struct slice name;
    struct stale *next;
};

/* Removes the rules of buckets that are gone; true when there were any. */
static bool
drop_stale(struct registry *r, struct db_conn *conn)
{
    struct stale *list = NULL;
    bool any = false;
    struct arena *a = arena_new(GRAPH_ARENA_BYTES);
    if (a == NULL)
        return false;
    struct db_stmt *s = db_prepare(conn, "SELECT DISTINCT bucket_id, bucket FROM rule");
    while (db_step(s) == DB_ROW) {
        struct stale *b = arena_alloc(a, sizeof *b);
        if (b == NULL)
            break;
        *b = (struct stale){db_column_int(s, 0), arena_dup(a, db_column_blob(s, 1)), list};
        list = b;
    }
    db_reset(s);
    for (; list != NULL; list = list->next) {
        int64_t id = 0;
        struct slice owner;
        int err = store_apply_bucket_get(registry_store(r), conn, list->name, &id, a, &owner);
        if (err == ERR_NONE && id == list->id)
            continue;
        if (err != ERR_NONE && err != ERR_NOTFOUND && err != ERR_NOPARENT)
            continue;
        s = db_prepare(conn, "DELETE FROM rule WHERE bucket_id = ?1");
        db_bind_int(s, 1, list->id);
        any = db_run(s) == ERR_NONE || any;
    }
    arena_free(&a);
    return any;
}

int
rule_graph_check(struct registry *r, struct db_conn *conn, const struct function_set *set,
                 struct buf *why)
{
    int err = rule_graph_judge(conn, set, why);
    if ((err == ERR_LOOP || err == ERR_INVALID || err == ERR_NOMEM) && drop_stale(r, conn)) {
        buf_reset(why);
        err = rule_graph_judge(conn, set, why);
    }
    return err;
}

/* ---- what rules need ---- */

static int
make_bucket(struct registry *r, struct db_conn *conn, struct arena *a, const struct edge *e,
            struct buf *why)
{
    struct store *store = registry_store(r);
    struct slice owner, target_owner;
    int64_t id;
    bool same = false;
    int err = store_apply_bucket_get(store, conn, e->source, &id, a, &owner);
    if (err == ERR_NOTFOUND || err == ERR_NOPARENT)
        return ERR_NONE; /* rules of a deleted bucket */
    if (err != ERR_NONE)
        return err;
    err = store_apply_bucket_get(store, conn, e->target, &id, a, &target_owner);
    if (err == ERR_NOTFOUND || err == ERR_NOPARENT)
        return store_apply_bucket_create(store, conn, e->target, owner, SLICE_NONE, &same);
    if (err == ERR_NONE && !slice_eq(owner, target_owner)) {
        buf_printf(why, "The derived bucket %.*s belongs to another account.",
                   SLICE_FMT(e->target));
        err = ERR_INVALID;
    }
    return err;
}

static int
make_table(struct db_conn *conn, struct arena *a, struct slice name, struct buf *why)
{
    struct table table;
    uint8_t noise[16];
    char uuid[2 * sizeof noise + 1];
    int err = name.n == 0 ? ERR_NONE : table_find(conn, a, name, &table);
    if (err == ERR_NONE && name.n > 0 &&
        (!slice_eqs(table.partition.name, "bucket") || table.partition.type != ATTR_S ||
         !slice_eqs(table.sort.name, "key") || table.sort.type != ATTR_S)) {
        buf_printf(why, "The table %.*s needs the string keys bucket (partition) and key (sort).",
                   SLICE_FMT(name));
        return ERR_INVALID;
    }
    if (err != ERR_NOPARENT)
        return err;
    random_bytes(noise, sizeof noise);
    hex_encode(noise, sizeof noise, uuid);
    const char *text = arena_printf(a, "%.8s-%.4s-%.4s-%.4s-%.12s", uuid, uuid + 8, uuid + 12,
                                    uuid + 16, uuid + 20);
    if (text == NULL)
        return ERR_NOMEM;
    table = (struct table){.name = name,
                           .partition = {SLICE_LIT("bucket"), ATTR_S},
                           .sort = {SLICE_LIT("key"), ATTR_S},
                           .created_ms = clock_wall_ms(),
                           .account_id = SLICE_LIT("000000000000"),
                           .uuid = slice_str(text)};
    return table_apply_create(conn, &table);
}

int
rule_apply_targets_of(struct registry *r, struct db_conn *conn, const struct function_set *set,
                      int64_t bucket_id, struct buf *why)
{
    struct graph g = {NULL, 0};
    struct arena *a = arena_new(GRAPH_ARENA_BYTES);
    if (a == NULL)
        return ERR_NOMEM;
    int err = graph_load(&g, a, conn, set, bucket_id, why);
    for (size_t i = 0; i < g.count && err == ERR_NONE; i++)
        err = make_bucket(r, conn, a, &g.edges[i], why);
    if (err == ERR_NONE)
        err = make_table(conn, a, registry_table(set), why);
    free(g.edges);
    arena_free(&a);
    return err;
}

int
rule_apply_targets(struct registry *r, struct db_conn *conn, const struct function_set *set,
                   struct buf *why)
{
    return rule_apply_targets_of(r, conn, set, 0, why);
}
