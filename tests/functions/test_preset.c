/* Presets: the JSON people write, the hash that names their bytes, the config workers read. */
#include "functions/preset.h"
#include "base/chk.h"
#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static int
parse(const char *json, struct preset_list *list, char why[256])
{
    struct buf b;
    buf_init(&b, 255);
    int err = preset_parse(slice_str(json), list, &b);
    snprintf(why, 256, "%s", b.n == 0 ? "" : b.p);
    buf_fini(&b);
    return err;
}

static void
test_defaults(void **state)
{
    (void)state;
    struct preset_list l;
    preset_defaults(&l);
    assert_int_equal(l.count, 3);
    assert_string_equal(l.presets[0].name, "small");
    assert_int_equal(l.presets[0].fit, PRESET_COVER);
    assert_int_equal(l.presets[2].width, 1600);
    assert_int_equal(l.presets[2].quality, 80);
    assert_false(preset_is_followup(&l.presets[0]));
}

static void
test_parse_good(void **state)
{
    (void)state;
    struct preset_list l;
    char why[256];
    assert_int_equal(parse("[{\"name\":\"a\",\"width\":1,\"height\":8192}]", &l, why), ERR_NONE);
    assert_int_equal(l.presets[0].fit, PRESET_INSIDE);
    assert_int_equal(l.presets[0].format, PRESET_WEBP);
    assert_int_equal(l.presets[0].quality, 80);
    assert_int_equal(l.presets[0].focus, PRESET_CENTRE);
    assert_int_equal(parse("[{\"name\":\"hero-2\",\"width\":30,\"height\":40,\"fit\":\"contain\","
                           "\"format\":\"avif\",\"quality\":7,\"focus\":\"attention\"}]",
                           &l, why),
                     ERR_NONE);
    assert_string_equal(l.presets[0].name, "hero-2");
    assert_int_equal(l.presets[0].height, 40);
    assert_int_equal(l.presets[0].fit, PRESET_CONTAIN);
    assert_int_equal(l.presets[0].quality, 7);
    assert_int_equal(l.presets[0].focus, PRESET_ATTENTION);
    assert_true(preset_is_followup(&l.presets[0]));
    assert_false(l.presets[0].enlarge || l.presets[0].has_background || l.presets[0].sharpen != 0);
    assert_int_equal(parse("[{\"name\":\"a\",\"width\":1,\"height\":1,\"enlarge\":true,"
                           "\"sharpen\":1.257,\"background\":\"#0aF010\"}]",
                           &l, why),
                     ERR_NONE);
    assert_true(l.presets[0].enlarge && l.presets[0].has_background);
    assert_int_equal(l.presets[0].sharpen, 126);
    assert_int_equal(l.presets[0].background, 0x0af010);
    assert_int_equal(parse("[{\"name\":\"a\",\"width\":1,\"height\":1,\"enlarge\":false,"
                           "\"sharpen\":10}]",
                           &l, why),
                     ERR_NONE);
    assert_false(l.presets[0].enlarge);
    assert_int_equal(l.presets[0].sharpen, PRESET_SHARPEN_MAX);
}

static void
test_parse_bad(void **state)
{
    (void)state;
    static const struct {
        const char *json, *says;
    } bad[] = {
        {"", ""},
        {"{}", "array"},
        {"[]", "array"},
        {"[1]", "object"},
        {"[{\"width\":1,\"height\":1}]", "name"},
        {"[{\"name\":\"A\",\"width\":1,\"height\":1}]", "name"},
        {"[{\"name\":\"a/b\",\"width\":1,\"height\":1}]", "name"},
        {"[{\"name\":\"\",\"width\":1,\"height\":1}]", "name"},
        {"[{\"name\":\"a23456789012345678901234567890123\",\"width\":1,\"height\":1}]", "name"},
        {"[{\"name\":\"a\",\"height\":1}]", "(a): width"},
        {"[{\"name\":\"a\",\"width\":0,\"height\":1}]", "width"},
        {"[{\"name\":\"a\",\"width\":8193,\"height\":1}]", "8192"},
        {"[{\"name\":\"a\",\"width\":1.5,\"height\":1}]", "width"},
        {"[{\"name\":\"a\",\"width\":\"1\",\"height\":1}]", "width"},
        {"[{\"name\":\"a\",\"width\":1,\"height\":-1}]", "height"},
        {"[{\"name\":\"a\",\"width\":1,\"height\":1,\"quality\":101}]", "quality"},
        {"[{\"name\":\"a\",\"width\":1,\"height\":1,\"quality\":0}]", "quality"},
        {"[{\"name\":\"a\",\"width\":1,\"height\":1,\"fit\":\"fill\"}]", "cover, contain, inside"},
        {"[{\"name\":\"a\",\"width\":1,\"height\":1,\"fit\":1}]", "fit"},
        {"[{\"name\":\"a\",\"width\":1,\"height\":1,\"format\":\"gif\"}]", "webp"},
        {"[{\"name\":\"a\",\"width\":1,\"height\":1,\"focus\":\"face\"}]", "centre"},
        {"[{\"name\":\"a\",\"width\":1,\"height\":1,\"enlarge\":1}]", "enlarge must be true or"},
        {"[{\"name\":\"a\",\"width\":1,\"height\":1,\"keep_copyright\":\"yes\"}]",
         "keep_copyright must be true or false"},
        {"[{\"name\":\"a\",\"width\":1,\"height\":1,\"format\":\"png\",\"keep_copyright\":true}]",
         "(a): keep_copyright must be false for png"},
        {"[{\"name\":\"a\",\"width\":1,\"height\":1,\"format\":\"avif\",\"animated\":true}]",
         "(a): animated must be false for every format but webp"},
        {"[{\"name\":\"a\",\"width\":1,\"height\":1,\"enlarge\":null}]", "true or false"},
        {"[{\"name\":\"a\",\"width\":1,\"height\":1,\"sharpen\":10.1}]",
         "from 0 (not at all) to 10"},
        {"[{\"name\":\"a\",\"width\":1,\"height\":1,\"sharpen\":-1}]", "sharpen"},
        {"[{\"name\":\"a\",\"width\":1,\"height\":1,\"sharpen\":true}]", "sharpen"},
        {"[{\"name\":\"a\",\"width\":1,\"height\":1,\"background\":\"red\"}]", "like \"#rrggbb\""},
        {"[{\"name\":\"a\",\"width\":1,\"height\":1,\"background\":\"#12345\"}]", "background"},
        {"[{\"name\":\"a\",\"width\":1,\"height\":1,\"background\":\"#12345g\"}]", "background"},
        {"[{\"name\":\"a\",\"width\":1,\"height\":1,\"background\":0}]", "background"},
        {"[{\"name\":\"a\",\"width\":1,\"height\":1,\"qality\":1}]", "unknown member \"qality\""},
        {"[{\"name\":\"a\",\"width\":1,\"height\":1},{\"name\":\"a\",\"width\":2,\"height\":1}]",
         "preset 2 (a): name"},
        {"[{\"name\":\"a\",\"width\":1,\"height\":1}] x", ""},
    };
    struct preset_list l;
    char why[256];
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        int err = parse(bad[i].json, &l, why);
        if (err != ERR_INVALID || why[0] == '\0' || strstr(why, bad[i].says) == NULL)
            fail_msg("%s: %s, \"%s\"", bad[i].json, err_name(err), why);
    }
}

static void
test_too_many(void **state)
{
    (void)state;
    struct preset_list l;
    struct buf json, why;
    buf_init(&json, 1 << 16);
    buf_init(&why, 255);
    for (int n = PRESETS_MAX; n <= PRESETS_MAX + 1; n++) {
        buf_reset(&json);
        for (int i = 0; i < n; i++)
            buf_printf(&json, "%s{\"name\":\"p%d\",\"width\":9,\"height\":9}", i == 0 ? "[" : ",",
                       i);
        buf_putc(&json, ']');
        int want = n <= PRESETS_MAX ? ERR_NONE : ERR_INVALID;
        assert_int_equal(preset_parse(buf_slice(&json), &l, &why), want);
    }
    buf_fini(&json);
    buf_fini(&why);
}

/* Every member that most presets lack. */
static void
set_extras(struct preset *p)
{
    p->enlarge = true;
    p->sharpen = 107;
    p->has_background = true;
    p->background = 0x00ff0a;
    p->keep_copyright = true;
    p->animated = p->format == PRESET_WEBP;
}

static void
test_print_and_parse(void **state)
{
    (void)state;
    struct preset_list l, again;
    struct buf text, why;
    preset_defaults(&l);
    l.presets[1].focus = PRESET_ENTROPY;
    l.presets[2].format = PRESET_JPEG;
    set_extras(&l.presets[1]);
    buf_init(&text, 4096);
    buf_init(&why, 255);
    preset_print(&l, &text);
    assert_int_equal(preset_parse(buf_slice(&text), &again, &why), ERR_NONE);
    assert_memory_equal(&l, &again, sizeof(l));
    buf_fini(&text);
    buf_fini(&why);
}

static void
test_hash(void **state)
{
    (void)state;
    struct preset_list l;
    char base[PRESET_HASH_TEXT], other[PRESET_HASH_TEXT];
    preset_defaults(&l);
    struct preset p = l.presets[0];
    preset_hash(&p, base);
    assert_int_equal(strlen(base), 16);

#define DIFFERS(change)                       \
    do {                                      \
        struct preset q = p;                  \
        q.change;                             \
        preset_hash(&q, other);               \
        assert_string_not_equal(base, other); \
    } while (0)
    DIFFERS(width = 161);
    DIFFERS(height = 161);
    DIFFERS(fit = PRESET_CONTAIN);
    DIFFERS(format = PRESET_JPEG);
    DIFFERS(quality = 79);
    DIFFERS(focus = PRESET_ATTENTION);

    DIFFERS(enlarge = true);
    DIFFERS(sharpen = 50);
    DIFFERS(keep_copyright = true);
    DIFFERS(animated = true);
    DIFFERS(format = PRESET_JPEG; q.has_background = true);
    DIFFERS(fit = PRESET_CONTAIN; q.has_background = true);

    /* The name is not in the bytes; nor is a focus that crops nothing, nor PNG's quality. */
    struct preset q = p;
    q.name[0] = 'x';
    preset_hash(&q, other);
    assert_string_equal(base, other);
    p.fit = PRESET_INSIDE;
    preset_hash(&p, base);
    p.focus = PRESET_ENTROPY;
    preset_hash(&p, other);
    assert_string_equal(base, other);
    p.format = PRESET_PNG;
    preset_hash(&p, base);
    p.quality = 1;
    preset_hash(&p, other);
    assert_string_equal(base, other);

    /* Nor is a background that nothing stands on; nor white for JPEG, which has it anyway. */
    p.has_background = true;
    preset_hash(&p, other);
    assert_string_equal(base, other);
    p.format = PRESET_JPEG;
    p.has_background = false;
    preset_hash(&p, base);
    p.has_background = true;
    p.background = 0xffffff;
    preset_hash(&p, other);
    assert_string_equal(base, other);
    p.background = 0xfffffe;
    preset_hash(&p, other);
    assert_string_not_equal(base, other);
}

/* Thumbnails made before there were further members keep their names. */
static void
test_hash_is_stable(void **state)
{
    (void)state;
    static const char *const want[] = {"a79441ec3aff251c", "2309544f50eb4756", "f6a0f8581b76fdf5"};
    struct preset_list l;
    char got[PRESET_HASH_TEXT];
    preset_defaults(&l);
    for (size_t i = 0; i < l.count; i++) {
        preset_hash(&l.presets[i], got);
        assert_string_equal(got, want[i]);
    }
}

static void
test_config(void **state)
{
    (void)state;
    struct preset_list l, again;
    struct buf b;
    preset_defaults(&l);
    l.presets[1].format = PRESET_AVIF;
    set_extras(&l.presets[1]);
    buf_init(&b, 16 << 10);
    preset_config_write(&l, false, &b);
    assert_int_equal(preset_config_read(buf_slice(&b), &again), ERR_NONE);
    assert_int_equal(again.count, 2);
    assert_memory_equal(&again.presets[0], &l.presets[0], sizeof(struct preset));
    assert_memory_equal(&again.presets[1], &l.presets[2], sizeof(struct preset));
    buf_reset(&b);
    preset_config_write(&l, true, &b);
    assert_int_equal(preset_config_read(buf_slice(&b), &again), ERR_NONE);
    assert_int_equal(again.count, 1);
    assert_memory_equal(&again.presets[0], &l.presets[1], sizeof(struct preset));
    /* No beginning of it but whole lines can be read. */
    for (size_t n = 1; n + 1 < b.n; n++)
        if (preset_config_read(slice_of(b.p, n), &again) == ERR_NONE)
            fail_msg("cut at %zu", n);
    buf_fini(&b);
}

static void
test_config_bad(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "a",
        "a 1 1 cover webp 80\n",
        "a 1 1 cover webp 80 centre x\n",
        "a 1 1 cover webp 80 centre",
        "a 1 1 cover webp 80 centre enlarged\n",
        "a 1 1 cover webp 80 centre sharpen=0\n",
        "a 1 1 cover webp 80 centre sharpen=1001\n",
        "a 1 1 cover webp 80 centre background=12345\n",
        "a 1 1 cover webp 80 centre background=1234567\n",
        "a 1 1 cover webp 80 centre  enlarge\n",
        "a 1 1 cover webp 101 centre\n",
        "a 0 1 cover webp 80 centre\n",
        "a 1 9999 cover webp 80 centre\n",
        "a 1 1 fill webp 80 centre\n",
        "A 1 1 cover webp 80 centre\n",
        "a 1 1 cover tiff 80 centre\n",
        "a 1 1 cover webp 80 left\n",
        "\n",
    };
    struct preset_list l;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (preset_config_read(slice_str(bad[i]), &l) != ERR_INVALID)
            fail_msg("accepted: %s", bad[i]);
    assert_int_equal(preset_config_read(SLICE_NONE, &l), ERR_NONE);
    assert_int_equal(l.count, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),        cmocka_unit_test(test_parse_good),
        cmocka_unit_test(test_parse_bad),       cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_print_and_parse), cmocka_unit_test(test_hash),
        cmocka_unit_test(test_config),          cmocka_unit_test(test_config_bad),
        cmocka_unit_test(test_hash_is_stable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
