#include "tests/pipeline/rig.h"
#include "pipeline/event.h"

#include "base/json.h"

static void
parses_types(void **state)
{
    (void)state;
    unsigned m = 0;
    assert_int_equal(event_types_parse(SLICE_LIT("s3:ObjectCreated:*"), &m), ERR_NONE);
    assert_int_equal(m, EVENT_MASK_CREATED);
    assert_int_equal(event_types_parse(SLICE_LIT("s3:ObjectCreated:Put"), &m), ERR_NONE);
    assert_int_equal(m, EVENT_MASK(EVENT_CREATED_PUT));
    assert_int_equal(event_types_parse(SLICE_LIT("s3:ObjectCreated:CompleteMultipartUpload"), &m),
                     ERR_NONE);
    assert_int_equal(m, EVENT_MASK(EVENT_CREATED_MULTIPART));
    /* "Copy" is also the word for an internal event, which nobody can subscribe to. */
    assert_int_equal(event_types_parse(SLICE_LIT("s3:ObjectCreated:Copy"), &m), ERR_NONE);
    assert_int_equal(m, EVENT_MASK(EVENT_CREATED_COPY));
    assert_int_equal(event_types_parse(SLICE_LIT("s3:ObjectRemoved:DeleteMarkerCreated"), &m),
                     ERR_NONE);
    assert_int_equal(m, EVENT_MASK(EVENT_REMOVED_MARKER));
    assert_int_equal(event_types_parse(SLICE_LIT("s3:ObjectTagging:*"), &m), ERR_NONE);
    assert_int_equal(m, EVENT_MASK(EVENT_TAGGED) | EVENT_MASK(EVENT_UNTAGGED));
    assert_int_equal(event_types_parse(SLICE_LIT("s3:LifecycleExpiration:Delete"), &m), ERR_NONE);
    assert_int_equal(m, EVENT_MASK(EVENT_EXPIRED));
    assert_int_equal(event_types_parse(SLICE_LIT("s3:ObjectAcl:Put"), &m), ERR_NONE);
    assert_int_equal(m, EVENT_MASK(EVENT_ACL_SET));
    assert_int_equal(event_types_parse(SLICE_LIT("s3:ObjectRestore:Post"), &m), ERR_UNSUPPORTED);
    assert_int_equal(event_types_parse(SLICE_LIT("s3:ObjectCreated"), &m), ERR_INVALID);
    assert_int_equal(event_types_parse(SLICE_LIT("ObjectCreated:Put"), &m), ERR_INVALID);
    assert_int_equal(event_types_parse(SLICE_NONE, &m), ERR_INVALID);
}

static void
collect(void *arg, const char *name)
{
    buf_printf(arg, "%s ", name);
}

static void
prints_fewest_names(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 1000);
    event_types_each(EVENT_MASK_CREATED | EVENT_MASK(EVENT_REMOVED), collect, &out);
    assert_string_equal(out.p, "s3:ObjectCreated:* s3:ObjectRemoved:Delete ");
    buf_reset(&out);
    event_types_each(EVENT_MASK_TAGGING | EVENT_MASK(EVENT_EXPIRED), collect, &out);
    assert_string_equal(out.p, "s3:ObjectTagging:* s3:LifecycleExpiration:Delete ");
    buf_fini(&out);
}

static void
encodes_keys_and_sequencers(void **state)
{
    (void)state;
    struct buf out;
    char text[EVENT_SEQUENCER_TEXT];
    buf_init(&out, 1000);
    event_key_encode(SLICE_LIT("a b/c+\xc3\xa9(1).jpg"), &out);
    assert_string_equal(out.p, "a+b/c%2B%C3%A9%281%29.jpg");
    buf_fini(&out);
    event_sequencer(0x5a, text);
    assert_string_equal(text, "000000000000005A");
    event_sequencer(INT64_MAX, text);
    assert_string_equal(text, "7FFFFFFFFFFFFFFF");
}

static void
writes_records(void **state)
{
    (void)state;
    struct buf out;
    struct event_record e = {.type = EVENT_CREATED_PUT,
                             .region = SLICE_LIT("us-east-1"),
                             .time_ms = 0,
                             .principal = SLICE_LIT("0123"),
                             .source_ip = SLICE_LIT("127.0.0.1"),
                             .request_id = SLICE_LIT("R\"1"),
                             .rule_id = SLICE_LIT("rule"),
                             .bucket = SLICE_LIT("photos"),
                             .bucket_owner = SLICE_LIT("owner"),
                             .key = SLICE_LIT("a b"),
                             .size = 12,
                             .etag = SLICE_LIT("abc"),
                             .version_id = SLICE_LIT("null"),
                             .generation = 255};
    buf_init(&out, 10000);
    event_record_write(&e, &out);
    json_t *root = json_read(buf_slice(&out), NULL);
    assert_non_null(root);
    json_t *record = json_array_get(json_object_get(root, "Records"), 0);
    assert_true(slice_eqs(json_get_str(record, "eventVersion"), "2.1"));
    assert_true(slice_eqs(json_get_str(record, "eventTime"), "1970-01-01T00:00:00.000Z"));
    assert_true(slice_eqs(json_get_str(record, "eventName"), "ObjectCreated:Put"));
    json_t *s3 = json_object_get(record, "s3");
    assert_true(
        slice_eqs(json_get_str(json_object_get(s3, "bucket"), "arn"), "arn:aws:s3:::photos"));
    json_t *object = json_object_get(s3, "object");
    assert_true(slice_eqs(json_get_str(object, "key"), "a+b"));
    assert_true(slice_eqs(json_get_str(object, "sequencer"), "00000000000000FF"));
    assert_int_equal(json_get_int(object, "size", -1), 12);
    assert_null(json_object_get(object, "versionId"));
    json_decref(root);

    buf_reset(&out);
    e.type = EVENT_REMOVED;
    event_record_write(&e, &out);
    assert_null(strstr(out.p, "\"size\""));
    assert_null(strstr(out.p, "eTag"));
    buf_fini(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses_types),
        cmocka_unit_test(prints_fewest_names),
        cmocka_unit_test(encodes_keys_and_sequencers),
        cmocka_unit_test(writes_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
