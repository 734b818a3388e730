/*
 * One invocation divided into rows: arithmetic in whole numbers that keeps every sum, whatever the
 * worker says of its parts.
 */
#include "pipeline/usage.h"
#include "base/chk.h"

#include <stddef.h>

int64_t
usage_billed_ms(int64_t run_us)
{
    return (run_us + 999) / 1000;
}

struct division {
    struct usage_part *parts;
    size_t count;
    int64_t claimed_us; /* sum of what parts claim */
};

static struct usage_part *
part_add(struct division *d, struct slice function, struct slice preset, int64_t claimed_us)
{
    CHK(d->count < USAGE_PARTS_MAX && claimed_us >= 0);
    struct usage_part *p = &d->parts[d->count++];
    *p = (struct usage_part){.function = function, .preset = preset};
    p->sums.cpu_us = claimed_us;
    d->claimed_us += claimed_us;
    return p;
}

/* The function's own part comes first: it also takes what is left over. */
static void
divide_call(struct division *d, const struct usage_invocation *inv, size_t i)
{
    const struct usage_call *call = &inv->calls[i];
    const struct fn_answer *answer = call->answer;
    int64_t n = (int64_t)inv->call_count;
    int64_t outputs_us = 0;
    struct usage_part *own = part_add(d, call->function, SLICE_LIT(USAGE_FUNCTION), 0);
    own->sums.invocations = 1;
    own->sums.bytes_in = inv->source_bytes;
    int64_t decode_us = inv->decode.cpu_us / n + ((int64_t)i < inv->decode.cpu_us % n);
    if (decode_us > 0)
        part_add(d, call->function, SLICE_LIT(USAGE_DECODE), decode_us);
    for (size_t k = 0; answer != NULL && k < answer->output_count; k++) {
        const struct fn_output *o = &answer->outputs[k];
        struct slice preset = call->on_the_fly ? SLICE_LIT(USAGE_ON_THE_FLY) : o->name;
        struct usage_part *p = part_add(d, call->function, preset, o->cost.cpu_us);
        p->sums.pictures = o->status == FN_OK;
        p->sums.bytes_out = o->status == FN_OK ? o->bytes : 0;
        outputs_us += o->cost.cpu_us;
    }
    if (answer != NULL && answer->cost.cpu_us > outputs_us) {
        own->sums.cpu_us = answer->cost.cpu_us - outputs_us;
        d->claimed_us += own->sums.cpu_us;
    }
}

/* whole x part / all, rounded down. */
static int64_t
share(int64_t whole, int64_t part, int64_t all)
{
    return all == 0 ? 0 : (int64_t)((__int128)whole * part / all);
}

/* What is left of `whole` goes to the functions' own parts, alike; the first takes the rest. */
static void
spread_rest(struct division *d, size_t calls, size_t field, int64_t rest)
{
    int64_t each = rest / (int64_t)calls;
    bool first = true;
    for (size_t i = 0; i < d->count; i++) {
        struct usage_part *p = &d->parts[i];
        if (p->sums.invocations == 0)
            continue;
        int64_t *sum = (int64_t *)((char *)&p->sums + field);
        *sum += first ? rest - each * ((int64_t)calls - 1) : each;
        first = false;
    }
}

size_t
usage_divide(const struct usage_invocation *inv, struct usage_part parts[USAGE_PARTS_MAX])
{
    struct division d = {.parts = parts};
    int64_t mb_ms = inv->memory_mb * usage_billed_ms(inv->run_us);
    int64_t cpu_us = inv->cpu_us < 0 ? 0 : inv->cpu_us;
    int64_t cpu_left = cpu_us, mb_ms_left = mb_ms;
    CHK(inv->call_count > 0 && inv->call_count <= FN_PER_REQUEST_MAX);
    for (size_t i = 0; i < inv->call_count; i++)
        divide_call(&d, inv, i);
    for (size_t i = 0; i < d.count; i++) {
        struct usage_sums *s = &parts[i].sums;
        if (d.claimed_us > cpu_us) /* its clock, or its word, is not ours */
            s->cpu_us = share(cpu_us, s->cpu_us, d.claimed_us);
        s->mb_ms = share(mb_ms, s->cpu_us, cpu_us);
        cpu_left -= s->cpu_us;
        mb_ms_left -= s->mb_ms;
    }
    spread_rest(&d, inv->call_count, offsetof(struct usage_sums, cpu_us), cpu_left);
    spread_rest(&d, inv->call_count, offsetof(struct usage_sums, mb_ms), mb_ms_left);
    return d.count;
}
