#include "pipeline/transfer_join.h"
#include "base/err.h"

void
transfer_join_init(struct transfer_join *j, transfer_next_fn source, void *source_arg,
                   transfer_next_fn target, void *target_arg)
{
    *j = (struct transfer_join){.source = source,
                                .source_arg = source_arg,
                                .target = target,
                                .target_arg = target_arg,
                                .target_ended = target == NULL};
    buf_init(&j->source_highest, TRANSFER_NAME_MAX);
    buf_init(&j->target_highest, TRANSFER_NAME_MAX);
}

void
transfer_join_fini(struct transfer_join *j)
{
    buf_fini(&j->source_highest);
    buf_fini(&j->target_highest);
}

/* True when the name is above all that were given before; keeps the highest. */
static bool
rises(struct buf *highest, struct slice name, bool first)
{
    if (!first && slice_cmp(name, buf_slice(highest)) <= 0)
        return false;
    buf_reset(highest);
    buf_put_slice(highest, name);
    return true;
}

/* The target's next entry becomes the current one. */
static int
advance(struct transfer_join *j)
{
    bool first = !j->at_valid && j->target_highest.p == NULL;
    int got = j->target(j->target_arg, &j->at);
    j->at_valid = got == 1;
    j->target_ended = got == 0;
    if (got == 1 && !rises(&j->target_highest, j->at.name, first))
        j->target_unsorted = true;
    return got < 0 ? got : j->target_highest.err;
}

int
transfer_join_next(struct transfer_join *j, struct transfer_pair *pair)
{
    int err = ERR_NONE;
    bool first = j->source_highest.p == NULL;
    *pair = (struct transfer_pair){0};
    int got = j->source(j->source_arg, &pair->source);
    if (got != 1)
        return got;
    bool in_order = rises(&j->source_highest, pair->source.name, first);
    if (j->source_highest.err != ERR_NONE)
        return j->source_highest.err;
    if (!in_order) {
        pair->unsure = j->target != NULL;
        return 1;
    }
    while (!j->target_ended && err == ERR_NONE &&
           (!j->at_valid || slice_cmp(j->at.name, pair->source.name) < 0))
        err = advance(j);
    if (err != ERR_NONE)
        return err;
    if (j->at_valid && slice_eq(j->at.name, pair->source.name))
        pair->target = &j->at;
    else
        pair->unsure = j->target_unsorted;
    return 1;
}
