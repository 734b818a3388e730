/*
 * Presets without JSON (that is preset_json.c): names, hash, and the opaque config that travels to
 * the worker, so the worker needs no JSON library.
 *
 * The config is one line per preset, "name width height fit format quality focus\n". Both ends are
 * one release, so it has no version; what a preset means is in its hash through PRESET_REVISION.
 */
#include "functions/preset_priv.h"
#include "base/chk.h"
#include "base/digest.h"
#include "base/err.h"

#include <stdio.h>

/* Raise it when the same preset gives other bytes than before: stored thumbnails become stale. */
#define PRESET_REVISION 1

const char *const preset_fit_names[] = {"cover", "contain", "inside", NULL};
const char *const preset_format_names[] = {"webp", "jpeg", "png", "avif", NULL};
const char *const preset_focus_names[] = {"centre", "attention", "entropy", NULL};

void
preset_defaults(struct preset_list *list)
{
    static const struct preset defaults[] = {
        {"small", 160, 160, PRESET_COVER, PRESET_WEBP, PRESET_QUALITY_DEFAULT, PRESET_CENTRE},
        {"medium", 640, 640, PRESET_INSIDE, PRESET_WEBP, PRESET_QUALITY_DEFAULT, PRESET_CENTRE},
        {"large", 1600, 1600, PRESET_INSIDE, PRESET_WEBP, PRESET_QUALITY_DEFAULT, PRESET_CENTRE},
    };
    *list = (struct preset_list){.count = ARRAY_LEN(defaults)};
    memcpy(list->presets, defaults, sizeof(defaults));
}

int
preset_choice(const char *const names[], struct slice word)
{
    for (int i = 0; names[i] != NULL; i++)
        if (slice_eqs(word, names[i]))
            return i;
    return -1;
}

bool
preset_name_is_good(struct slice name)
{
    if (name.n == 0 || name.n > PRESET_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return true;
}

void
preset_hash(const struct preset *p, char out[PRESET_HASH_TEXT])
{
    /* Members without influence on the bytes are left out: two spellings of one picture agree. */
    int quality = p->format == PRESET_PNG ? 0 : p->quality;
    const char *focus = p->fit == PRESET_COVER ? preset_focus_names[p->focus] : "";
    char text[128];
    int n =
        snprintf(text, sizeof(text), "%d %d %d %s %s %d %s", PRESET_REVISION, p->width, p->height,
                 preset_fit_names[p->fit], preset_format_names[p->format], quality, focus);
    CHK(n > 0 && (size_t)n < sizeof(text));
    uint8_t digest[SHA256_BYTES];
    digest_sha256(text, (size_t)n, digest);
    hex_encode(digest, (PRESET_HASH_TEXT - 1) / 2, out);
}

const char *
preset_extension(enum preset_format f)
{
    static const char *const extensions[] = {"webp", "jpg", "png", "avif"};
    return extensions[f];
}

const char *
preset_content_type(enum preset_format f)
{
    static const char *const types[] = {"image/webp", "image/jpeg", "image/png", "image/avif"};
    return types[f];
}

bool
preset_is_followup(const struct preset *p)
{
    return p->format == PRESET_AVIF;
}

/* ---- the opaque config ---- */

void
preset_config_write(const struct preset_list *list, bool followups, struct buf *out)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct preset *p = &list->presets[i];
        if (preset_is_followup(p) == followups)
            buf_printf(out, "%s %d %d %s %s %d %s\n", p->name, p->width, p->height,
                       preset_fit_names[p->fit], preset_format_names[p->format], p->quality,
                       preset_focus_names[p->focus]);
    }
}

/* The next word of the line as a number in 1..max; 0 when it is none. */
static int
take_number(struct slice *line, int max)
{
    uint64_t v;
    struct slice rest, word = slice_cut(*line, ' ', &rest);
    *line = rest;
    return slice_to_u64(word, &v) == ERR_NONE && v <= (uint64_t)max ? (int)v : 0;
}

static int
take_choice(struct slice *line, const char *const names[])
{
    struct slice rest, word = slice_cut(*line, ' ', &rest);
    *line = rest;
    return preset_choice(names, word);
}

static int
line_read(struct slice line, struct preset *p)
{
    struct slice rest, name = slice_cut(line, ' ', &rest);
    if (!preset_name_is_good(name))
        return ERR_INVALID;
    *p = (struct preset){0};
    memcpy(p->name, name.p, name.n);
    p->width = take_number(&rest, PRESET_SIDE_MAX);
    p->height = take_number(&rest, PRESET_SIDE_MAX);
    int fit = take_choice(&rest, preset_fit_names);
    int format = take_choice(&rest, preset_format_names);
    p->quality = take_number(&rest, PRESET_QUALITY_MAX);
    int focus = take_choice(&rest, preset_focus_names);
    if (p->width == 0 || p->height == 0 || p->quality == 0 || fit < 0 || format < 0 || focus < 0 ||
        rest.n != 0)
        return ERR_INVALID;
    p->fit = (enum preset_fit)fit;
    p->format = (enum preset_format)format;
    p->focus = (enum preset_focus)focus;
    return ERR_NONE;
}

int
preset_config_read(struct slice config, struct preset_list *list)
{
    *list = (struct preset_list){0};
    while (config.n > 0) {
        struct slice rest, line = slice_cut(config, '\n', &rest);
        if (list->count == PRESETS_MAX)
            return ERR_TOOBIG;
        int err = line_read(line, &list->presets[list->count]);
        if (err != ERR_NONE)
            return err;
        list->count++;
        config = rest;
    }
    return ERR_NONE;
}
