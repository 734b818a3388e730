/*
 * Projections. The paths are sorted, so those that go through one attribute or element are
 * neighbours: the item is walked once, group by group, and what comes out is in order again.
 */
#include "base/err.h"
#include "metadata/expr_lex.h"

#define PATHS_ROOM 8

int
expr_parse_projection(struct arena *a, struct expr_env *env, struct slice text,
                      const struct expr_paths **out, struct buf *why)
{
    struct expr_parser p;
    size_t room = PATHS_ROOM;
    expr_begin(&p, a, env, "ProjectionExpression", text);
    struct expr_paths *paths = arena_alloc(a, sizeof *paths);
    struct expr_path *list = arena_alloc(a, room * sizeof *list);
    if (paths == NULL || list == NULL)
        return ERR_NOMEM;
    size_t n = 0;
    while (p.err == ERR_NONE && expr_read_path(&p, &list[n])) {
        n++;
        if (!expr_is_symbol(&p, ","))
            break;
        expr_advance(&p);
        if (n == room) {
            struct expr_path *larger = arena_alloc(a, 2 * room * sizeof *list);
            if (larger == NULL)
                return ERR_NOMEM;
            memcpy(larger, list, n * sizeof *list);
            list = larger;
            room *= 2;
        }
    }
    *paths = (struct expr_paths){list, n};
    expr_sort_paths(&p, paths);
    *out = paths;
    return expr_finish(&p, why);
}

static int project(struct arena *a, const struct expr_path *paths, size_t count, size_t depth,
                   const struct attr_value *v, struct attr_value *out);

/* How many of the sorted paths share the first one's step at this depth. */
static size_t
group_size(const struct expr_path *paths, size_t count, size_t depth)
{
    size_t n = 1;
    while (n < count && expr_step_compare(&paths[0].steps[depth], &paths[n].steps[depth]) == 0)
        n++;
    return n;
}

static const struct attr_value *
step_into(const struct attr_value *v, const struct expr_step *step)
{
    struct expr_path one = {(struct expr_step *)step, 1};
    return expr_path_find(&one, v);
}

/* `out` gets type 0 when nothing of the value is wanted. */
static int
project(struct arena *a, const struct expr_path *paths, size_t count, size_t depth,
        const struct attr_value *v, struct attr_value *out)
{
    *out = (struct attr_value){0};
    if (paths[0].count == depth) {
        *out = *v;
        return ERR_NONE;
    }
    if (v->type != ATTR_M && v->type != ATTR_L)
        return ERR_NONE;
    size_t groups = 0, found = 0;
    for (size_t i = 0; i < count; i += group_size(paths + i, count - i, depth))
        groups++;
    struct attr_value part;
    int err =
        v->type == ATTR_M ? attr_map_room(a, &part, groups) : attr_list_room(a, &part, groups);
    part.type = v->type;
    for (size_t i = 0; i < count && err == ERR_NONE;) {
        const struct expr_step *step = &paths[i].steps[depth];
        size_t n = group_size(paths + i, count - i, depth);
        const struct attr_value *child = step_into(v, step);
        if (child != NULL)
            err = project(a, paths + i, n, depth + 1, child, &part.elements[found]);
        if (child != NULL && err == ERR_NONE && part.elements[found].type != 0) {
            if (v->type == ATTR_M)
                part.names[found] = step->name;
            found++;
        }
        i += n;
    }
    part.count = found;
    if (found > 0 || depth == 0)
        *out = part;
    return err;
}

int
expr_project(struct arena *a, const struct expr_paths *paths, const struct attr_value *item,
             struct attr_value *out)
{
    if (paths->count > 0)
        return project(a, paths->paths, paths->count, 0, item, out);
    *out = attr_map_new();
    return ERR_NONE;
}
