#include "pipeline/reason.h"
#include "base/chk.h"

/* How the reasons of functions/, runtime.c and worker.c begin. */
static const struct {
    const char *begins;
    const char *name;
} classes[] = {
    {"not an image", "not_an_image"},
    {"empty object", "empty"},
    {"unsupported format", "unsupported_format"},
    {"pixel budget", "pixel_budget"},
    {"memory budget", "memory_budget"},
    {"memory limit", "memory_limit"},
    {"unreadable", "unreadable"},
    {"truncated", "truncated"},
    {"damaged", "damaged"},
    {"timeout", "timeout"},
    {"derived key too long", "key_too_long"},
    {"worker ended", "worker_ended"},
    {"worker closed", "worker_ended"},
    {"worker sent", "worker_answer"},
    {"worker asked", "worker_answer"},
    {"the source", "source"},
    {"the result cannot be committed", "not_committed"},
    {"a newer generation", "superseded"},
    {"the function's configuration has changed", "configuration_changed"},
    {"the presets have changed", "configuration_changed"},
};

const char *
reason_class(struct slice reason)
{
    if (reason.n == 0)
        return "";
    for (size_t i = 0; i < ARRAY_LEN(classes); i++) {
        if (slice_starts(reason, slice_str(classes[i].begins)))
            return classes[i].name;
    }
    return "other";
}
