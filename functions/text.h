/*
 * Foreign text made presentable: well-formed UTF-8, one line, no control characters, bounded.
 * Pure, any thread.
 */
#ifndef DARKROOM_FUNCTIONS_TEXT_H
#define DARKROOM_FUNCTIONS_TEXT_H

#include "base/slice.h"

/* Ends at the first NUL; every malformed byte and run of blanks or control characters becomes one
 * blank, none at the ends. `out_size` counts the NUL; cut between characters. Returns the length.
 */
size_t text_clean(struct slice in, char *out, size_t out_size);

/* Writes the character (at most four bytes) and returns how many. */
size_t text_put_utf8(uint32_t c, char *out);

#endif
