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

/* One preset being read: where we are, for the sentence in `why`; and what is one picture each. */
struct reading {
    struct buf *why;
    size_t index;
    const char *name; /* "" until known */
    enum preset_format formats[PRESET_FORMATS];
    size_t format_count;
    int qualities[PRESET_FORMATS]; /* by format */
};

/* "format": "auto" */
static const enum preset_format auto_formats[] = {PRESET_WEBP, PRESET_AVIF, PRESET_JPEG};
#define AUTO_FORMATS (sizeof(auto_formats) / sizeof(auto_formats[0]))

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

static bool
has_format(const struct reading *rd, enum preset_format f)
{
    for (size_t i = 0; i < rd->format_count; i++)
        if (rd->formats[i] == f)
            return true;
    return false;
}

/* false: no format, or one that is there already. */
static bool
add_format(struct reading *rd, const json_t *word)
{
    int f = preset_choice(preset_format_names, slice_str(json_string_value(word)));
    if (f < 0 || has_format(rd, (enum preset_format)f))
        return false;
    rd->formats[rd->format_count++] = (enum preset_format)f;
    return true;
}

/* "webp", ["webp","avif"] or "auto" */
static int
read_formats(struct reading *rd, const json_t *o)
{
    const json_t *v = json_object_get(o, "format");
    bool good = true;
    if (v == NULL) {
        rd->formats[rd->format_count++] = PRESET_WEBP;
    } else if (slice_eqs(slice_str(json_string_value(v)), "auto")) {
        memcpy(rd->formats, auto_formats, sizeof(auto_formats));
        rd->format_count = AUTO_FORMATS;
    } else if (json_is_array(v)) {
        for (size_t i = 0; i < json_array_size(v) && good; i++)
            good = add_format(rd, json_array_get(v, i));
    } else {
        good = add_format(rd, v);
    }
    if (good && rd->format_count > 0)
        return ERR_NONE;
    return refuse(rd, "format",
                  "one of webp, jpeg, png, avif, or a list of different ones, or auto");
}

/* One number for all formats, or {"webp": 80, "avif": 50}; a format without one has the default.
 * A table may name formats that this preset lacks: one table often serves many presets. */
static int
read_qualities(struct reading *rd, json_t *o)
{
    json_t *v = json_object_get(o, "quality");
    const char *name;
    json_t *value;
    int every = PRESET_QUALITY_DEFAULT;
    if (!json_is_object(v)) {
        int err = read_int(rd, o, "quality", PRESET_QUALITY_DEFAULT, PRESET_QUALITY_MAX, &every);
        if (err != ERR_NONE)
            return err;
    }
    for (int f = 0; f < PRESET_FORMATS; f++)
        rd->qualities[f] = every;
    if (!json_is_object(v))
        return ERR_NONE;
    json_object_foreach(v, name, value)
    {
        int f = preset_choice(preset_format_names, slice_str(name));
        if (f < 0 || read_int(rd, v, name, 0, PRESET_QUALITY_MAX, &rd->qualities[f]) != ERR_NONE)
            return refuse(rd, "quality", "from 1 to 100, for each of webp, jpeg, png and avif");
    }
    return ERR_NONE;
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
    if (err == ERR_NONE && p->animated && !has_format(rd, PRESET_WEBP))
        err = refuse(rd, "animated", "false for every format but webp");
    if (err == ERR_NONE)
        err = read_flag(rd, o, "keep_copyright", &p->keep_copyright);
    if (err == ERR_NONE && p->keep_copyright && has_format(rd, PRESET_PNG))
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

/* All but what each format has of its own. */
static int
read_preset(struct reading *rd, json_t *o, struct preset *p)
{
    int err, fit, focus;
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
        (err = read_formats(rd, o)) != ERR_NONE || (err = read_qualities(rd, o)) != ERR_NONE ||
        (err = read_choice(rd, o, "fit", preset_fit_names, PRESET_INSIDE, &fit)) != ERR_NONE ||
        (err = read_choice(rd, o, "focus", preset_focus_names, PRESET_CENTRE, &focus)) != ERR_NONE)
        return err;
    p->fit = (enum preset_fit)fit;
    p->focus = (enum preset_focus)focus;
    return read_extras(rd, o, p);
}

/* One picture per format, the primary one first. */
static int
expand(const struct reading *rd, const struct preset *common, struct preset_list *list)
{
    for (size_t i = 0; i < rd->format_count; i++) {
        if (list->count == PRESETS_MAX) {
            buf_printf(rd->why, "PRESETS may have %d pictures at most, counting every format",
                       PRESETS_MAX);
            return ERR_INVALID;
        }
        struct preset *p = &list->presets[list->count++];
        *p = *common;
        p->format = rd->formats[i];
        p->quality = rd->qualities[p->format];
        p->animated = common->animated && p->format == PRESET_WEBP;
        if (i > 0)
            snprintf(p->name + strlen(p->name), sizeof(p->name) - strlen(p->name), ".%s",
                     preset_extension(p->format));
    }
    return ERR_NONE;
}

static int
read_list(const json_t *array, struct preset_list *list, struct buf *why)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        struct reading rd = {.why = why, .index = i, .name = ""};
        struct preset common;
        int err = read_preset(&rd, json_array_get(array, i), &common);
        if (err != ERR_NONE)
            return err;
        for (size_t j = 0; j < list->count; j++)
            if (strcmp(list->presets[j].name, common.name) == 0)
                return refuse(&rd, "name", "unlike every other preset's");
        if ((err = expand(&rd, &common, list)) != ERR_NONE)
            return err;
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

/* ---- back to text: presets that only their format tells apart stand side by side ---- */

/* How many from here on are one preset in the text. */
static size_t
formats_of(const struct preset_list *list, size_t first)
{
    size_t n = 1;
    while (first + n < list->count && preset_is_secondary(&list->presets[first + n]) &&
           slice_eqs(preset_base_name(&list->presets[first + n]), list->presets[first].name))
        n++;
    return n;
}

static void
print_formats(const struct preset *p, size_t n, struct buf *out)
{
    bool is_auto = n == AUTO_FORMATS;
    for (size_t i = 0; i < n && is_auto; i++)
        is_auto = p[i].format == auto_formats[i];
    if (is_auto) {
        buf_puts(out, ",\"format\":\"auto\"");
        return;
    }
    buf_printf(out, ",\"format\":%s", n > 1 ? "[" : "");
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "%s\"%s\"", i == 0 ? "" : ",", preset_format_names[p[i].format]);
    buf_puts(out, n > 1 ? "]" : "");
}

static void
print_qualities(const struct preset *p, size_t n, struct buf *out)
{
    bool equal = true;
    for (size_t i = 1; i < n; i++)
        equal = equal && p[i].quality == p[0].quality;
    if (equal) {
        buf_printf(out, ",\"quality\":%d", p->quality);
        return;
    }
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "%s\"%s\":%d", i == 0 ? ",\"quality\":{" : ",",
                   preset_format_names[p[i].format], p[i].quality);
    buf_putc(out, '}');
}

/* Members that are set; those that are not would only say their defaults. */
static void
print_extras(const struct preset *p, size_t n, struct buf *out)
{
    bool animated = false;
    for (size_t i = 0; i < n; i++)
        animated = animated || p[i].animated;
    if (p->enlarge)
        buf_puts(out, ",\"enlarge\":true");
    if (p->sharpen > 0)
        buf_printf(out, ",\"sharpen\":%d.%02d", p->sharpen / 100, p->sharpen % 100);
    if (p->has_background)
        buf_printf(out, ",\"background\":\"#%06x\"", p->background);
    if (animated)
        buf_puts(out, ",\"animated\":true");
    if (p->keep_copyright)
        buf_puts(out, ",\"keep_copyright\":true");
}

void
preset_print(const struct preset_list *list, struct buf *out)
{
    /* Every name in a preset is plain ASCII without quotes: nothing to escape. */
    buf_putc(out, '[');
    for (size_t i = 0, n; i < list->count; i += n) {
        const struct preset *p = &list->presets[i];
        n = formats_of(list, i);
        buf_printf(out, "%s{\"name\":\"%s\",\"width\":%d,\"height\":%d,\"fit\":\"%s\"",
                   i == 0 ? "" : ",", p->name, p->width, p->height, preset_fit_names[p->fit]);
        print_formats(p, n, out);
        print_qualities(p, n, out);
        buf_printf(out, ",\"focus\":\"%s\"", preset_focus_names[p->focus]);
        print_extras(p, n, out);
        buf_putc(out, '}');
    }
    buf_putc(out, ']');
}
