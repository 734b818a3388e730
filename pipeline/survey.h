/*
 * Which objects of a bucket need to be made again: a page of its listing, judged as a whole. The
 * plan that an operator sees and the feeder of a batch both ask here, so that what is planned is
 * what is done.
 *
 * The judgement is that of derived_state.h, for millions: instead of a look-up per object, four
 * scans that are in key order are merged (listing, provenance, unmade, facts). It rests on our own
 * rows alone: what a user writes into an item changes nothing. A verdict (skipped, failed) about
 * another version of the source, or of another configuration, is stale. Objects of before schema
 * version 4 have no rows of their verdicts: what was skipped or failed then is missing, facts are
 * stale; made again once, they have.
 */
#ifndef DARKROOM_PIPELINE_SURVEY_H
#define DARKROOM_PIPELINE_SURVEY_H

#include "pipeline/registry.h"

#define SURVEY_PAGE_MAX 1000
#define SURVEY_ARENA_BYTES (4u << 20) /* of a page */

/* What is selected, as a mask. ALL takes everything that a rule gives to the function. */
#define SELECT_STALE 1u
#define SELECT_MISSING 2u
#define SELECT_FAILED 4u
#define SELECT_ALL 8u
#define SELECT_MASK 15u

/* The one thing that an object counts as: the first that holds of any of its parts. */
#define SURVEY_CLASS_LIST(X)                                                              \
    X(OTHER, "other") /* no rule gives it to the function, or it is older than `since` */ \
    X(STALE, "stale")                                                                     \
    X(MISSING, "missing")                                                                 \
    X(FAILED, "failed")                                                                   \
    X(WAITING, "waiting") /* what it lacks is queued */                                   \
    X(SKIPPED, "skipped")                                                                 \
    X(CURRENT, "current")

enum survey_class {
#define X(id, name) SURVEY_##id,
    SURVEY_CLASS_LIST(X)
#undef X
        SURVEY_CLASS_COUNT
};
const char *survey_class_name(enum survey_class c);

struct survey_spec {
    struct slice bucket;
    struct slice prefix;
    struct slice after;    /* keys up to and including it are left out */
    struct slice function; /* n = 0: every one with a matching rule */
    struct slice preset;   /* name or identity; n = 0: all. Only its state counts then */
    unsigned select;
    int64_t since_ms; /* objects modified before are left out */
    int objects_max;  /* at most SURVEY_PAGE_MAX are looked at */
    int tasks_max;    /* the page ends behind this many selected objects */
};

struct survey_task { /* a selected object; functions as bits in the order of `set` */
    struct slice key;
    int64_t generation;
    uint64_t functions; /* from their first pass on */
    uint64_t followups; /* their second pass alone: what the first one made is current */
};

struct survey {
    int64_t seen;
    int64_t classes[SURVEY_CLASS_COUNT]; /* their sum is `seen` */
    struct slice last;                   /* key looked at; n = 0: there was none */
    bool more;
    struct function_set *set; /* a reference */
    struct survey_task tasks[SURVEY_PAGE_MAX];
    size_t task_count;
};

/* Texts in the arena. End with survey_fini(), also after an error. Reads by itself: not inside a
 * read or apply(). ERR_NOPARENT: no such bucket; ERR_NOMEM; storage errors. */
int survey_page(struct registry *r, struct db *db, struct arena *a, const struct survey_spec *spec,
                struct survey *out);
void survey_fini(struct survey *s);

#endif
