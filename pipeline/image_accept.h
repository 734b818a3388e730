/*
 * Which of the formats there are a browser may be sent: RFC 9110 section 12.5.1 (Accept).
 *
 * WebP and AVIF are only given to who names them, as long as a JPEG, a PNG or one that is named
 * will do: programs say "any image" that have not heard of the newer ones.
 */
#ifndef DARKROOM_PIPELINE_IMAGE_ACCEPT_H
#define DARKROOM_PIPELINE_IMAGE_ACCEPT_H

#include "base/http.h"
#include "functions/preset.h"

/* Index of the best of `count` formats, or -1: the request accepts none of them. No Accept at all
 * accepts all. What cannot be read in it accepts nothing. */
int image_accept_choose(const struct http_request *r, const enum preset_format *formats,
                        size_t count);

#endif
