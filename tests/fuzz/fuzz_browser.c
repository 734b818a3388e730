/*
 * What else browsers and their pages send. The first byte says what the rest is: 'c' cross-origin
 * rules, 't' a tag set as a document, 'h' as a header, 'w' metadata in a header, 'p' the policy of
 * a form. What was understood and written again is understood the same.
 */
#include "base/digest.h"
#include "objectstore/cors.h"
#include "objectstore/encoded_word.h"
#include "objectstore/post_policy.h"
#include "objectstore/tags.h"
#include "tests/fuzz/fuzz.h"

#define OUT_MAX (4u << 20)

static struct cors *
cors_of(struct slice xml)
{
    struct cors *c = NULL;
    struct buf why;
    buf_init(&why, 1024);
    int err = cors_parse(xml, &c, &why);
    CHK((err == ERR_NONE) == (c != NULL));
    buf_fini(&why);
    return c;
}

static void
check_cors(struct slice in)
{
    static const struct cors_request rq = {SLICE_LIT("https://a.org"), SLICE_LIT("GET"),
                                           SLICE_LIT("x-amz-date, range,")};
    struct cors *c = cors_of(in), *again = NULL;
    struct cors_answer x = {0}, y = {0};
    struct buf first, second;
    if (c == NULL)
        return;
    buf_init(&first, OUT_MAX);
    buf_init(&second, OUT_MAX);
    cors_write(c, &first);
    CHK(first.err == ERR_NONE);
    again = cors_of(buf_slice(&first));
    CHK(again != NULL);
    cors_write(again, &second);
    CHK(slice_eq(buf_slice(&first), buf_slice(&second)));
    CHK(cors_match(c, &rq, &x) == cors_match(again, &rq, &y));
    CHK(x.any_origin == y.any_origin && x.max_age_s == y.max_age_s);
    CHK(slice_eq(x.methods, y.methods) && slice_eq(x.exposed, y.exposed));
    cors_free(&c);
    cors_free(&again);
    buf_fini(&first);
    buf_fini(&second);
}

static void
check_set(struct arena *a, const struct tags *t)
{
    const struct xml_node *root = NULL;
    struct tags kept, written;
    struct tags_error e;
    struct buf text, xml;
    buf_init(&text, OUT_MAX);
    buf_init(&xml, OUT_MAX);
    tags_encode(t, &text);
    tags_write(t, &xml);
    CHK(text.err == ERR_NONE && xml.err == ERR_NONE);
    CHK(t->count > TAGS_OBJECT_MAX || text.n <= TAGS_TEXT_MAX);
    CHK(tags_count(buf_slice(&text)) == t->count);
    CHK(tags_decode(buf_slice(&text), &kept) == ERR_NONE && kept.count == t->count);
    CHK(xml_parse(a, buf_slice(&xml), &root) == ERR_NONE);
    CHK(tags_read_xml(root, TAGS_OF_BUCKET, &written, &e) == TAGS_OK);
    CHK(written.count == t->count);
    for (size_t i = 0; i < t->count; i++) {
        CHK(slice_eq(kept.list[i].key, t->list[i].key));
        CHK(slice_eq(kept.list[i].value, t->list[i].value));
        CHK(slice_eq(written.list[i].key, t->list[i].key));
        CHK(slice_eq(written.list[i].value, t->list[i].value));
        CHK(i == 0 || slice_cmp(t->list[i - 1].key, t->list[i].key) < 0);
    }
    buf_fini(&text);
    buf_fini(&xml);
}

static void
check_tags(struct slice in, bool header)
{
    struct arena *a = fuzz_arena();
    const struct xml_node *root = NULL;
    struct tags t;
    struct tags_error e = {.fault = TAGS_MALFORMED};
    if (header)
        tags_read_header(a, in, &t, &e);
    else if (xml_parse(a, in, &root) == ERR_NONE)
        tags_read_xml(root, in.n % 2 == 0 ? TAGS_OF_OBJECT : TAGS_OF_BUCKET, &t, &e);
    if (e.fault == TAGS_OK)
        check_set(a, &t);
    else
        CHK(slice_is_utf8(e.key) && slice_is_utf8(e.value));
    tags_decode(in, &t);
    arena_free(&a);
}

/* What goes out is plain, and means what came in. */
static void
check_word(struct slice in)
{
    struct buf text, word, again;
    buf_init(&text, OUT_MAX);
    buf_init(&word, OUT_MAX);
    buf_init(&again, OUT_MAX);
    encoded_word_decode(in, &text);
    CHK(text.err == ERR_NONE && slice_is_utf8(buf_slice(&text)));
    if (encoded_word_needed(buf_slice(&text))) {
        encoded_word_encode(buf_slice(&text), &word);
        CHK(word.err == ERR_NONE && !encoded_word_needed(buf_slice(&word)));
        encoded_word_decode(buf_slice(&word), &again);
        CHK(slice_eq(buf_slice(&text), buf_slice(&again)));
    }
    buf_fini(&text);
    buf_fini(&word);
    buf_fini(&again);
}

static void
check_policy(struct slice in)
{
    static const struct http_field fields[] = {{SLICE_LIT("key"), SLICE_LIT("a/b")},
                                               {SLICE_LIT("Content-Type"), SLICE_LIT("x/y,x/z")},
                                               {SLICE_LIT("x-ignore-a"), SLICE_LIT("1")}};
    const struct post_policy_form form = {fields, ARRAY_LEN(fields), SLICE_LIT("album"), 0};
    struct post_policy_range range;
    struct buf base64, why;
    buf_init(&base64, OUT_MAX);
    buf_init(&why, 4096);
    base64_encode(&base64, in.p, in.n);
    int err = post_policy_check(buf_slice(&base64), &form, &range, &why);
    CHK(err == ERR_NONE || err == ERR_NOMEM || why.n > 0 || why.err != ERR_NONE);
    CHK(err != ERR_NONE || why.n == 0);
    buf_reset(&why);
    post_policy_check(in, &form, &range, &why);
    buf_fini(&base64);
    buf_fini(&why);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_of(data, size);
    unsigned what = fuzz_byte(&in);
    struct slice text = fuzz_exact(in);
    if (what == 'c')
        check_cors(text);
    else if (what == 't' || what == 'h')
        check_tags(text, what == 'h');
    else if (what == 'w')
        check_word(text);
    else if (what == 'p')
        check_policy(text);
    free((void *)(uintptr_t)text.p);
    return 0;
}
