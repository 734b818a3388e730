/*
 * Range and the If- headers. A line each: size, Range, entity tag list, date; ranges are judged by
 * a second reading of RFC 9110 section 14.1.2 as well.
 */
#include "base/clock.h"
#include "objectstore/s3_priv.h"
#include "tests/fuzz/fuzz.h"

#include <stdio.h>

#define ETAG "d41d8cd98f00b204e9800998ecf8427e"

static void
check_range(struct slice text, int64_t size)
{
    int64_t offset = -1, bytes = -1;
    int err = s3_range(text, size, &offset, &bytes);
    CHK(err == ERR_NONE || err == ERR_RANGE || err == ERR_UNSUPPORTED);
    if (err == ERR_NONE) {
        CHK(offset >= 0 && bytes > 0 && offset < size && bytes <= size - offset);
        CHK(slice_starts(text, SLICE_LIT("bytes=")));
    }
    if (err == ERR_RANGE)
        CHK(slice_starts(text, SLICE_LIT("bytes=")));
}

/* Numbers made from the input: the answer is known. */
static void
check_known_range(struct slice number, int64_t size)
{
    char text[80];
    int64_t offset, bytes;
    uint64_t first = 0, more = 0;
    struct slice rest, word = slice_cut(number, ' ', &rest);
    if (slice_to_u64(word, &first) != ERR_NONE || slice_to_u64(rest, &more) != ERR_NONE ||
        first > INT64_MAX || more > INT64_MAX)
        return;
    uint64_t last = first + more;
    snprintf(text, sizeof text, "bytes=%llu-%llu", (unsigned long long)first,
             (unsigned long long)last);
    int err = s3_range(slice_str(text), size, &offset, &bytes);
    CHK((err == ERR_NONE) == (first < (uint64_t)size));
    if (err == ERR_NONE) {
        uint64_t end = last < (uint64_t)size ? last + 1 : (uint64_t)size;
        CHK((uint64_t)offset == first && (uint64_t)bytes == end - first);
    }
    snprintf(text, sizeof text, "bytes=-%llu", (unsigned long long)more);
    err = s3_range(slice_str(text), size, &offset, &bytes);
    CHK((err == ERR_NONE) == (more > 0 && size > 0));
    if (err == ERR_NONE)
        CHK(offset + bytes == size &&
            (uint64_t)bytes == (more < (uint64_t)size ? more : (uint64_t)size));
}

static void
check_date(struct slice text)
{
    char z[CLOCK_TEXT_MAX], again[CLOCK_TEXT_MAX];
    int64_t ms, back;
    if (text.n >= sizeof z || memchr(text.p, '\0', text.n) != NULL)
        return;
    memcpy(z, text.p, text.n);
    z[text.n] = '\0';
    if (clock_parse(z, &ms) != ERR_NONE)
        return;
    clock_iso8601(ms, again);
    CHK(clock_parse(again, &back) == ERR_NONE && back == ms);
    clock_http(ms, again);
    CHK(clock_parse(again, &back) == ERR_NONE && back <= ms && ms - back < 1000);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice all = fuzz_exact(slice_of(data, size)), in = all;
    uint64_t bytes = 0;
    if (slice_to_u64(fuzz_line(&in), &bytes) != ERR_NONE || bytes > INT64_MAX)
        bytes = 1000;
    struct slice range = fuzz_line(&in), tags = fuzz_line(&in), date = fuzz_line(&in);
    check_range(range, (int64_t)bytes);
    check_known_range(tags, (int64_t)bytes);
    check_date(date);
    CHK(!s3_etag_matches(tags, ETAG, true) || s3_etag_matches(tags, ETAG, false));
    struct s3_conditions c = {.if_match = tags, .if_unmodified_since = date};
    bool matches = s3_etag_matches(tags, ETAG, true);
    CHK((s3_conditions_judge(&c, ETAG, 0) == S3_GO) == matches);
    c = (struct s3_conditions){.if_none_match = tags, .if_modified_since = date};
    matches = s3_etag_matches(tags, ETAG, false);
    CHK((s3_conditions_judge(&c, ETAG, 0) == S3_NOT_MODIFIED) == matches);
    s3_if_range_holds(date, ETAG, (int64_t)bytes);
    s3_if_range_holds(tags, ETAG, (int64_t)bytes);
    free((void *)(uintptr_t)all.p);
    return 0;
}
