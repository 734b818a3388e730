/*
 * Between preset.c and preset_json.c: the words of a preset, in the order of their enums, and the
 * rules both spellings share.
 */
#ifndef DARKROOM_FUNCTIONS_PRESET_PRIV_H
#define DARKROOM_FUNCTIONS_PRESET_PRIV_H

#include "functions/preset.h"

#define PRESET_QUALITY_DEFAULT 80
#define PRESET_QUALITY_MAX 100
#define PRESET_FORMATS (PRESET_AVIF + 1)
#define PRESET_WHITE 0xffffffu

extern const char *const preset_fit_names[]; /* NULL-terminated, as the other two */
extern const char *const preset_format_names[];
extern const char *const preset_focus_names[];

/* Index of `word`, -1 when it is none of them. */
int preset_choice(const char *const names[], struct slice word);
bool preset_name_is_good(struct slice name);
/* "rrggbb" */
bool preset_color_read(struct slice hex, uint32_t *out);

#endif
