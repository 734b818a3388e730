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
        /* pictures on the fly have names that nobody can configure; nor those of formats */
        {"[{\"name\":\"_0123456789abcdef\",\"width\":1,\"height\":1}]", "name"},
        {"[{\"name\":\"a.avif\",\"width\":1,\"height\":1}]", "name"},
#define FORMAT(f) "[{\"name\":\"a\",\"width\":1,\"height\":1,\"format\":" f "}]"
        {FORMAT("[]"), "(a): format must be one of webp"},
        {FORMAT("[\"webp\",\"webp\"]"), "a list of different ones"},
        {FORMAT("[\"webp\",\"gif\"]"), "format"},
        {FORMAT("[\"auto\"]"), "format"},
        {FORMAT("[[\"webp\"]]"), "format"},
        {FORMAT("{\"webp\":80}"), "format"},
        {FORMAT("null"), "format"},
        {FORMAT("[\"jpeg\",\"avif\"],\"animated\":true"), "every format but webp"},
        {FORMAT("[\"webp\",\"png\"],\"keep_copyright\":true"), "false for png"},
        {FORMAT("\"webp\",\"quality\":{\"webp\":0}"), "(a): quality must be from 1 to 100"},
        {FORMAT("\"webp\",\"quality\":{\"gif\":80}"), "quality must be"},
        {FORMAT("\"webp\",\"quality\":{\"avif\":\"50\"}"), "quality must be"},
        {FORMAT("\"webp\",\"quality\":[80]"), "quality must be an integer"},
    };
    struct preset_list l;
    char why[256];
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        int err = parse(bad[i].json, &l, why);
        if (err != ERR_INVALID || why[0] == '\0' || strstr(why, bad[i].says) == NULL)
            fail_msg("%s: %s, \"%s\"", bad[i].json, err_name(err), why);
    }
}

/* Each format of a preset is one of the list, the first under the preset's own name. */
static void
test_formats(void **state)
{
    (void)state;
    static const struct {
        const char *name, *base, *object;
        enum preset_format format;
        int quality;
        bool animated, followup;
    } want[] = {
        {"a", "a", "a.webp", PRESET_WEBP, 80, true, false},
        {"a.avif", "a", "a.avif", PRESET_AVIF, 50, false, true},
        {"a.jpg", "a", "a.jpg", PRESET_JPEG, 82, false, true},
        {"b", "b", "b.jpg", PRESET_JPEG, 80, false, false},
        {"b.png", "b", "b.png", PRESET_PNG, 80, false, true},
        {"b.webp", "b", "b.webp", PRESET_WEBP, 7, true, true},
        {"c", "c", "c.avif", PRESET_AVIF, 9, false, true},
    };
    struct preset_list l;
    struct buf object;
    char why[256];
    buf_init(&object, 64);
    assert_int_equal(parse("[{\"name\":\"a\",\"width\":1,\"height\":1,\"format\":\"auto\","
                           "\"quality\":{\"avif\":50,\"jpeg\":82},\"animated\":true},"
                           "{\"name\":\"b\",\"width\":1,\"height\":1,"
                           "\"format\":[\"jpeg\",\"png\",\"webp\"],"
                           "\"quality\":{\"webp\":7,\"avif\":3},\"animated\":true},"
                           "{\"name\":\"c\",\"width\":1,\"height\":1,\"format\":[\"avif\"],"
                           "\"quality\":9}]",
                           &l, why),
                     ERR_NONE);
    assert_int_equal(l.count, ARRAY_LEN(want));
    for (size_t i = 0; i < l.count; i++) {
        const struct preset *p = &l.presets[i];
        assert_string_equal(p->name, want[i].name);
        assert_true(slice_eqs(preset_base_name(p), want[i].base));
        assert_int_equal(preset_is_secondary(p), strchr(want[i].name, '.') != NULL);
        assert_int_equal(p->format, want[i].format);
        assert_int_equal(p->quality, want[i].quality);
        assert_int_equal(p->animated, want[i].animated);
        assert_int_equal(preset_is_followup(p), want[i].followup);
        buf_reset(&object);
        preset_object_name(p, &object);
        assert_string_equal(object.p, want[i].object);
    }
    buf_fini(&object);
}

/* What a picture is does not depend on how it was written: alone or in a list, one hash. */
static void
test_formats_hash(void **state)
{
    (void)state;
    struct preset_list alone, among;
    char why[256], a[PRESET_HASH_TEXT], b[PRESET_HASH_TEXT];
    assert_int_equal(parse(FORMAT("\"avif\",\"quality\":50"), &alone, why), ERR_NONE);
    assert_int_equal(parse(FORMAT("\"auto\",\"quality\":50"), &among, why), ERR_NONE);
    preset_hash(&alone.presets[0], a);
    preset_hash(&among.presets[1], b);
    assert_string_equal(a, b);
}

static void
test_canonical(void **state)
{
    (void)state;
    static const char *const same[] = {
#define HEAD "[{\"name\":\"a\",\"width\":1,\"height\":2,\"fit\":\"inside\",\"format\":"
#define TAIL ",\"focus\":\"centre\""
        HEAD "\"webp\",\"quality\":80" TAIL "}]",
        HEAD "\"auto\",\"quality\":80" TAIL "}]",
        HEAD "\"auto\",\"quality\":{\"webp\":80,\"avif\":50,\"jpeg\":82}" TAIL "}]",
        HEAD "[\"jpeg\",\"webp\"],\"quality\":80" TAIL ",\"animated\":true}]",
        HEAD "[\"webp\",\"jpeg\",\"avif\"],\"quality\":{\"webp\":1,\"jpeg\":1,\"avif\":2}" TAIL
             ",\"keep_copyright\":true},{\"name\":\"ab\",\"width\":1,\"height\":2,"
             "\"fit\":\"cover\",\"format\":\"png\",\"quality\":80,\"focus\":\"entropy\"}]",
    };
    struct preset_list l;
    struct buf text;
    char why[256];
    buf_init(&text, 4096);
    for (size_t i = 0; i < ARRAY_LEN(same); i++) {
        assert_int_equal(parse(same[i], &l, why), ERR_NONE);
        buf_reset(&text);
        preset_print(&l, &text);
        assert_string_equal(text.p, same[i]);
    }
    buf_fini(&text);
}

/* Every format of a preset counts. */
static void
test_too_many_formats(void **state)
{
    (void)state;
    struct preset_list l;
    struct buf json;
    char why[256];
    buf_init(&json, 1 << 16);
    for (int n = PRESETS_MAX / 2; n <= PRESETS_MAX / 2 + 1; n++) {
        buf_reset(&json);
        for (int i = 0; i < n; i++)
            buf_printf(&json,
                       "%s{\"name\":\"p%d\",\"width\":9,\"height\":9,"
                       "\"format\":[\"webp\",\"jpeg\"]}",
                       i == 0 ? "[" : ",", i);
        buf_putc(&json, ']');
        int want = n <= PRESETS_MAX / 2 ? ERR_NONE : ERR_INVALID;
        assert_int_equal(parse(json.p, &l, why), want);
        assert_true(want == ERR_NONE ? l.count == PRESETS_MAX : strstr(why, "32 pictures") != NULL);
    }
    buf_fini(&json);
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
    static const char *const want[] = {"31ce6c1663bfe660", "6928ab49cb94a611", "a38657c74173dc36"};
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
    assert_false(again.fail_damaged);
    l.fail_damaged = true;
    buf_reset(&b);
    preset_config_write(&l, true, &b);
    assert_int_equal(preset_config_read(buf_slice(&b), &again), ERR_NONE);
    assert_true(again.fail_damaged);
    assert_int_equal(again.count, 1);
    l.fail_damaged = false;
    buf_reset(&b);
    preset_config_write(&l, true, &b);
    /* No beginning of it but whole lines can be read. */
    for (size_t n = 1; n + 1 < b.n; n++)
        if (preset_config_read(slice_of(b.p, n), &again) == ERR_NONE)
            fail_msg("cut at %zu", n);
    buf_fini(&b);
}

/* Secondary formats and pictures on the fly keep their names on the way to the worker. */
static void
test_config_identity(void **state)
{
    (void)state;
    struct preset_list l, again;
    struct buf b;
    char why[256];
    assert_int_equal(parse("[{\"name\":\"a23456789012345678901234567890-2\",\"width\":1,"
                           "\"height\":1,\"format\":\"auto\"}]",
                           &l, why),
                     ERR_NONE);
    buf_init(&b, 16 << 10);
    preset_config_write(&l, true, &b);
    assert_int_equal(preset_config_read(buf_slice(&b), &again), ERR_NONE);
    assert_int_equal(again.count, 2);
    assert_memory_equal(&again.presets[0], &l.presets[1], 2 * sizeof(struct preset));

    preset_defaults(&l);
    char hash[PRESET_HASH_TEXT];
    preset_hash(&l.presets[0], hash);
    snprintf(l.presets[0].name, sizeof(l.presets[0].name), "_%s", hash);
    l.count = 1;
    assert_true(preset_name_is_variant(slice_str(l.presets[0].name)));
    buf_reset(&b);
    preset_config_write(&l, false, &b);
    assert_int_equal(preset_config_read(buf_slice(&b), &again), ERR_NONE);
    assert_int_equal(again.count, 1);
    assert_memory_equal(&again.presets[0], &l.presets[0], sizeof(struct preset));
    buf_reset(&b);
    preset_object_name(&l.presets[0], &b);
    assert_string_equal(b.p, "_31ce6c1663bfe660.webp");
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
        "a.avif 1 1 cover webp 80 centre\n",
        "a. 1 1 cover webp 80 centre\n",
        ".webp 1 1 cover webp 80 centre\n",
        "a.webp.webp 1 1 cover webp 80 centre\n",
        "_ 1 1 cover webp 80 centre\n",
        "_0123456789abcde 1 1 cover webp 80 centre\n",
        "_0123456789abcdef0 1 1 cover webp 80 centre\n",
        "_0123456789ABCDEF 1 1 cover webp 80 centre\n",
        "_0123456789abcdef.webp 1 1 cover webp 80 centre\n",
        "a234567890123456789012345678901234567 1 1 cover webp 80 centre\n",
        "a2345678901234567890123456789012345678 1 1 cover webp 80 centre\n",
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
        cmocka_unit_test(test_defaults),         cmocka_unit_test(test_parse_good),
        cmocka_unit_test(test_parse_bad),        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_print_and_parse),  cmocka_unit_test(test_hash),
        cmocka_unit_test(test_config),           cmocka_unit_test(test_config_bad),
        cmocka_unit_test(test_hash_is_stable),   cmocka_unit_test(test_formats),
        cmocka_unit_test(test_formats_hash),     cmocka_unit_test(test_canonical),
        cmocka_unit_test(test_too_many_formats), cmocka_unit_test(test_config_identity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
