/* URLs that may be posted to, signatures, and posts to receivers of every kind. */
#include "base/chk.h"
#include "base/clock.h"
#include "base/err.h"
#include "pipeline/webhook_send.h"
#include "tests/lib/receiver.h"

#include <netdb.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SECRET "0123456789abcdef"
#define WAIT_MS 300000
#define POST_MS 5000 /* of who hangs */

/* ---- where to ---- */

struct where {
    const char *hosts, *url;
    int err;
};

static const struct where wheres[] = {
    /* as meant */
    {"good", "http://good/x", ERR_NONE},
    {"good", "https://good", ERR_NONE},
    {"good", "HTTP://GOOD/", ERR_NONE},
    {"GooD", "http://good/?q=1", ERR_NONE},
    {" a , good:8080 ,, b", "http://good:8080/x", ERR_NONE},
    {"127.0.0.1:9", "http://127.0.0.1:9/", ERR_NONE},
    {"[::1]:8080", "http://[::1]:8080/", ERR_NONE},
    {"[::1]:8080", "http://[0:0:0:0:0:0:0:1]:8080/", ERR_NONE},
    {"[0:0::1]", "https://[::1]/", ERR_NONE},
    /* nobody is allowed, or somebody else */
    {"", "http://good/", ERR_DENIED},
    {"good", "http://evil/", ERR_DENIED},
    {"good.com", "http://good.com.evil/", ERR_DENIED},
    {"good.com", "http://evilgood.com/", ERR_DENIED},
    {"good.com", "http://sub.good.com/", ERR_DENIED},
    {"good.com", "http://good.com./", ERR_DENIED},
    {"good", "http://evil/good", ERR_DENIED},
    {"good", "http://evil/?good", ERR_DENIED},
    /* ports */
    {"good", "http://good:8080/", ERR_DENIED},
    {"good", "http://good:80/", ERR_NONE},
    {"good", "http://good:443/", ERR_DENIED},
    {"good", "https://good:443/", ERR_NONE},
    {"good:8080", "http://good/", ERR_DENIED},
    {"good:8080", "http://good:8081/", ERR_DENIED},
    {"good:443", "http://good:443/", ERR_NONE},
    {"good:80", "http://good/", ERR_NONE},
    {"good", "http://good:0/", ERR_INVALID},
    {"good", "http://good:65536/", ERR_INVALID},
    {"good", "http://good:80:80/", ERR_INVALID},
    {"[::1]:8080", "http://[::1]/", ERR_DENIED},
    {"[::1]", "http://[::2]/", ERR_DENIED},
    /* who is the host? */
    {"good", "http://good@evil/", ERR_INVALID},
    {"good,evil", "http://good@evil/", ERR_INVALID},
    {"good,evil", "http://good:80@evil/", ERR_INVALID},
    {"good", "http://@good/", ERR_INVALID},
    {"good", "http://evil#@good/", ERR_INVALID},
    {"good", "http://good\\@evil/", ERR_INVALID},
    {"good", "http://good\\.evil/", ERR_INVALID},
    {"good", "http://good%2f.evil/", ERR_INVALID},
    {"good", "http://good%00.evil/", ERR_INVALID},
    {"good", "http://good;evil/", ERR_INVALID},
    {"good", "http://good\t.evil/", ERR_INVALID},
    {"good",
     "http://g\xc3\xb6"
     "od/",
     ERR_INVALID},
    {"[::1]", "http://[::1%25lo]/", ERR_INVALID},
    /* one address has many names: it is compared in its normal form */
    {"good", "http://2130706433/", ERR_DENIED},
    {"127.0.0.1", "http://0x7f.1/", ERR_NONE},
    {"good", "http://%67ood/", ERR_NONE},
    {"good", "http://%65vil/", ERR_DENIED},
    /* no URL for us */
    {"good", "http://good/#", ERR_INVALID},
    {"good", "http://good/#x", ERR_INVALID},
    {"good", "ftp://good/", ERR_INVALID},
    {"good", "file:///etc/passwd", ERR_INVALID},
    {"good", "gopher://good/", ERR_INVALID},
    {"good", "good/", ERR_INVALID},
    {"good", "//good/", ERR_INVALID},
    {"good", "/", ERR_INVALID},
    {"good", "http://good/a b", ERR_INVALID},
    {"good", "http://good/a\r\nX: y", ERR_INVALID},
    {"good", "", ERR_INVALID},
};

static void
where_to(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(wheres); i++) {
        const struct where *w = &wheres[i];
        struct webhook_hosts *hosts = NULL;
        struct buf why;
        buf_init(&why, 1024);
        assert_int_equal(webhook_hosts_parse(&hosts, slice_str(w->hosts), &why), ERR_NONE);
        int err = webhook_hosts_check(hosts, slice_str(w->url), &why);
        if (err != w->err)
            fail_msg("\"%s\" with hosts \"%s\": %s, not %s", w->url, w->hosts, err_name(err),
                     err_name(w->err));
        assert_true((err == ERR_NONE) == (why.n == 0));
        webhook_hosts_free(&hosts);
        buf_fini(&why);
    }
}

static void
bad_lists(void **state)
{
    static const char *const bad[] = {"good/x",  "http://good", "user@good",  "good?x",
                                      "good#x",  "good:",       "good:0",     "good:99999",
                                      "g ood",   "*.good:x",    "[::1",       "[::1%25lo]",
                                      "a,b,c d", "good:80:80",  "good,evil@x"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct webhook_hosts *hosts = NULL;
        struct buf why;
        buf_init(&why, 1024);
        if (webhook_hosts_parse(&hosts, slice_str(bad[i]), &why) == ERR_NONE)
            fail_msg("\"%s\" was taken for a list of hosts", bad[i]);
        assert_non_null(strstr(why.p, "webhook.hosts"));
        assert_null(hosts);
        buf_fini(&why);
    }
}

/* ---- how ---- */

static void
signature(void **state)
{
    char got[WEBHOOK_SIGNATURE_MAX];
    (void)state;
    /* printf '1767225600.{"id":"17"}' | openssl dgst -sha256 -hmac 0123456789abcdef */
    webhook_sign(SLICE_LIT(SECRET), 1767225600, SLICE_LIT("{\"id\":\"17\"}"), got);
    assert_string_equal(got, "v1=56482f19fb3401b33acae57200edbd2211f6dfb3dda963f2f253061e1ad8a729");
}

struct rack {
    struct receiver *r;
    struct webhook_hosts *hosts;
    struct webhook_sender *sender;
};

struct sent {
    struct webhook_post post;
    bool ended;
};

static void
sent_ended(struct webhook_post *p)
{
    CONTAINER_OF(p, struct sent, post)->ended = true;
}

static void
send_to(struct rack *k, struct sent *s, const char *url)
{
    *s = (struct sent){.post = {.url = slice_str(url),
                                .secret = SLICE_LIT(SECRET),
                                .id = 17,
                                .body = SLICE_LIT("{\"id\":\"17\"}"),
                                .ended = sent_ended}};
    webhook_sender_post(k->sender, &s->post);
}

/* Runs until it has ended. */
static void
end(struct rack *k, struct sent *s)
{
    int64_t deadline_ms = clock_mono_ms() + 2 * WAIT_MS;
    while (!s->ended && clock_mono_ms() < deadline_ms)
        webhook_sender_run(k->sender, 100);
    assert_true(s->ended);
}

static void
sender_set(struct rack *k, const char *list, int post_ms)
{
    struct buf why;
    buf_init(&why, 256);
    webhook_sender_free(&k->sender);
    webhook_hosts_free(&k->hosts);
    CHK(webhook_hosts_parse(&k->hosts, slice_str(list), &why) == ERR_NONE);
    struct webhook_sender_options o = {
        .hosts = k->hosts, .connect_ms_max = post_ms / 2, .post_ms_max = post_ms};
    k->sender = webhook_sender_new(&o);
    buf_fini(&why);
}

static int
setup(void **state)
{
    struct rack *k = chk_calloc(1, sizeof *k);
    k->r = receiver_start();
    sender_set(k, receiver_address(k->r), WAIT_MS);
    *state = k;
    return 0;
}

static int
teardown(void **state)
{
    struct rack *k = *state;
    webhook_sender_free(&k->sender);
    webhook_hosts_free(&k->hosts);
    receiver_stop(&k->r);
    free(k);
    return 0;
}

static void
request(void **state)
{
    struct rack *k = *state;
    struct sent s;
    char signature[WEBHOOK_SIGNATURE_MAX];
    uint64_t then = 0;
    send_to(k, &s, receiver_url(k->r, "/hook?a=b"));
    end(k, &s);
    assert_true(s.post.taken);
    assert_int_equal(receiver_count(k->r), 1);
    assert_true(slice_starts(receiver_request(k->r, 0), SLICE_LIT("POST /hook?a=b HTTP/1.1\r\n")));
    assert_true(slice_eqs(receiver_body(k->r, 0), "{\"id\":\"17\"}"));
    assert_true(slice_eqs(receiver_header(k->r, 0, "Host"), receiver_address(k->r)));
    assert_true(slice_eqs(receiver_header(k->r, 0, "Content-Type"), "application/json"));
    assert_true(slice_eqs(receiver_header(k->r, 0, "User-Agent"), "darkroom/" DARKROOM_VERSION));
    assert_true(slice_eqs(receiver_header(k->r, 0, "X-Darkroom-Id"), "17"));
    assert_null(receiver_header(k->r, 0, "Expect").p);
    struct slice time = receiver_header(k->r, 0, "X-Darkroom-Timestamp");
    assert_int_equal(slice_to_u64(time, &then), ERR_NONE);
    assert_true(llabs((long long)then * 1000 - clock_wall_ms()) < WAIT_MS);
    webhook_sign(SLICE_LIT(SECRET), (int64_t)then, receiver_body(k->r, 0), signature);
    assert_true(slice_eqs(receiver_header(k->r, 0, "X-Darkroom-Signature"), signature));
}

struct verdict {
    const char *answer;
    bool taken;
    const char *why;
};

static const struct verdict verdicts[] = {
    {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true, ""},
    {"HTTP/1.1 299 Fine\r\nContent-Length: 0\r\n\r\n", true, ""},
    {"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", false, "answered 500"},
    {"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n", false, "answered 410"},
    {"HTTP/1.1 304 No\r\n\r\n", false, "answered 304, and redirects are not followed"},
    {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut", false, NULL},
    {"SSH-2.0-other\r\n", false, NULL},
    {"", false, NULL},
};

static void
what_is_taken(void **state)
{
    struct rack *k = *state;
    for (size_t i = 0; i < ARRAY_LEN(verdicts); i++) {
        struct sent s;
        receiver_answer(k->r, verdicts[i].answer);
        send_to(k, &s, receiver_url(k->r, "/"));
        end(k, &s);
        assert_int_equal(s.post.taken, verdicts[i].taken);
        if (verdicts[i].why != NULL)
            assert_string_equal(s.post.why, verdicts[i].why);
        else
            assert_string_not_equal(s.post.why, "");
    }
}

static void
redirects_are_not_followed(void **state)
{
    struct rack *k = *state;
    struct receiver *inside = receiver_start();
    struct sent s;
    char answer[512], list[128];
    snprintf(list, sizeof list, "%s,%s", receiver_address(k->r), receiver_address(inside));
    sender_set(k, list, WAIT_MS); /* not even to where a hook might go */
    static const int codes[] = {301, 302, 303, 307, 308};
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        snprintf(answer, sizeof answer,
                 "HTTP/1.1 %d Elsewhere\r\nLocation: http://%s/\r\nContent-Length: 0\r\n\r\n",
                 codes[i], receiver_address(inside));
        receiver_answer(k->r, answer);
        send_to(k, &s, receiver_url(k->r, "/"));
        end(k, &s);
        assert_false(s.post.taken);
    }
    assert_int_equal(receiver_count(inside), 0);
    receiver_stop(&inside);
}

static void
proxies_are_not_asked(void **state)
{
    struct rack *k = *state;
    struct receiver *proxy = receiver_start();
    struct sent s;
    setenv("http_proxy", receiver_url(proxy, ""), 1);
    setenv("ALL_PROXY", receiver_url(proxy, ""), 1);
    send_to(k, &s, receiver_url(k->r, "/"));
    end(k, &s);
    unsetenv("http_proxy");
    unsetenv("ALL_PROXY");
    assert_true(s.post.taken);
    assert_int_equal(receiver_count(proxy), 0);
    receiver_stop(&proxy);
}

/* The list may have become shorter since the hook was added. */
static void
hosts_are_asked_again(void **state)
{
    struct rack *k = *state;
    struct sent s;
    sender_set(k, "elsewhere.example", WAIT_MS);
    send_to(k, &s, receiver_url(k->r, "/"));
    assert_true(s.ended);
    assert_false(s.post.taken);
    assert_non_null(strstr(s.post.why, "webhook.hosts"));
    assert_int_equal(receiver_count(k->r), 0);
}

/* Who says 2xx and then talks on has taken it, but is not listened to; who never comes to the end
 * of a head has said nothing. */
static void
endless_answers(void **state)
{
    struct rack *k = *state;
    struct sent s;
    receiver_flood(k->r, "HTTP/1.1 200 OK\r\n\r\n", "and then I said\n");
    send_to(k, &s, receiver_url(k->r, "/"));
    end(k, &s);
    assert_true(s.post.taken);
    receiver_flood(k->r, "HTTP/1.1 500 No\r\n\r\n", "and then I said\n");
    send_to(k, &s, receiver_url(k->r, "/"));
    end(k, &s);
    assert_string_equal(s.post.why, "answered 500");
    receiver_flood(k->r, "HTTP/1.1 200 OK\r\n", "X-More: of the same\r\n");
    send_to(k, &s, receiver_url(k->r, "/"));
    end(k, &s);
    assert_false(s.post.taken);
    assert_null(strstr(s.post.why, "timed out")); /* cut before */
}

static void
one_hangs_others_go_on(void **state)
{
    struct rack *k = *state;
    struct receiver *deaf = receiver_start();
    struct sent hangs, s;
    char list[128], url[128];
    snprintf(list, sizeof list, "%s,%s", receiver_address(k->r), receiver_address(deaf));
    snprintf(url, sizeof url, "http://%s/", receiver_address(deaf));
    sender_set(k, list, POST_MS);
    receiver_answer(deaf, NULL);
    int64_t began_ms = clock_mono_ms();
    send_to(k, &hangs, url);
    while (receiver_count(deaf) == 0)
        webhook_sender_run(k->sender, 10);
    for (int i = 0; i < 3; i++) {
        send_to(k, &s, receiver_url(k->r, "/"));
        end(k, &s);
        assert_true(s.post.taken);
    }
    /* They did not wait for its end... */
    assert_false(hangs.ended && clock_mono_ms() - began_ms < POST_MS);
    end(k, &hangs); /* ... which comes */
    assert_false(hangs.post.taken);
    send_to(k, &hangs, url);
    webhook_sender_abort(k->sender, &hangs.post);
    webhook_sender_run(k->sender, 0);
    assert_false(hangs.ended);
    receiver_stop(&deaf);
}

/* ---- names that do not resolve ---- */

static pthread_mutex_t resolver_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t resolver_cond = PTHREAD_COND_INITIALIZER;
static int resolver_asked;
static bool resolver_free;

/* In place of the C library's: no name server answers here, until the end. */
int
getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
            struct addrinfo **out)
{
    (void)node;
    (void)service;
    (void)hints;
    *out = NULL;
    pthread_mutex_lock(&resolver_mutex);
    resolver_asked++;
    while (!resolver_free)
        pthread_cond_wait(&resolver_cond, &resolver_mutex);
    resolver_asked--;
    pthread_cond_broadcast(&resolver_cond);
    pthread_mutex_unlock(&resolver_mutex);
    return EAI_AGAIN;
}

static int
asked(void)
{
    pthread_mutex_lock(&resolver_mutex);
    int count = resolver_asked;
    pthread_mutex_unlock(&resolver_mutex);
    return count;
}

static void
resolver_release(void)
{
    pthread_mutex_lock(&resolver_mutex);
    resolver_free = true;
    pthread_cond_broadcast(&resolver_cond);
    while (resolver_asked > 0)
        pthread_cond_wait(&resolver_cond, &resolver_mutex);
    pthread_mutex_unlock(&resolver_mutex);
}

/* A name server that does not answer holds up neither the others nor, at its deadline, the thread.
 */
static void
resolver_hangs(void **state)
{
    struct rack *k = *state;
    struct sent lost, s;
    char list[128];
    snprintf(list, sizeof list, "%s,lost.example", receiver_address(k->r));
    sender_set(k, list, POST_MS);
    send_to(k, &lost, "http://lost.example/");
    while (asked() == 0)
        webhook_sender_run(k->sender, 10);
    send_to(k, &s, receiver_url(k->r, "/"));
    end(k, &s);
    assert_true(s.post.taken);
    end(k, &lost);
    assert_false(lost.post.taken);
    assert_int_equal(asked(), 1); /* it has ended though its resolver has not */
    resolver_release();
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(where_to),
        cmocka_unit_test(bad_lists),
        cmocka_unit_test(signature),
        cmocka_unit_test_setup_teardown(request, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(redirects_are_not_followed, setup, teardown),
        cmocka_unit_test_setup_teardown(proxies_are_not_asked, setup, teardown),
        cmocka_unit_test_setup_teardown(hosts_are_asked_again, setup, teardown),
        cmocka_unit_test_setup_teardown(endless_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(one_hangs_others_go_on, setup, teardown),
        cmocka_unit_test_setup_teardown(resolver_hangs, setup, teardown),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
