/*
 * What a user said about a picture beside its bytes: the object's own metadata, which travels with
 * the invocation as "name\0value\0" pairs (fn_request.source_hints). Foreign text; pure, any
 * thread.
 */
#ifndef DARKROOM_FUNCTIONS_HINT_H
#define DARKROOM_FUNCTIONS_HINT_H

#include "base/slice.h"

/* "x-amz-meta-focal: x,y": the point people look at, two decimals from 0 to 1 counted from the top
 * left of the picture as it is displayed. False without it; what is malformed is as good as
 * absent, for a hint must not cost anybody a thumbnail. */
bool hint_focal(struct slice hints, double *x, double *y);

#endif
