/*
 * Notification configurations: KEY LF and the XML. Rules that were taken are read back from what is
 * printed of them, and match the key by the textbook.
 */
#include "pipeline/rule.h"
#include "tests/fuzz/fuzz.h"

static bool
ends(struct slice a, struct slice suffix)
{
    for (size_t i = 0; i < suffix.n; i++) {
        if (i >= a.n || a.p[a.n - 1 - i] != suffix.p[suffix.n - 1 - i])
            return false;
    }
    return true;
}

static void
check_matches(const struct notification_rule *rule, struct slice key)
{
    bool fits = key.n >= rule->prefix.n && ends(key, rule->suffix) &&
                (rule->prefix.n == 0 || memcmp(key.p, rule->prefix.p, rule->prefix.n) == 0);
    for (int type = 0; type < EVENT_RESTORED; type++) {
        bool wanted = (rule->events & EVENT_MASK(type)) != 0;
        CHK(rule_matches(rule, (enum event_type)type, key) == (fits && wanted));
    }
}

static void
check_same(const struct rule_list *a, const struct rule_list *b)
{
    CHK(a->count == b->count && a->count <= RULES_PER_BUCKET_MAX);
    for (size_t i = 0; i < a->count; i++) {
        const struct notification_rule *x = &a->rules[i], *y = &b->rules[i];
        CHK(slice_eq(x->id, y->id) && slice_eq(x->function, y->function));
        CHK(x->events == y->events && x->events != 0);
        CHK(slice_eq(x->prefix, y->prefix) && slice_eq(x->suffix, y->suffix));
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_of(data, size);
    struct slice key = fuzz_line(&in);
    struct slice xml = fuzz_exact(in);
    struct arena *a = fuzz_arena();
    struct rule_list list, again;
    struct buf why, printed;
    buf_init(&why, 4096);
    buf_init(&printed, 4u << 20);
    int err = rule_parse(a, xml, &list, &why);
    CHK(err != ERR_INVALID || why.n > 0);
    if (err == ERR_NONE) {
        for (size_t i = 0; i < list.count; i++)
            check_matches(&list.rules[i], key);
        rule_print(&list, &printed);
        CHK(printed.err == ERR_NONE);
        CHK(rule_parse(a, buf_slice(&printed), &again, &why) == ERR_NONE);
        check_same(&list, &again);
    }
    buf_fini(&printed);
    buf_fini(&why);
    arena_free(&a);
    free((void *)(uintptr_t)xml.p);
    return 0;
}
