/*
 * Presets: 'j' and the JSON an operator sets, or 'c' and the configuration as the worker gets it.
 * What was taken is in bounds and comes back the same from both forms.
 */
#include "functions/preset.h"
#include "tests/fuzz/fuzz.h"

static void
check_bounds(const struct preset_list *list)
{
    CHK(list->count <= PRESETS_MAX);
    for (size_t i = 0; i < list->count; i++) {
        const struct preset *p = &list->presets[i];
        CHK(strlen(p->name) <= PRESET_IDENTITY_MAX && p->name[0] != '\0');
        CHK(p->width >= 1 && p->width <= PRESET_SIDE_MAX);
        CHK(p->height >= 1 && p->height <= PRESET_SIDE_MAX);
        CHK(p->quality >= 1 && p->quality <= 100 && p->format <= PRESET_AVIF);
        CHK(p->sharpen >= 0 && p->sharpen <= PRESET_SHARPEN_MAX);
        CHK(p->background <= 0xffffff);
        CHK(preset_extension(p->format)[0] != '\0');
    }
}

static void
check_same(const struct preset_list *a, const struct preset_list *b)
{
    char x[PRESET_HASH_TEXT], y[PRESET_HASH_TEXT];
    CHK(a->count == b->count);
    for (size_t i = 0; i < a->count; i++) {
        preset_hash(&a->presets[i], x);
        preset_hash(&b->presets[i], y);
        CHK(strcmp(a->presets[i].name, b->presets[i].name) == 0 && strcmp(x, y) == 0);
    }
}

static void
check_json(struct slice text)
{
    struct preset_list list, again;
    struct buf why, printed, config;
    buf_init(&why, 1024);
    buf_init(&printed, 1u << 16);
    buf_init(&config, 1u << 16);
    int err = preset_parse(text, &list, &why);
    CHK(err != ERR_INVALID || why.n > 0);
    if (err == ERR_NONE) {
        check_bounds(&list);
        preset_print(&list, &printed);
        CHK(preset_parse(buf_slice(&printed), &again, &why) == ERR_NONE);
        check_same(&list, &again);
        size_t carried = 0;
        for (int followups = 0; followups <= 1; followups++) {
            buf_reset(&config);
            preset_config_write(&list, followups != 0, &config);
            CHK(preset_config_read(buf_slice(&config), &again) == ERR_NONE);
            carried += again.count;
        }
        CHK(carried == list.count);
    }
    buf_fini(&config);
    buf_fini(&printed);
    buf_fini(&why);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_of(data, size);
    unsigned kind = fuzz_byte(&in);
    struct slice text = fuzz_exact(in);
    struct preset_list list;
    if (kind == 'j')
        check_json(text);
    else if (preset_config_read(text, &list) == ERR_NONE)
        check_bounds(&list);
    free((void *)(uintptr_t)text.p);
    return 0;
}
