#include "functions/fn_handler.h"
#include "functions/hint.h"
#include "base/err.h"
#include "base/fsio.h"

double
fn_thumbnail_scale(const struct fn_job *job, const struct fn_call *call)
{
    struct preset_list list;
    double scale = 0;
    if (preset_config_read(call->config, &list) != ERR_NONE)
        return 0;
    for (size_t i = 0; i < list.count; i++) {
        double s = image_preset_scale(job->image, &list.presets[i]);
        scale = s > scale ? s : scale;
        image_expect(job->image, &list.presets[i]);
    }
    return scale;
}

/* A preset that cannot be made fails alone; the others go on. */
static void
make_one(const struct fn_job *job, const struct preset *p, struct fn_output *out)
{
    char text[IMAGE_WHY_MAX], hash[PRESET_HASH_TEXT];
    struct image_output made;
    struct buf why;
    buf_init(&why, sizeof(text));
    preset_hash(p, hash);
    out->fd = -1;
    out->name = arena_dup(job->arena, slice_str(p->name));
    out->extension = slice_str(preset_extension(p->format));
    out->content_type = slice_str(preset_content_type(p->format));
    out->config_hash = arena_dup(job->arena, slice_str(hash));
    out->status = FN_FAILED;
    int err = image_render(job->image, p, &made, &why);
    if (err != ERR_NONE) {
        out->status = err == ERR_NOMEM ? FN_ERROR : FN_FAILED;
        out->reason = arena_dup(job->arena, buf_slice(&why));
        goto out;
    }
    out->width = made.width;
    out->height = made.height;
    out->bytes = (int64_t)made.bytes.n;
    if (out->bytes > FN_OUTPUT_BYTES_MAX) {
        out->reason = SLICE_LIT("larger than a function's output may be");
        out->bytes = 0;
    } else if ((out->fd = fsio_memfd("thumbnail", made.bytes)) < 0) {
        out->status = FN_ERROR;
        out->reason = slice_str(err_text(out->fd));
        out->fd = -1;
    } else {
        out->status = FN_OK;
    }
    image_output_free(&made);
out:
    buf_fini(&why);
}

/* The largest picture that is not made yet: smaller ones are made of larger ones. */
static size_t
largest_left(const struct fn_job *job, const struct preset_list *list, const bool *done)
{
    size_t best = 0;
    double scale = 0;
    for (size_t i = 0; i < list->count; i++) {
        double s = done[i] ? 0 : image_preset_scale(job->image, &list->presets[i]);
        if (s > scale) {
            scale = s;
            best = i;
        }
    }
    return best;
}

static void
make_all(const struct fn_job *job, const struct preset_list *list, struct fn_answer *answer)
{
    bool done[PRESETS_MAX] = {false};
    for (size_t n = 0; n < list->count; n++) {
        size_t i = largest_left(job, list, done);
        struct fn_cost started = fn_cost_start();
        make_one(job, &list->presets[i], &answer->outputs[i]);
        answer->outputs[i].cost = fn_cost_since(&started);
        done[i] = true;
    }
    answer->output_count = list->count;
}

void
fn_thumbnail_run(const struct fn_job *job, const struct fn_call *call, struct fn_answer *answer)
{
    struct preset_list list;
    double x, y;
    answer->status = job->status;
    answer->reason = job->reason;
    if (job->status != FN_OK)
        return;
    if (preset_config_read(call->config, &list) != ERR_NONE) {
        answer->status = FN_ERROR;
        answer->reason = SLICE_LIT("the function's configuration cannot be read");
        return;
    }
    if (list.fail_damaged && image_damaged(job->image)) {
        answer->status = FN_FAILED;
        answer->reason = SLICE_LIT("damaged: the file cannot be read to its end without errors");
        return;
    }
    if (list.count == 0)
        return;
    answer->outputs = arena_alloc(job->arena, list.count * sizeof(*answer->outputs));
    if (answer->outputs == NULL) {
        answer->status = FN_ERROR;
        answer->reason = slice_str(err_text(ERR_NOMEM));
        return;
    }
    if (hint_focal(job->req->source_hints, &x, &y))
        image_set_focal(job->image, x, y);
    make_all(job, &list, answer);
}
