/*
 * struct remote_object: an object's metadata between two stores.
 */
#include "base/chk.h"
#include "base/err.h"
#include "objectstore/remote_priv.h"

void
remote_object_init(struct remote_object *o)
{
    remote_object_fini(o);
    o->arena = arena_new(REMOTE_OBJECT_BYTES_MAX);
    CHK(o->arena != NULL);
}

void
remote_object_fini(struct remote_object *o)
{
    arena_free(&o->arena);
    *o = (struct remote_object){0};
}

int
remote_object_add(struct remote_object *o, struct slice name, struct slice value)
{
    if (o->arena == NULL)
        remote_object_init(o);
    if (o->header_count == REMOTE_HEADERS_MAX)
        return ERR_TOOBIG;
    char *lower = arena_alloc(o->arena, name.n + 1);
    struct slice copy = arena_dup(o->arena, value);
    if (lower == NULL || copy.p == NULL)
        return ERR_TOOBIG;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        lower[i] = c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
    }
    o->headers[o->header_count++] = (struct sign_header){lower, copy};
    return ERR_NONE;
}

struct slice
remote_object_header(const struct remote_object *o, const char *name)
{
    for (size_t i = 0; i < o->header_count; i++) {
        if (strcmp(o->headers[i].name, name) == 0)
            return o->headers[i].value;
    }
    return SLICE_NONE;
}

struct slice
remote_bare_etag(struct slice etag)
{
    if (etag.n >= 2 && etag.p[0] == '"' && etag.p[etag.n - 1] == '"')
        return slice_of(etag.p + 1, etag.n - 2);
    return etag;
}

void
remote_etag_text(struct slice etag, char out[REMOTE_ETAG_MAX])
{
    struct slice bare = remote_bare_etag(etag);
    size_t n = bare.n < REMOTE_ETAG_MAX ? bare.n : 0;
    if (n > 0)
        memcpy(out, bare.p, n);
    out[n] = '\0';
}
