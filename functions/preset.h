/*
 * Presets of the thumbnail function: read from the environment's JSON by the server and the CLI,
 * carried to the worker as the function's opaque config.
 */
#ifndef DARKROOM_FUNCTIONS_PRESET_H
#define DARKROOM_FUNCTIONS_PRESET_H

#include "base/arena.h"
#include "base/buf.h"

#define PRESETS_MAX 16
#define PRESET_NAME_MAX 32
#define PRESET_SIDE_MAX 8192
#define PRESET_SHARPEN_MAX 1000 /* sigma 10 */
#define PRESET_HASH_TEXT 17     /* 16 hex digits and NUL */

enum preset_fit { PRESET_COVER, PRESET_CONTAIN, PRESET_INSIDE };
enum preset_format { PRESET_WEBP, PRESET_JPEG, PRESET_PNG, PRESET_AVIF };
enum preset_focus { PRESET_CENTRE, PRESET_ATTENTION, PRESET_ENTROPY };

struct preset {
    char name[PRESET_NAME_MAX + 1]; /* [a-z0-9-]{1,32} */
    int width, height;              /* pixels */
    enum preset_fit fit;
    enum preset_format format;
    int quality; /* 1..100 */
    enum preset_focus focus;
    /* All zero by default: a preset without them keeps the hash it always had. */
    bool enlarge;        /* smaller pictures grow to the preset's size */
    int sharpen;         /* sigma in hundredths of a pixel, 0: not at all */
    bool has_background; /* else JPEG is on white and contain is padded with nothing */
    uint32_t background; /* 0xrrggbb */
    bool animated;       /* WebP only: all frames of an animation, else the first */
    bool keep_copyright; /* EXIF Copyright and Artist, nothing else, in EXIF's own ASCII */
};

struct preset_list {
    struct preset presets[PRESETS_MAX];
    size_t count;
};

/* small 160x160 cover, medium 640x640 inside, large 1600x1600 inside, all WebP q80. */
void preset_defaults(struct preset_list *list);
/* JSON array text. ERR_INVALID with one sentence in `why` (preset, member, what is allowed). */
int preset_parse(struct slice json, struct preset_list *list, struct buf *why);
/* The canonical JSON of a list. */
void preset_print(const struct preset_list *list, struct buf *out);
/* 16 hex digits over everything that changes the output bytes, and PRESET_REVISION of the code. */
void preset_hash(const struct preset *p, char out[PRESET_HASH_TEXT]);
const char *preset_extension(enum preset_format f); /* "webp" "jpg" "png" "avif" */
const char *preset_content_type(enum preset_format f);
/* Secondary formats (AVIF) are follow-ups: not part of "ready". */
bool preset_is_followup(const struct preset *p);

/* The opaque config: write and read. `primary`: only non-followup presets, else only followups. */
void preset_config_write(const struct preset_list *list, bool followups, struct buf *out);
int preset_config_read(struct slice config, struct preset_list *list);

#endif
