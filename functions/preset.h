/*
 * Presets of the thumbnail function: read from the environment's JSON by the server and the CLI,
 * carried to the worker as the function's opaque config.
 *
 * People write a preset with one format or several; a struct preset is one picture: one format. A
 * list of formats becomes as many of them, side by side, told apart by their identity:
 *
 *   as written                                    identity             derived key
 *   "format": "webp"                              small                {key}/small.webp
 *   "format": ["webp","avif","jpeg"], or "auto"   small                {key}/small.webp
 *                                                 small.avif           {key}/small.avif
 *                                                 small.jpg            {key}/small.jpg
 *   nowhere: a picture on the fly                 _0123456789abcdef    {key}/_0123456789abcdef.webp
 *
 * The first format of a preset is its primary one and goes by the preset's name; the others are
 * secondary. Names hold neither dot nor underscore, so no identity is ambiguous.
 */
#ifndef DARKROOM_FUNCTIONS_PRESET_H
#define DARKROOM_FUNCTIONS_PRESET_H

#include "base/arena.h"
#include "base/buf.h"

#define PRESETS_MAX 32                            /* every format of each counts */
#define PRESET_NAME_MAX 32                        /* as people write it */
#define PRESET_IDENTITY_MAX (PRESET_NAME_MAX + 5) /* "{name}.avif" */
#define PRESET_SIDE_MAX 8192
#define PRESET_SHARPEN_MAX 1000 /* sigma 10 */
#define PRESET_HASH_TEXT 17     /* 16 hex digits and NUL */

enum preset_fit { PRESET_COVER, PRESET_CONTAIN, PRESET_INSIDE };
enum preset_format { PRESET_WEBP, PRESET_JPEG, PRESET_PNG, PRESET_AVIF };
enum preset_focus { PRESET_CENTRE, PRESET_ATTENTION, PRESET_ENTROPY };

struct preset {
    char name[PRESET_IDENTITY_MAX + 1]; /* the identity: [a-z0-9-]{1,32}, and so on as above */
    int width, height;                  /* pixels */
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
    bool fail_damaged; /* files that break off fail; else what is there is taken */
};

/* small 160x160 cover, medium 640x640 inside, large 1600x1600 inside, all WebP q80. */
void preset_defaults(struct preset_list *list);
/* JSON array text, PRESETS_MAX pictures at most. ERR_INVALID with one sentence in `why` (preset,
 * member, what is allowed). */
int preset_parse(struct slice json, struct preset_list *list, struct buf *why);
/* The canonical JSON of a list: what has several formats in one object again. */
void preset_print(const struct preset_list *list, struct buf *out);
/* 16 hex digits over everything that changes the output bytes, and PRESET_REVISION of the code. */
void preset_hash(const struct preset *p, char out[PRESET_HASH_TEXT]);
const char *preset_extension(enum preset_format f); /* "webp" "jpg" "png" "avif" */
const char *preset_content_type(enum preset_format f);
/* What people call it: "small" of "small.avif". Lent by `p`. */
struct slice preset_base_name(const struct preset *p);
bool preset_is_secondary(const struct preset *p);
/* Made after the others and not part of "ready": secondary formats, and AVIF, which is slow. */
bool preset_is_followup(const struct preset *p);
/* The last part of its derived key: "small.webp", "small.avif". */
void preset_object_name(const struct preset *p, struct buf *out);
/* Of a picture on the fly: '_' and 16 hex digits, which are its preset's hash. */
bool preset_name_is_variant(struct slice name);

/* The opaque config: write and read. `followups`: only those presets, else only the others. */
void preset_config_write(const struct preset_list *list, bool followups, struct buf *out);
int preset_config_read(struct slice config, struct preset_list *list);

#endif
