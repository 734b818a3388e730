/*
 * Shared by image_service.c (the life of a request), image_look.c (what there is) and image_reply.c
 * (answers).
 */
#ifndef DARKROOM_PIPELINE_IMAGE_PRIV_H
#define DARKROOM_PIPELINE_IMAGE_PRIV_H

#include "pipeline/image_service.h"
#include "pipeline/readiness.h"

#define IMAGE_AGAIN_MAX 8 /* looks that found the world changed before they could answer */

struct image_service {
    uint32_t magic;
    struct image_options options;
};

struct image_request {
    uint32_t magic;
    struct http_request *r;
    struct image_service *s;
    struct image_query q;
    bool granted;        /* by the URL's signature */
    int64_t deadline_ms; /* clock_mono_ms() until which wait= lets it wait; 0: not, or no more */
    int again;
    int64_t missed; /* generation of a derived object that was not there when it should have been */
    /* What it waits for, or has waited for: */
    bool demanded;
    int join_err; /* of demand_join(): then there was no wait */
    struct demand_wait demand;
    struct notifier_wait wait;
};

/* What one look at the database says. */
struct image_view {
    struct arena *a;
    const struct store_object *source; /* a reference; NULL: there is none */
    struct readiness ready;
    struct provenance *rows; /* of a free size */
};

/* What comes next. GONE is image_serve()'s: somebody has removed the picture. */
enum image_step { IMAGE_ANSWERED, IMAGE_SUSPENDED, IMAGE_AGAIN, IMAGE_GONE };

/* ---- image_look.c ---- */

/* HTTP thread, in end() or resumed(). */
enum image_step image_look(struct image_request *iq);

/* ---- image_service.c: suspends; afterwards the request is not ours ---- */

void image_wait(struct image_request *iq, const struct image_view *v);
void image_demand(struct image_request *iq, const struct image_view *v);

/* ---- image_reply.c ---- */

/* {"error", "message"} with the status for `err`: 400, 403, 404 or 503 with Retry-After. */
void image_refuse(struct image_request *iq, int err, const char *message);
/* 406, naming what there is. */
void image_refuse_types(struct image_request *iq, const enum preset_format *formats, size_t count);
/* 404 with x-darkroom-state "failed: reason". */
void image_reply_state(struct image_request *iq, enum preset_state state, struct slice reason);
/* 202, or the placeholder if it is asked for and there is one. */
void image_reply_pending(struct image_request *iq, const struct image_view *v);

/* A stored picture, which image_serve() sends. */
struct image_stored {
    struct slice key;   /* derived */
    int64_t generation; /* the derived object's */
    bool fresh;         /* of the source's current version, as it is configured now */
    bool pending;       /* a newer one is under way */
};
enum image_step image_serve(struct image_request *iq, const struct image_view *v,
                            const struct image_stored *what);

#endif
