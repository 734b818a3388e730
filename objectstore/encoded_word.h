/*
 * RFC 2047 encoded-words, "=?UTF-8?Q?caf=C3=A9?=": how S3 takes and gives user metadata that is not
 * plain US-ASCII.
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html: "Values of such headers
 * are character decoded as per RFC 2047 before storing and encoded as per RFC 2047 to make them
 * mail-safe before returning"; its example shows that raw bytes of a header are read as ISO 8859-1.
 */
#ifndef DARKROOM_OBJECTSTORE_ENCODED_WORD_H
#define DARKROOM_OBJECTSTORE_ENCODED_WORD_H

#include "base/buf.h"

/* Appends a header's value as UTF-8: encoded-words decoded (in UTF-8, ISO-8859-1 or US-ASCII; the
 * blanks between two of them go), bytes above ASCII as ISO 8859-1, anything else as it is. A value
 * that only looks like encoded-words is text. */
void encoded_word_decode(struct slice value, struct buf *out);

/* Does the text hold anything that a header had better not carry? */
bool encoded_word_needed(struct slice utf8);
/* Appends one encoded-word: Q when more than half of the text is ASCII, else B, as S3 does. */
void encoded_word_encode(struct slice utf8, struct buf *out);

#endif
