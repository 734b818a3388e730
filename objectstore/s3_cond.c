/*
 * Conditions and ranges: If-* headers and Range, as pure functions of the headers and the object.
 * https://www.rfc-editor.org/rfc/rfc9110#section-13 and #section-14
 */
#include "objectstore/s3_priv.h"
#include "base/clock.h"
#include "base/err.h"

void
s3_conditions_read(const struct http_request *r, bool copy, struct s3_conditions *out)
{
    out->if_match = http_field(r, copy ? "x-amz-copy-source-if-match" : "If-Match");
    out->if_none_match = http_field(r, copy ? "x-amz-copy-source-if-none-match" : "If-None-Match");
    out->if_modified_since =
        http_field(r, copy ? "x-amz-copy-source-if-modified-since" : "If-Modified-Since");
    out->if_unmodified_since =
        http_field(r, copy ? "x-amz-copy-source-if-unmodified-since" : "If-Unmodified-Since");
}

bool
s3_etag_matches(struct slice list, const char *etag, bool strong)
{
    while (list.p != NULL) {
        struct slice tag = slice_trim(slice_cut(list, ',', &list));
        bool weak = slice_starts(tag, SLICE_LIT("W/"));
        if (slice_eqs(tag, "*"))
            return true;
        if (weak)
            tag = slice_skip(tag, 2);
        if (tag.n >= 2 && tag.p[0] == '"' && tag.p[tag.n - 1] == '"')
            tag = slice_of(tag.p + 1, tag.n - 2);
        if (slice_eqs(tag, etag) && !(weak && strong))
            return true;
    }
    return false;
}

int
s3_date_seconds(struct slice text, int64_t *out)
{
    char z[CLOCK_TEXT_MAX];
    int64_t ms;
    if (text.n == 0 || text.n >= sizeof z)
        return ERR_INVALID;
    memcpy(z, text.p, text.n);
    z[text.n] = '\0';
    if (clock_parse(z, &ms) != ERR_NONE)
        return ERR_INVALID;
    *out = ms / 1000;
    return ERR_NONE;
}

/* A write that must not replace anything says "*"; that it may replace anything but one version is
 * nothing S3 has. No write is ever in the middle of another's decision here, so there is no 409
 * ConditionalRequestConflict: who comes second fails with 412, or 404 when the object is gone.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html */
bool
s3_condition_read(struct s3_request *q, struct store_condition *out)
{
    *out = (struct store_condition){.if_match = http_field(q->r, "If-Match"),
                                    .if_none_match = http_field(q->r, "If-None-Match")};
    if (out->if_none_match.p == NULL || slice_eqs(slice_trim(out->if_none_match), "*"))
        return true;
    s3_extra(q, "Header", SLICE_LIT("If-None-Match"));
    s3_fail(q, S3_NOT_IMPLEMENTED);
    return false;
}

enum s3_verdict
s3_conditions_judge(const struct s3_conditions *c, const char *etag, int64_t mtime_ms)
{
    int64_t since, mtime = mtime_ms / 1000;
    if (c->if_match.p != NULL) {
        if (!s3_etag_matches(c->if_match, etag, true))
            return S3_FAILED;
    } else if (s3_date_seconds(c->if_unmodified_since, &since) == ERR_NONE && mtime > since) {
        return S3_FAILED;
    }
    if (c->if_none_match.p != NULL) {
        if (s3_etag_matches(c->if_none_match, etag, false))
            return S3_NOT_MODIFIED;
    } else if (s3_date_seconds(c->if_modified_since, &since) == ERR_NONE && mtime <= since) {
        return S3_NOT_MODIFIED;
    }
    return S3_GO;
}

bool
s3_if_range_holds(struct slice value, const char *etag, int64_t mtime_ms)
{
    int64_t date;
    if (value.p == NULL)
        return true;
    if (s3_date_seconds(value, &date) == ERR_NONE)
        return date == mtime_ms / 1000;
    /* One tag, no list, no "*". */
    return value.n > 0 && value.p[0] == '"' && s3_etag_matches(value, etag, true);
}

int
s3_range(struct slice text, int64_t size, int64_t *offset, int64_t *bytes)
{
    struct slice last_text;
    uint64_t first = 0, last = 0;
    if (!slice_starts(text, SLICE_LIT("bytes=")))
        return ERR_UNSUPPORTED;
    text = slice_trim(slice_skip(text, 6));
    struct slice first_text = slice_trim(slice_cut(text, '-', &last_text));
    if (last_text.p == NULL)
        return ERR_UNSUPPORTED;
    last_text = slice_trim(last_text);
    bool has_first = slice_to_u64(first_text, &first) == ERR_NONE;
    bool has_last = slice_to_u64(last_text, &last) == ERR_NONE;
    if ((!has_first && first_text.n > 0) || (!has_last && last_text.n > 0) ||
        (!has_first && !has_last) || (has_first && has_last && last < first))
        return ERR_UNSUPPORTED;
    uint64_t total = (uint64_t)size;
    if (!has_first) {
        if (last == 0 || total == 0)
            return ERR_RANGE;
        first = last < total ? total - last : 0;
        last = total - 1;
    } else {
        if (first >= total)
            return ERR_RANGE;
        last = has_last && last < total ? last : total - 1;
    }
    *offset = (int64_t)first;
    *bytes = (int64_t)(last - first + 1);
    return ERR_NONE;
}
