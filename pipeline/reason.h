/*
 * Why something failed or was skipped, as one of few words: reasons are sentences, many with
 * numbers or a decoder's own words in them, and statistics need words that can be counted.
 */
#ifndef DARKROOM_PIPELINE_REASON_H
#define DARKROOM_PIPELINE_REASON_H

#include "base/slice.h"

/* "" for no reason, "other" for one that is not known. A static string. */
const char *reason_class(struct slice reason);

#endif
