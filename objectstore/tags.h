/*
 * Tag sets: up to 10 of an object, 50 of a bucket. Their two outer forms, the XML document and the
 * x-amz-tagging header (URL query parameters), and the one they are kept in: "key TAB value LF" by
 * key, plain, for neither can hold a tab or a line's end. Equal sets are equal bytes.
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html (limits, characters)
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectTagging.html
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketTagging.html
 */
#ifndef DARKROOM_OBJECTSTORE_TAGS_H
#define DARKROOM_OBJECTSTORE_TAGS_H

#include "base/xml.h"

#define TAGS_OBJECT_MAX 10
#define TAGS_BUCKET_MAX 50
#define TAG_KEY_MAX 128 /* UTF-16 code units, as S3 counts */
#define TAG_VALUE_MAX 256
/* An object's set as it is kept, at worst: three bytes of UTF-8 a unit. */
#define TAGS_TEXT_MAX (TAGS_OBJECT_MAX * ((TAG_KEY_MAX + TAG_VALUE_MAX) * 3 + 2))

struct tag {
    struct slice key;
    struct slice value;
};

struct tags { /* sorted by key; texts lent by what they were read from */
    size_t count;
    struct tag list[TAGS_BUCKET_MAX];
};

enum tags_of { TAGS_OF_OBJECT, TAGS_OF_BUCKET };

enum tags_fault {
    TAGS_OK,
    TAGS_MALFORMED, /* no such document, or no such header */
    TAGS_TOO_MANY,
    TAGS_DUPLICATE,
    TAGS_SYSTEM, /* a key that begins with "aws:" */
    TAGS_KEY,    /* length or characters */
    TAGS_VALUE
};

/* What was wrong, and with which tag (n = 0: none in particular). */
struct tags_error {
    enum tags_fault fault;
    struct slice key;
    struct slice value;
};

/* The children of <Tagging>. */
enum tags_fault tags_read_xml(const struct xml_node *tagging, enum tags_of of, struct tags *out,
                              struct tags_error *error);
/* "key=value&key=value"; texts go into the arena. A key may stand without '='. */
enum tags_fault tags_read_header(struct arena *a, struct slice text, struct tags *out,
                                 struct tags_error *error);

/* Appends the kept form; nothing for an empty set. */
void tags_encode(const struct tags *t, struct buf *out);
/* The kept form back; texts lent by it. ERR_CORRUPT. */
int tags_decode(struct slice kept, struct tags *out);
/* How many the kept form holds. */
size_t tags_count(struct slice kept);
/* <Tagging>, with the XML declaration. */
void tags_write(const struct tags *t, struct buf *out);

#endif
