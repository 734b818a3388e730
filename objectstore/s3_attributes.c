/*
 * What is known of an object beside its bytes: GetObjectAttributes, and the parts that ?partNumber
 * of GET and HEAD asks for.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAttributes.html
 */
#include "objectstore/s3_priv.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"

#include <stdio.h>

/* ---- one part ---- */

struct part_search {
    struct s3_part *out;
    int number;
    bool found;
};

static int
search_part(void *arg, const struct store_part *part)
{
    struct part_search *search = arg;
    search->found = part->number == search->number;
    if (search->found) {
        search->out->bytes = part->size;
        search->out->checksum = part->checksum;
        memcpy(search->out->checksum_base64, part->checksum_base64, sizeof part->checksum_base64);
    } else {
        search->out->offset += part->size;
    }
    return search->found;
}

static void
fail_part_number(struct s3_request *q, const struct store_object *o)
{
    char count[16];
    snprintf(count, sizeof count, "%d", o->part_count > 0 ? o->part_count : 1);
    s3_extra(q, "ActualPartCount", slice_str(count));
    s3_extra(q, "PartNumberRequested", http_param(q->r, "partNumber"));
    s3_fail(q, S3_INVALID_PART_NUMBER);
}

/* An object that was put at once is its own first part. */
static int
part_find(struct s3_request *q, const struct store_object *o, int number, struct s3_part *out)
{
    struct part_search search = {.out = out, .number = number};
    if (o->part_count == 0) {
        out->bytes = o->size;
        out->checksum = o->checksum;
        memcpy(out->checksum_base64, o->checksum_base64, sizeof out->checksum_base64);
        return number == 1 ? ERR_NONE : ERR_RANGE;
    }
    int err = store_version_parts(q->s->store, o, search_part, &search);
    if (err == ERR_NOTFOUND)
        return ERR_UNSUPPORTED;
    return err == ERR_NONE && !search.found ? ERR_RANGE : err;
}

bool
s3_part_chosen(struct s3_request *q, const struct store_object *o, struct s3_part *out)
{
    struct slice text = http_param(q->r, "partNumber");
    uint64_t number = 0;
    *out = (struct s3_part){.offset = 0};
    if (http_field(q->r, "Range").p != NULL) {
        s3_fail_why(q, S3_INVALID_REQUEST,
                    "Cannot specify both Range header and partNumber query parameter");
        return false;
    }
    if (slice_to_u64(text, &number) != ERR_NONE || number < 1 || number > STORE_PART_MAX) {
        s3_extra(q, "ArgumentName", SLICE_LIT("partNumber"));
        s3_extra(q, "ArgumentValue", text);
        s3_fail_why(q, S3_INVALID_ARGUMENT,
                    "Part number must be an integer between 1 and 10000, inclusive");
        return false;
    }
    int err = part_find(q, o, (int)number, out);
    if (err == ERR_RANGE)
        fail_part_number(q, o);
    else if (err != ERR_NONE)
        s3_fail_err(q, err);
    return err == ERR_NONE;
}

/* ---- GetObjectAttributes ---- */

enum attribute { ETAG = 1, CHECKSUM = 2, OBJECT_PARTS = 4, STORAGE_CLASS = 8, OBJECT_SIZE = 16 };

static const struct {
    const char *name;
    enum attribute attribute;
} names[] = {
    {"ETag", ETAG},
    {"Checksum", CHECKSUM},
    {"ObjectParts", OBJECT_PARTS},
    {"StorageClass", STORAGE_CLASS},
    {"ObjectSize", OBJECT_SIZE},
};

/* Of one x-amz-object-attributes; false: one is unknown. */
static bool
names_read(struct slice list, unsigned *wanted)
{
    while (list.p != NULL) {
        struct slice one = slice_trim(slice_cut(list, ',', &list));
        unsigned found = 0;
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
            if (slice_eqs(one, names[i].name))
                found = names[i].attribute;
        }
        if (found == 0 && one.n > 0)
            return false;
        *wanted |= found;
    }
    return true;
}

/* 0: answered. */
static unsigned
wanted_read(struct s3_request *q)
{
    unsigned wanted = 0;
    for (size_t i = 0; i < q->r->field_count; i++) {
        const struct http_field *f = &q->r->fields[i];
        if (!slice_ieqs(f->name, "x-amz-object-attributes") || names_read(f->value, &wanted))
            continue;
        s3_extra(q, "ArgumentName", SLICE_LIT("x-amz-object-attributes"));
        s3_extra(q, "ArgumentValue", f->value);
        s3_fail_why(q, S3_INVALID_ARGUMENT, "Invalid attribute name specified.");
        return 0;
    }
    if (wanted == 0)
        s3_fail_why(q, S3_INVALID_REQUEST,
                    "The x-amz-object-attributes header specifying the attributes to be retrieved "
                    "is either missing or empty");
    return wanted;
}

struct part_page {
    struct buf b; /* the Part elements */
    int after;
    int max;
    int given;
    int last;
    bool truncated;
};

/* A header that is a number; false: answered. */
static bool
field_int(struct s3_request *q, const char *name, int fallback, int max, int *out)
{
    struct slice text = slice_trim(http_field(q->r, name));
    uint64_t value = 0;
    *out = fallback;
    if (text.n == 0)
        return true;
    if (slice_to_u64(text, &value) != ERR_NONE) {
        s3_extra(q, "ArgumentName", slice_str(name));
        s3_extra(q, "ArgumentValue", text);
        s3_fail_why(q, S3_INVALID_ARGUMENT, "Argument must be an integer that is not negative");
        return false;
    }
    *out = value > (uint64_t)max ? max : (int)value;
    return true;
}

static int
part_entry(void *arg, const struct store_part *part)
{
    struct part_page *page = arg;
    if (part->number <= page->after)
        return 0;
    page->truncated = page->given == page->max;
    if (page->truncated)
        return 1;
    page->given++;
    page->last = part->number;
    xml_open(&page->b, "Part");
    xml_put_int(&page->b, "PartNumber", part->number);
    xml_put_int(&page->b, "Size", part->size);
    s3_checksum_xml(&page->b, part->checksum, part->checksum_base64);
    xml_close(&page->b, "Part");
    return page->b.err;
}

/* Nothing of an object that was put at once; the number alone where the parts are not known. */
static int
parts_xml(struct s3_request *q, const struct store_object *o, struct part_page *page, struct buf *b)
{
    if (o->part_count == 0)
        return ERR_NONE;
    int err = store_version_parts(q->s->store, o, part_entry, page);
    if (err != ERR_NONE && err != ERR_NOTFOUND)
        return err;
    xml_open(b, "ObjectParts");
    xml_put_int(b, "PartsCount", o->part_count);
    if (err == ERR_NONE) {
        xml_put_int(b, "PartNumberMarker", page->after);
        if (page->truncated && page->given > 0)
            xml_put_int(b, "NextPartNumberMarker", page->last);
        xml_put_int(b, "MaxParts", page->max);
        xml_puts(b, "IsTruncated", page->truncated ? "true" : "false");
        buf_put_slice(b, buf_slice(&page->b));
    }
    xml_close(b, "ObjectParts");
    return page->b.err;
}

/* A composite checksum comes without its "-N" here. */
static void
checksum_xml(struct buf *b, const struct store_object *o)
{
    char plain[STORE_CHECKSUM_MAX];
    if (o->checksum == CHECKSUM_NONE)
        return;
    size_t n = strcspn(o->checksum_base64, "-");
    memcpy(plain, o->checksum_base64, n);
    plain[n] = '\0';
    xml_open(b, "Checksum");
    s3_checksum_xml(b, o->checksum, plain);
    s3_checksum_type_xml(b, o->checksum, o->checksum_composite);
    xml_close(b, "Checksum");
}

static int
document(struct s3_request *q, const struct store_object *o, unsigned wanted,
         struct part_page *page, struct buf *b)
{
    int err = ERR_NONE;
    xml_head(b);
    xml_open(b, "GetObjectAttributesResponse" S3_XMLNS);
    if (wanted & ETAG)
        xml_puts(b, "ETag", o->etag); /* without quotes, only here */
    if (wanted & CHECKSUM)
        checksum_xml(b, o);
    if (wanted & OBJECT_PARTS)
        err = parts_xml(q, o, page, b);
    if (wanted & STORAGE_CLASS)
        xml_puts(b, "StorageClass", store_class_name(o->storage_class));
    if (wanted & OBJECT_SIZE)
        xml_put_int(b, "ObjectSize", o->size);
    xml_close(b, "GetObjectAttributesResponse");
    return err;
}

/* The version, if it may be read: S3 wants s3:GetObject as well. NULL: answered. */
static const struct store_object *
readable_find(struct s3_request *q)
{
    bool versioned = http_has_param(q->r, "versionId");
    const char *action = versioned ? s3_version_action("s3:GetObject") : "s3:GetObject";
    const struct store_object *o = s3_version_find(q);
    if (o != NULL && !s3_may_object(q, q->bucket, action, q->key, o)) {
        s3_fail(q, S3_ACCESS_DENIED);
        store_object_unref(&o);
    }
    return o;
}

void
s3_run_object_attributes(struct s3_request *q)
{
    struct part_page page = {.given = 0};
    struct buf b;
    char date[CLOCK_TEXT_MAX];
    unsigned wanted = wanted_read(q);
    if (wanted == 0 ||
        !field_int(q, "x-amz-max-parts", STORE_LIST_MAX, STORE_LIST_MAX, &page.max) ||
        !field_int(q, "x-amz-part-number-marker", 0, STORE_PART_MAX, &page.after))
        return;
    const struct store_object *o = readable_find(q);
    if (o == NULL)
        return;
    buf_init(&page.b, S3_REPLY_BYTES_MAX);
    buf_init(&b, S3_REPLY_BYTES_MAX);
    int err = document(q, o, wanted, &page, &b);
    if (err == ERR_NONE) {
        clock_http(o->mtime_ms, date);
        http_header(q->r, "Last-Modified", slice_str(date));
        s3_version_header(q, q->bucket, o);
        s3_reply_xml(q, 200, &b);
    } else {
        s3_fail_err(q, err);
    }
    buf_fini(&page.b);
    buf_fini(&b);
    store_object_unref(&o);
}
