/*
 * Presets without JSON (that is preset_json.c): names, hash, and the opaque config that travels to
 * the worker, so the worker needs no JSON library.
 *
 * The config is one line per preset, "identity width height fit format quality focus\n"; before its
 * end " enlarge", " sharpen=150", " background=rrggbb", " animated", " keep_copyright" where a
 * preset has them. Both ends are one release, so it has no version; what a preset means is in its
 * hash through PRESET_REVISION.
 */
#include "functions/preset_priv.h"
#include "base/chk.h"
#include "base/digest.h"
#include "base/err.h"

#include <stdio.h>

/* Raise it when the same preset gives other bytes than before: stored thumbnails become stale. */
#define PRESET_REVISION 2
#define EXTRAS_MAX 96
#define FAIL_DAMAGED "fail_damaged\n" /* the first line, where it is wanted */

const char *const preset_fit_names[] = {"cover", "contain", "inside", NULL};
const char *const preset_format_names[] = {"webp", "jpeg", "png", "avif", NULL};
const char *const preset_focus_names[] = {"centre", "attention", "entropy", NULL};

static void
add_default(struct preset_list *list, const char *name, int side, enum preset_fit fit)
{
    struct preset *p = &list->presets[list->count++];
    CHK(list->count <= PRESETS_MAX && strlen(name) <= PRESET_NAME_MAX);
    memcpy(p->name, name, strlen(name));
    p->width = p->height = side;
    p->fit = fit;
    p->format = PRESET_WEBP;
    p->quality = PRESET_QUALITY_DEFAULT;
    p->focus = PRESET_CENTRE;
}

void
preset_defaults(struct preset_list *list)
{
    *list = (struct preset_list){0};
    add_default(list, "small", 160, PRESET_COVER);
    add_default(list, "medium", 640, PRESET_INSIDE);
    add_default(list, "large", 1600, PRESET_INSIDE);
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

bool
preset_color_read(struct slice hex, uint32_t *out)
{
    uint32_t v = 0;
    if (hex.n != 6)
        return false;
    for (size_t i = 0; i < hex.n; i++) {
        char c = hex.p[i];
        if (c >= '0' && c <= '9')
            v = v << 4 | (uint32_t)(c - '0');
        else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
            v = v << 4 | (uint32_t)((c | 0x20) - 'a' + 10);
        else
            return false;
    }
    *out = v;
    return true;
}

/* The members that most presets lack, each with a blank before it. */
static void
print_extras(const struct preset *p, char out[EXTRAS_MAX])
{
    int n = 0;
    out[0] = '\0';
    if (p->enlarge)
        n += snprintf(out + n, EXTRAS_MAX - (size_t)n, " enlarge");
    if (p->sharpen > 0)
        n += snprintf(out + n, EXTRAS_MAX - (size_t)n, " sharpen=%d", p->sharpen);
    if (p->has_background)
        n += snprintf(out + n, EXTRAS_MAX - (size_t)n, " background=%06x", p->background);
    if (p->animated)
        n += snprintf(out + n, EXTRAS_MAX - (size_t)n, " animated");
    if (p->keep_copyright)
        n += snprintf(out + n, EXTRAS_MAX - (size_t)n, " keep_copyright");
    CHK(n < EXTRAS_MAX);
}

/* Members without influence on the bytes go: two spellings of one picture agree. */
static struct preset
essence(const struct preset *p)
{
    struct preset q = *p;
    if (p->format == PRESET_PNG)
        q.quality = 0;
    if ((p->format != PRESET_JPEG && p->fit != PRESET_CONTAIN) ||
        (p->format == PRESET_JPEG && p->background == PRESET_WHITE))
        q.has_background = false;
    return q;
}

void
preset_hash(const struct preset *p, char out[PRESET_HASH_TEXT])
{
    struct preset q = essence(p);
    const char *focus = p->fit == PRESET_COVER ? preset_focus_names[p->focus] : "";
    char text[128 + EXTRAS_MAX], extras[EXTRAS_MAX];
    print_extras(&q, extras);
    int n =
        snprintf(text, sizeof(text), "%d %d %d %s %s %d %s%s", PRESET_REVISION, q.width, q.height,
                 preset_fit_names[q.fit], preset_format_names[q.format], q.quality, focus, extras);
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

struct slice
preset_base_name(const struct preset *p)
{
    struct slice extension;
    return slice_cut(slice_str(p->name), '.', &extension);
}

bool
preset_is_secondary(const struct preset *p)
{
    /* Every preset has a name. NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker) */
    return preset_base_name(p).n < strlen(p->name);
}

bool
preset_is_followup(const struct preset *p)
{
    return p->format == PRESET_AVIF || preset_is_secondary(p);
}

void
preset_object_name(const struct preset *p, struct buf *out)
{
    buf_puts(out, p->name);
    if (!preset_is_secondary(p))
        buf_printf(out, ".%s", preset_extension(p->format));
}

bool
preset_name_is_variant(struct slice name)
{
    if (name.n != PRESET_HASH_TEXT || name.p[0] != '_')
        return false;
    for (size_t i = 1; i < name.n; i++) {
        char c = name.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
    }
    return true;
}

/* ---- the opaque config ---- */

void
preset_config_write(const struct preset_list *list, bool followups, struct buf *out)
{
    if (list->fail_damaged)
        buf_puts(out, FAIL_DAMAGED);
    for (size_t i = 0; i < list->count; i++) {
        const struct preset *p = &list->presets[i];
        char extras[EXTRAS_MAX];
        if (preset_is_followup(p) != followups)
            continue;
        print_extras(p, extras);
        buf_printf(out, "%s %d %d %s %s %d %s%s\n", p->name, p->width, p->height,
                   preset_fit_names[p->fit], preset_format_names[p->format], p->quality,
                   preset_focus_names[p->focus], extras);
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

/* "enlarge" or "sharpen=150" and so on. */
static int
read_extra(struct slice word, struct preset *p)
{
    struct slice value, name = slice_cut(word, '=', &value);
    if (slice_eqs(word, "enlarge")) {
        p->enlarge = true;
    } else if (slice_eqs(word, "animated")) {
        p->animated = true;
    } else if (slice_eqs(word, "keep_copyright")) {
        p->keep_copyright = true;
    } else if (slice_eqs(name, "sharpen")) {
        p->sharpen = take_number(&value, PRESET_SHARPEN_MAX);
        return p->sharpen == 0 ? ERR_INVALID : ERR_NONE;
    } else if (slice_eqs(name, "background")) {
        p->has_background = preset_color_read(value, &p->background);
        return p->has_background ? ERR_NONE : ERR_INVALID;
    } else {
        return ERR_INVALID;
    }
    return ERR_NONE;
}

/* "small", "small.avif" or "_" and a hash. */
static bool
identity_is_good(struct slice identity, enum preset_format format)
{
    struct slice extension, name = slice_cut(identity, '.', &extension);
    if (preset_name_is_variant(identity))
        return true;
    return preset_name_is_good(name) &&
           (name.n == identity.n || slice_eqs(extension, preset_extension(format)));
}

static int
line_read(struct slice line, struct preset *p)
{
    struct slice rest, name = slice_cut(line, ' ', &rest);
    if (name.n > PRESET_IDENTITY_MAX)
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
        !identity_is_good(name, (enum preset_format)format))
        return ERR_INVALID;
    while (rest.n > 0) {
        int err = read_extra(slice_cut(rest, ' ', &rest), p);
        if (err != ERR_NONE)
            return err;
    }
    p->fit = (enum preset_fit)fit;
    p->format = (enum preset_format)format;
    p->focus = (enum preset_focus)focus;
    return ERR_NONE;
}

int
preset_config_read(struct slice config, struct preset_list *list)
{
    *list = (struct preset_list){0};
    if (config.n > 0 && config.p[config.n - 1] != '\n')
        return ERR_INVALID;
    list->fail_damaged = slice_starts(config, SLICE_LIT(FAIL_DAMAGED));
    if (list->fail_damaged)
        config = slice_skip(config, sizeof(FAIL_DAMAGED) - 1);
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
