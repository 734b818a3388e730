/*
 * Bucket policies. First byte '0': the rest is ACTION LF KEY LF VALUE LF and a document; the value
 * is what every condition key has, each twice. Else the rest is PATTERN LF TEXT: a policy is made
 * of the pattern, and its verdict on the text compared with the textbook's matcher.
 */
#include "base/json.h"
#include "objectstore/policy.h"
#include "tests/fuzz/fuzz.h"

#define BUCKET SLICE_LIT("photos")
#define TEXT_MAX 200
#define ACTION_MAX 60
#define KEY_MAX 1024

static size_t
values(const void *arg, enum policy_key key, struct slice tail, struct slice out[POLICY_VALUES_MAX],
       char scratch[POLICY_SCRATCH])
{
    (void)tail, (void)scratch;
    CHK(key < POLICY_KEY_COUNT && policy_key_name(key)[0] != '\0');
    out[0] = out[1] = *(const struct slice *)arg;
    return 1 + (size_t)key % 2;
}

static enum policy_verdict
judge(const struct policy *p, const struct account *account, const char *action, struct slice key,
      struct slice value)
{
    struct policy_request rq = {.account = account,
                                .action = action,
                                .bucket = BUCKET,
                                .key = key,
                                .values = value.p == NULL ? NULL : values,
                                .arg = &value};
    enum policy_verdict v = policy_judge(p, &rq);
    CHK(v == POLICY_NONE || v == POLICY_ALLOW || v == POLICY_DENY);
    CHK(policy_judge(p, &rq) == v);
    return v;
}

static int
parse(struct slice json, struct policy **p)
{
    struct buf why;
    buf_init(&why, 1024);
    int err = policy_parse(json, BUCKET, p, &why);
    CHK((err == ERR_NONE) == (*p != NULL));
    CHK(err != ERR_INVALID || why.n > 0);
    buf_fini(&why);
    return err;
}

static void
check_document(struct slice in)
{
    struct arena *a = fuzz_arena();
    struct policy *p = NULL;
    struct slice action_text = fuzz_line(&in), key = fuzz_line(&in), value = fuzz_line(&in);
    struct account account = {.id = "000000000002", .canonical_id = "c", .display_name = "n"};
    if (action_text.n > ACTION_MAX || key.n > KEY_MAX)
        action_text.n = key.n = 0; /* the one is the server's own, the other checked before */
    const char *action = arena_dup(a, action_text).p;
    struct slice json = fuzz_exact(in);
    if (parse(json, &p) == ERR_NONE) {
        judge(p, NULL, action, key, value);
        judge(p, &account, action, key, value);
        judge(p, NULL, action, SLICE_NONE, SLICE_NONE);
        policy_is_public(p);
    }
    policy_free(&p);
    free((void *)(uintptr_t)json.p);
    arena_free(&a);
}

/* ---- patterns ---- */

static size_t
character(struct slice s, size_t at)
{
    size_t n = 1;
    while (at + n < s.n && ((unsigned char)s.p[at + n] & 0xc0) == 0x80)
        n++;
    return n;
}

/* Row i: which beginnings of the text the first i bytes of the pattern can cover. */
static bool
textbook(struct slice pattern, struct slice text)
{
    bool row[TEXT_MAX + 1] = {true}, next[TEXT_MAX + 1];
    for (size_t i = 0; i < pattern.n; i++) {
        char c = pattern.p[i];
        memset(next, 0, sizeof next);
        for (size_t at = 0; at <= text.n; at++) {
            if (c == '*') {
                next[at] = row[at] || (at > 0 && next[at - 1]);
            } else if (row[at] && at < text.n && c == '?') {
                next[at + character(text, at)] = true;
            } else if (row[at] && at < text.n && c == text.p[at]) {
                next[at + 1] = true;
            }
        }
        memcpy(row, next, sizeof row);
    }
    return row[text.n];
}

static void
check_pattern(struct slice in)
{
    struct slice pattern = fuzz_line(&in);
    struct policy *p = NULL;
    struct buf json, arn;
    if (pattern.n > TEXT_MAX || in.n > TEXT_MAX || !slice_is_utf8(pattern) || !slice_is_utf8(in) ||
        memchr(pattern.p, '\0', pattern.n) != NULL || in.n == 0)
        return;
    buf_init(&json, 8192);
    buf_init(&arn, 1024);
    buf_puts(&arn, "arn:aws:s3:::photos/");
    buf_put_slice(&arn, pattern);
    buf_puts(&json, "{\"Version\":\"2008-10-17\",\"Statement\":[{\"Effect\":\"Allow\","
                    "\"Principal\":\"*\",\"Action\":\"s3:GetObject\",\"Resource\":");
    json_quote(&json, buf_slice(&arn));
    buf_puts(&json, "}]}");
    CHK(json.err == ERR_NONE && arn.err == ERR_NONE);
    if (parse(buf_slice(&json), &p) == ERR_NONE) {
        enum policy_verdict v = judge(p, NULL, "s3:GetObject", in, SLICE_NONE);
        CHK((v == POLICY_ALLOW) == textbook(pattern, in));
    }
    policy_free(&p);
    buf_fini(&arn);
    buf_fini(&json);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_of(data, size);
    if (fuzz_byte(&in) == '0')
        check_document(in);
    else
        check_pattern(in);
    return 0;
}
