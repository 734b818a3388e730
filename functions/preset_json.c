/*
 * Presets as people write them: the JSON array of the thumbnail function's PRESETS variable. Not
 * linked into the worker.
 *
 * Strict on purpose: a member nobody knows is a misspelt one, and a preset that silently lacks its
 * "quality" costs a reprocess of everything.
 */
#include "functions/preset_priv.h"
#include "base/err.h"
#include "base/json.h"

#include <stdio.h>

/* One preset being read: where we are, for the sentence in `why`. */
struct reading {
    struct buf *why;
    size_t index;
    const char *name; /* "" until known */
};

static int
refuse(struct reading *rd, const char *member, const char *allowed)
{
    buf_reset(rd->why);
    buf_printf(rd->why, "preset %zu", rd->index + 1);
    if (rd->name[0] != '\0')
        buf_printf(rd->why, " (%s)", rd->name);
    buf_printf(rd->why, ": %s must be %s", member, allowed);
    return ERR_INVALID;
}

static int
read_int(struct reading *rd, const json_t *o, const char *member, int fallback, int max, int *out)
{
    const json_t *v = json_object_get(o, member);
    if (v == NULL && fallback > 0) {
        *out = fallback;
        return ERR_NONE;
    }
    json_int_t n = json_is_integer(v) ? json_integer_value(v) : 0;
    if (n < 1 || n > max) {
        char allowed[48];
        snprintf(allowed, sizeof(allowed), "an integer from 1 to %d", max);
        return refuse(rd, member, allowed);
    }
    *out = (int)n;
    return ERR_NONE;
}

static int
read_choice(struct reading *rd, const json_t *o, const char *member, const char *const names[],
            int fallback, int *out)
{
    *out = fallback;
    if (json_object_get(o, member) == NULL)
        return ERR_NONE;
    *out = preset_choice(names, json_get_str(o, member));
    if (*out >= 0)
        return ERR_NONE;
    char allowed[80] = "";
    size_t n = 0;
    for (int i = 0; names[i] != NULL; i++)
        n += (size_t)snprintf(allowed + n, sizeof(allowed) - n, "%s%s", i == 0 ? "one of " : ", ",
                              names[i]);
    return refuse(rd, member, allowed);
}

static int
read_flag(struct reading *rd, const json_t *o, const char *member, bool *out)
{
    const json_t *v = json_object_get(o, member);
    if (v != NULL && !json_is_boolean(v))
        return refuse(rd, member, "true or false");
    *out = json_is_true(v);
    return ERR_NONE;
}

static int
read_sharpen(struct reading *rd, const json_t *o, struct preset *p)
{
    const json_t *v = json_object_get(o, "sharpen");
    double sigma = json_number_value(v); /* 0 for what is no number */
    if (v != NULL && (!json_is_number(v) || sigma < 0 || sigma > PRESET_SHARPEN_MAX / 100.0))
        return refuse(rd, "sharpen", "a number from 0 (not at all) to 10");
    p->sharpen = (int)(sigma * 100 + 0.5);
    return ERR_NONE;
}

static int
read_background(struct reading *rd, const json_t *o, struct preset *p)
{
    struct slice text = json_get_str(o, "background");
    if (json_object_get(o, "background") == NULL)
        return ERR_NONE;
    p->has_background = slice_starts(text, SLICE_LIT("#")) &&
                        preset_color_read(slice_skip(text, 1), &p->background);
    return p->has_background ? ERR_NONE : refuse(rd, "background", "a colour like \"#rrggbb\"");
}

static int
read_extras(struct reading *rd, const json_t *o, struct preset *p)
{
    int err = read_flag(rd, o, "enlarge", &p->enlarge);
    if (err == ERR_NONE)
        err = read_flag(rd, o, "animated", &p->animated);
    if (err == ERR_NONE && p->animated && p->format != PRESET_WEBP)
        err = refuse(rd, "animated", "false for every format but webp");
    if (err == ERR_NONE)
        err = read_flag(rd, o, "keep_copyright", &p->keep_copyright);
    if (err == ERR_NONE && p->keep_copyright && p->format == PRESET_PNG)
        err = refuse(rd, "keep_copyright", "false for png, whose encoder knows no EXIF");
    if (err == ERR_NONE)
        err = read_sharpen(rd, o, p);
    return err == ERR_NONE ? read_background(rd, o, p) : err;
}

static int
check_members(struct reading *rd, json_t *o)
{
    static const char *const known[] = {"name",    "width",      "height",         "fit",
                                        "format",  "quality",    "focus",          "enlarge",
                                        "sharpen", "background", "keep_copyright", "animated",
                                        NULL};
    const char *member;
    json_t *value;
    json_object_foreach(o, member, value)
    {
        if (preset_choice(known, slice_str(member)) >= 0)
            continue;
        buf_reset(rd->why);
        buf_printf(rd->why, "preset %zu: unknown member ", rd->index + 1);
        json_quote(rd->why, slice_str(member));
        return ERR_INVALID;
    }
    return ERR_NONE;
}

static int
read_preset(struct reading *rd, json_t *o, struct preset *p)
{
    int err, fit, format, focus;
    *p = (struct preset){0};
    if (!json_is_object(o))
        return refuse(rd, "it", "an object");
    if ((err = check_members(rd, o)) != ERR_NONE)
        return err;
    struct slice name = json_get_str(o, "name");
    if (!preset_name_is_good(name))
        return refuse(rd, "name", "1 to 32 characters of a-z, 0-9 and -");
    memcpy(p->name, name.p, name.n);
    rd->name = p->name;
    if ((err = read_int(rd, o, "width", 0, PRESET_SIDE_MAX, &p->width)) != ERR_NONE ||
        (err = read_int(rd, o, "height", 0, PRESET_SIDE_MAX, &p->height)) != ERR_NONE ||
        (err = read_int(rd, o, "quality", PRESET_QUALITY_DEFAULT, PRESET_QUALITY_MAX,
                        &p->quality)) != ERR_NONE ||
        (err = read_choice(rd, o, "fit", preset_fit_names, PRESET_INSIDE, &fit)) != ERR_NONE ||
        (err = read_choice(rd, o, "format", preset_format_names, PRESET_WEBP, &format)) !=
            ERR_NONE ||
        (err = read_choice(rd, o, "focus", preset_focus_names, PRESET_CENTRE, &focus)) != ERR_NONE)
        return err;
    p->fit = (enum preset_fit)fit;
    p->format = (enum preset_format)format;
    p->focus = (enum preset_focus)focus;
    return read_extras(rd, o, p);
}

static int
read_list(const json_t *array, struct preset_list *list, struct buf *why)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        struct reading rd = {.why = why, .index = i, .name = ""};
        int err = read_preset(&rd, json_array_get(array, i), &list->presets[i]);
        if (err != ERR_NONE)
            return err;
        for (size_t j = 0; j < i; j++)
            if (strcmp(list->presets[j].name, list->presets[i].name) == 0)
                return refuse(&rd, "name", "unlike every other preset's");
        list->count++;
    }
    return ERR_NONE;
}

int
preset_parse(struct slice json, struct preset_list *list, struct buf *why)
{
    *list = (struct preset_list){0};
    buf_reset(why);
    json_t *array = json_read(json, why);
    if (array == NULL)
        return ERR_INVALID;
    int err = ERR_INVALID;
    size_t n = json_array_size(array);
    if (!json_is_array(array) || n < 1 || n > PRESETS_MAX)
        buf_printf(why, "PRESETS must be a JSON array of 1 to %d presets", PRESETS_MAX);
    else
        err = read_list(array, list, why);
    json_decref(array);
    return err;
}

/* Members that are set; those that are not would only say their defaults. */
static void
print_extras(const struct preset *p, struct buf *out)
{
    if (p->enlarge)
        buf_puts(out, ",\"enlarge\":true");
    if (p->sharpen > 0)
        buf_printf(out, ",\"sharpen\":%d.%02d", p->sharpen / 100, p->sharpen % 100);
    if (p->has_background)
        buf_printf(out, ",\"background\":\"#%06x\"", p->background);
    if (p->animated)
        buf_puts(out, ",\"animated\":true");
    if (p->keep_copyright)
        buf_puts(out, ",\"keep_copyright\":true");
}

void
preset_print(const struct preset_list *list, struct buf *out)
{
    /* Every name in a preset is plain ASCII without quotes: nothing to escape. */
    buf_putc(out, '[');
    for (size_t i = 0; i < list->count; i++) {
        const struct preset *p = &list->presets[i];
        buf_printf(out,
                   "%s{\"name\":\"%s\",\"width\":%d,\"height\":%d,\"fit\":\"%s\","
                   "\"format\":\"%s\",\"quality\":%d,\"focus\":\"%s\"",
                   i == 0 ? "" : ",", p->name, p->width, p->height, preset_fit_names[p->fit],
                   preset_format_names[p->format], p->quality, preset_focus_names[p->focus]);
        print_extras(p, out);
        buf_putc(out, '}');
    }
    buf_putc(out, ']');
}
