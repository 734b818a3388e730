/*
 * Shared by verify*.c.
 */
#ifndef DARKROOM_PIPELINE_VERIFY_PRIV_H
#define DARKROOM_PIPELINE_VERIFY_PRIV_H

#include "pipeline/provenance.h"
#include "pipeline/verify.h"

struct verify {
    const struct verify_spec *spec;
    struct store *store;
    struct verify_page *page;
    struct db_conn *conn;  /* while a read is open */
    struct arena *scratch; /* of one object or one read */
    bool damaged;          /* the object is known to be */
    int64_t until_ms;      /* monotonic: the page ends */
};

/* A finding to be filled further by the caller; texts are copied. NULL: memory. */
struct verify_finding *verify_add(struct verify *v, enum verify_kind kind, struct slice bucket,
                                  struct slice key, const char *what, const char *todo,
                                  enum verify_fix fix);
/* verify_object.c: inside a read; v->scratch is fresh. */
int verify_object(struct verify *v, struct slice bucket, const struct store_object *o);
/* verify_row.c: a page of each; *end: the phase is over. */
int verify_provenance(struct verify *v, struct verify_cursor *at, bool *end);
int verify_items(struct verify *v, struct verify_cursor *at, bool *end);
int verify_events(struct verify *v, struct verify_cursor *at, bool *end);
int verify_counts(struct verify *v);
/* Has nobody asked for that row's object any more, or is there none? One sentence, or NULL: all is
 * well. Inside a read or apply(). */
int verify_row_trouble(struct registry *r, struct db_conn *conn, struct arena *a,
                       const struct provenance *row, const char **trouble);
/* verify_fix.c: repairs what can be, in transactions that judge again. */
int verify_fix(struct verify *v);

#endif
