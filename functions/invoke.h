/*
 * One invocation inside the worker, from the request to the sent result.
 */
#ifndef DARKROOM_FUNCTIONS_INVOKE_H
#define DARKROOM_FUNCTIONS_INVOKE_H

#include "functions/fn_handler.h"

struct invoke_env {
    int sock;
    const struct fn_handler *handlers;
    size_t handler_count;
    struct wire_reader *reader; /* the request was read from it; its slices are in `arena` */
    struct arena *arena;
};

/* Takes and closes `source_fd`. ERR_CLOSED or another error only when the server cannot be
 * answered; everything about the source is in the result. */
int invoke(const struct invoke_env *env, const struct fn_request *req, int source_fd);

#endif
