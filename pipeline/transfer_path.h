/*
 * Which keys can be names of files below a folder, and which cannot: nothing a store lists may
 * lead out of the folder or be bent to fit. Nothing here does I/O.
 */
#ifndef DARKROOM_PIPELINE_TRANSFER_PATH_H
#define DARKROOM_PIPELINE_TRANSFER_PATH_H

#include "base/buf.h"

#define TRANSFER_COMPONENT_MAX 255 /* NAME_MAX of Linux */

/* Files being written; the walk of a folder passes them by. */
#define TRANSFER_PART_PREFIX ".darkroom-part."

/* NULL, or why no file can have this name: empty, absolute, "." or ".." or nothing between two
 * slashes, a NUL, a component of over TRANSFER_COMPONENT_MAX bytes, one that begins with
 * TRANSFER_PART_PREFIX, '/' at its end. */
const char *transfer_path_refusal(struct slice key);

/* Keys seen so far, in their order, that may turn out to be a folder of a later one: "a" of "a/b".
 * It holds only those that are a prefix of each other, so at most as many as a key has bytes. */
struct transfer_above {
    struct buf text; /* the longest of them */
    struct buf ends; /* size_t: where each ends in it */
};

void transfer_above_init(struct transfer_above *a);
void transfer_above_fini(struct transfer_above *a);
/* Takes the next key. True when an earlier one would have to be both a file and a folder: `file` is
 * it, lent until the next call. Such a key is not kept. */
bool transfer_above_conflict(struct transfer_above *a, struct slice key, struct slice *file);

#endif
