/*
 * A native function inside the worker. One decode serves all functions of an invocation: each says
 * first how large it needs the picture, then runs on the decoded one.
 */
#ifndef DARKROOM_FUNCTIONS_FN_HANDLER_H
#define DARKROOM_FUNCTIONS_FN_HANDLER_H

#include "functions/fn.h"
#include "functions/image.h"

/* One invocation. */
struct fn_job {
    const struct fn_request *req;
    struct arena *arena; /* everything in an answer lives here */
    int source_fd;
    enum sniff_format format;
    /* What became of the source; FN_OK: `image` is decoded as large as the largest wish. Else
     * `reason` says why, and image may be NULL. */
    enum fn_status status;
    struct slice reason;
    struct image *image;
};

struct fn_handler {
    const char *name;
    /* Part of the full size it needs, 0 for none. The image's header has been read. */
    double (*scale)(const struct fn_job *job, const struct fn_call *call);
    /* Fills in all of the answer but its name. Descriptors of outputs are closed by the caller. */
    void (*run)(const struct fn_job *job, const struct fn_call *call, struct fn_answer *answer);
};

/* What has passed since `since`, which fn_cost_start() made. */
struct fn_cost fn_cost_start(void);
struct fn_cost fn_cost_since(const struct fn_cost *since);

double fn_thumbnail_scale(const struct fn_job *job, const struct fn_call *call);
void fn_thumbnail_run(const struct fn_job *job, const struct fn_call *call,
                      struct fn_answer *answer);
double fn_metadata_scale(const struct fn_job *job, const struct fn_call *call);
void fn_metadata_run(const struct fn_job *job, const struct fn_call *call,
                     struct fn_answer *answer);

#endif
