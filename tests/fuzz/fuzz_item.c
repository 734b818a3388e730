/*
 * DynamoDB items. First byte 'j': an item as JSON, which must survive being written as JSON and in
 * the disk's form. 'd': the disk's form itself, as a damaged file might hold it. 'n': two numbers,
 * whose order as numbers and as key bytes is one.
 */
#include "base/digest.h"
#include "metadata/ddb_json.h"
#include "metadata/item_priv.h"
#include "metadata/key.h"
#include "tests/fuzz/fuzz.h"

static void
check_disk(struct arena *a, const struct attr_value *item)
{
    struct attr_value back;
    struct buf row;
    buf_init(&row, 4u << 20);
    item_encode(&row, item);
    if (row.err == ERR_NONE) {
        CHK(item_decode(a, buf_slice(&row), &back) == ERR_NONE);
        CHK(attr_equal(item, &back) && item_bytes(item) == item_bytes(&back));
    }
    buf_fini(&row);
}

static void
check_json(struct arena *a, struct slice text)
{
    struct attr_value item, back;
    struct buf why, written;
    buf_init(&why, 1024);
    buf_init(&written, 8u << 20);
    json_t *json = json_read(text, &why), *again = NULL;
    if (json != NULL && ddb_read_map(a, json, &item, &why) == ERR_NONE) {
        CHK(item.type == ATTR_M && attr_depth(&item) <= ITEM_DEPTH_MAX + 1);
        check_disk(a, &item);
        ddb_write_map(&written, &item);
        CHK(written.err == ERR_NONE);
        again = json_read(buf_slice(&written), &why);
        CHK(again != NULL && ddb_read_map(a, again, &back, &why) == ERR_NONE);
        CHK(attr_equal(&item, &back));
    } else if (json != NULL) {
        CHK(why.n > 0);
    }
    json_decref(again);
    json_decref(json);
    buf_fini(&written);
    buf_fini(&why);
}

/* As it stands, and behind a head that fits: version and CRC32C. */
static void
check_bytes(struct arena *a, struct slice bytes)
{
    struct attr_value item;
    if (item_decode(a, bytes, &item) == ERR_NONE)
        check_disk(a, &item);
    char *whole = chk_malloc(5 + bytes.n);
    uint32_t crc = digest_crc32c(0, bytes.p, bytes.n);
    whole[0] = 1;
    for (int i = 0; i < 4; i++)
        whole[1 + i] = (char)(crc >> (8 * i));
    memcpy(whole + 5, bytes.p, bytes.n);
    if (item_decode(a, slice_of(whole, 5 + bytes.n), &item) == ERR_NONE) {
        CHK(item.type == ATTR_M);
        check_disk(a, &item);
    }
    free(whole);
}

static void
check_numbers(struct arena *a, struct slice in)
{
    struct slice x, y, again;
    struct slice first = fuzz_line(&in);
    if (number_canonical(a, first, &x) != ERR_NONE)
        return;
    CHK(number_canonical(a, x, &again) == ERR_NONE && slice_eq(x, again));
    if (number_canonical(a, in, &y) != ERR_NONE)
        return;
    int order = number_compare(x, y);
    CHK((order < 0) == (number_compare(y, x) > 0) && (order == 0) == slice_eq(x, y));
    struct attr_value vx = {.type = ATTR_N, .bytes = x}, vy = {.type = ATTR_N, .bytes = y};
    struct buf kx, ky;
    buf_init(&kx, KEY_PARTITION_MAX);
    buf_init(&ky, KEY_PARTITION_MAX);
    CHK(key_encode(&kx, &vx) == ERR_NONE && key_encode(&ky, &vy) == ERR_NONE);
    int bytes = slice_cmp(buf_slice(&kx), buf_slice(&ky));
    CHK((order < 0) == (bytes < 0) && (order > 0) == (bytes > 0));
    buf_fini(&ky);
    buf_fini(&kx);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_of(data, size);
    unsigned kind = fuzz_byte(&in);
    struct slice rest = fuzz_exact(in);
    struct arena *a = arena_new(2 * ITEM_MEMORY_MAX);
    CHK(a != NULL);
    if (kind == 'j')
        check_json(a, rest);
    else if (kind == 'd')
        check_bytes(a, rest);
    else
        check_numbers(a, rest);
    arena_free(&a);
    free((void *)(uintptr_t)rest.p);
    return 0;
}
