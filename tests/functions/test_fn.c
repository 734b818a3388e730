/* The messages between server and worker: round trips, and a worker that lies. */
#include "functions/fn.h"
#include "base/chk.h"
#include "base/err.h"
#include "base/fsio.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct link {
    int a, b;
    struct wire_reader r;
    struct arena *arena;
};

static size_t
count_fds(void)
{
    size_t n = 0;
    DIR *d = opendir("/proc/self/fd");
    assert_non_null(d);
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

static void
link_open(struct link *l)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
    l->a = fds[0];
    l->b = fds[1];
    assert_int_equal(wire_reader_init(&l->r), ERR_NONE);
    l->arena = arena_new(8 << 20);
    assert_non_null(l->arena);
}

static void
link_close(struct link *l)
{
    wire_reader_fini(&l->r);
    arena_free(&l->arena);
    close(l->a);
    close(l->b);
}

/* Sends and frees the message. */
static void
pass(struct link *l, struct wire_msg *m)
{
    assert_int_equal(wire_send(l->a, m), ERR_NONE);
    wire_msg_fini(m);
    assert_int_equal(wire_recv(l->b, &l->r), ERR_NONE);
}

static const struct fn_request request = {
    .id = 77,
    .source_bytes = 1234,
    .source_type = {"image/jpeg", 10},
    .source_hints = {"x-amz-meta-focal\0001", 18},
    .pixels_frame_max = 5,
    .pixels_total_max = 6,
    .memory_bytes_max = 7,
    .deadline_ms = 8,
    .calls = {{{"thumbnail", 9}, {"conf\0ig", 7}}, {{"metadata", 8}, {NULL, 0}}},
    .call_count = 2,
};

static void
test_natives(void **state)
{
    (void)state;
    assert_int_equal(fn_native_count, 2);
    assert_string_equal(fn_natives[0].name, "thumbnail");
    assert_int_equal(fn_natives[0].memory_mb, 1024);
    assert_int_equal(fn_natives[1].timeout_s, 30);
}

static void
test_request(void **state)
{
    (void)state;
    struct link l;
    struct wire_msg m;
    struct fn_request got;
    int fd = -1;
    link_open(&l);
    fn_request_write(&m, &request, STDIN_FILENO);
    pass(&l, &m);
    assert_int_equal(fn_request_read(&l.r, l.arena, &got, &fd), ERR_NONE);
    assert_true(fd > 2);
    close(fd);
    assert_int_equal(got.id, 77);
    assert_int_equal(got.source_bytes, 1234);
    assert_true(slice_eq(got.source_hints, request.source_hints));
    assert_int_equal(got.deadline_ms, 8);
    assert_int_equal(got.call_count, 2);
    assert_true(slice_eq(got.calls[0].config, request.calls[0].config));
    assert_true(slice_eqs(got.calls[1].name, "metadata"));
    link_close(&l);
}

static int
read_request(const struct fn_request *req)
{
    struct link l;
    struct wire_msg m;
    struct fn_request got;
    int fd = -1;
    size_t before = count_fds();
    link_open(&l);
    fn_request_write(&m, req, STDIN_FILENO);
    pass(&l, &m);
    int err = fn_request_read(&l.r, l.arena, &got, &fd);
    if (fd >= 0)
        close(fd);
    link_close(&l);
    assert_int_equal(count_fds(), before);
    return err;
}

static void
test_request_bad(void **state)
{
    (void)state;
    struct fn_request r = request;
    assert_int_equal(read_request(&r), ERR_NONE);
    r.call_count = 0;
    assert_int_equal(read_request(&r), ERR_INVALID);
    r = request;
    r.calls[1].name = r.calls[0].name;
    assert_int_equal(read_request(&r), ERR_INVALID);
    r = request;
    r.source_bytes = -1;
    assert_int_equal(read_request(&r), ERR_INVALID);
    r = request;
    r.pixels_frame_max = 0;
    assert_int_equal(read_request(&r), ERR_INVALID);
    r = request;
    r.calls[0].name = SLICE_LIT("a b");
    assert_int_equal(read_request(&r), ERR_INVALID);
    char big[FN_CONFIG_MAX + 1] = {0};
    r = request;
    r.calls[0].config = slice_of(big, sizeof(big));
    assert_int_equal(read_request(&r), ERR_INVALID);
    r.calls[0].config.n--;
    assert_int_equal(read_request(&r), ERR_NONE);
}

/* ---- results ---- */

struct answer_kit { /* a good result that a test then spoils */
    struct fn_result res;
    struct fn_output outputs[2];
    struct fn_attr attrs[3];
};

static void
kit_init(struct answer_kit *k)
{
    *k = (struct answer_kit){0};
    k->outputs[0] = (struct fn_output){.name = SLICE_LIT("small"),
                                       .extension = SLICE_LIT("webp"),
                                       .content_type = SLICE_LIT("image/webp"),
                                       .config_hash = SLICE_LIT("0123456789abcdef"),
                                       .status = FN_OK,
                                       .bytes = 5,
                                       .width = 160,
                                       .height = 120,
                                       .fd = fsio_memfd("t", SLICE_LIT("hello"))};
    k->outputs[1] = k->outputs[0];
    k->outputs[1].name = SLICE_LIT("large");
    k->outputs[1].status = FN_FAILED;
    k->outputs[1].reason = SLICE_LIT("no");
    k->outputs[1].bytes = 0;
    k->outputs[1].fd = -1;
    k->attrs[0] = (struct fn_attr){SLICE_LIT("width"), 'N', SLICE_LIT("-12.5")};
    k->attrs[1] = (struct fn_attr){SLICE_LIT("exif.lens"), 'S', SLICE_LIT("50 mm \xc3\xa9")};
    k->attrs[2] = (struct fn_attr){SLICE_LIT("damaged"), 'F', SLICE_NONE};
    k->res = (struct fn_result){.id = 77, .rss_peak_bytes = 6, .decode = {5, 9}, .answer_count = 2};
    k->res.answers[0] = (struct fn_answer){.name = SLICE_LIT("metadata"),
                                           .status = FN_SKIPPED,
                                           .reason = SLICE_LIT("why"),
                                           .attrs = k->attrs,
                                           .attr_count = 3};
    k->res.answers[1] = (struct fn_answer){
        .name = SLICE_LIT("thumbnail"), .status = FN_OK, .outputs = k->outputs, .output_count = 2};
    k->res.answers[1].cost.cpu_us = 4;
    k->outputs[0].cost.run_us = 3;
}

/* Sends the kit and reads it as the server would; whatever comes of it, no descriptor stays. */
static int
read_result(struct answer_kit *k)
{
    struct link l;
    struct wire_msg m;
    struct fn_result got;
    link_open(&l);
    size_t before = count_fds();
    fn_result_write(&m, &k->res);
    pass(&l, &m);
    int err = fn_result_read(&l.r, l.arena, &request, &got);
    if (err == ERR_NONE)
        fn_result_close(&got);
    wire_reader_fini(&l.r);
    assert_int_equal(count_fds(), before);
    link_close(&l);
    return err;
}

static void
test_result(void **state)
{
    (void)state;
    struct answer_kit k;
    struct link l;
    struct wire_msg m;
    struct fn_result got;
    char text[5];
    kit_init(&k);
    link_open(&l);
    fn_result_write(&m, &k.res);
    pass(&l, &m);
    assert_int_equal(fn_result_read(&l.r, l.arena, &request, &got), ERR_NONE);
    assert_int_equal(got.answer_count, 2);
    assert_int_equal(got.decode.cpu_us, 5);
    assert_int_equal(got.decode.run_us, 9);
    assert_int_equal(got.answers[1].cost.cpu_us, 4);
    assert_int_equal(got.answers[1].outputs[0].cost.run_us, 3);
    assert_int_equal(got.answers[0].status, FN_SKIPPED);
    assert_true(slice_eqs(got.answers[0].attrs[1].name, "exif.lens"));
    assert_int_equal(got.answers[0].attrs[2].type, 'F');
    const struct fn_output *o = got.answers[1].outputs;
    assert_int_equal(o[0].height, 120);
    assert_int_equal(fsio_pread_all(o[0].fd, text, 5, 0), ERR_NONE);
    assert_memory_equal(text, "hello", 5);
    assert_int_equal(o[1].fd, -1);
    assert_true(slice_eqs(o[1].reason, "no"));
    fn_result_close(&got);
    assert_int_equal(got.answers[1].outputs[0].fd, -1);
    link_close(&l);
    fn_result_close(&k.res);
}

#define SPOILED(change)                                 \
    do {                                                \
        struct answer_kit k;                            \
        kit_init(&k);                                   \
        int own = k.outputs[0].fd;                      \
        k.change;                                       \
        int err = read_result(&k);                      \
        close(own);                                     \
        if (err != ERR_INVALID)                         \
            fail_msg("%s: %s", #change, err_name(err)); \
    } while (0)

static void
test_result_bad(void **state)
{
    (void)state;
    SPOILED(res.id = 78);
    SPOILED(res.decode.cpu_us = -1);
    SPOILED(res.decode.run_us = INT64_MAX);
    SPOILED(res.answers[0].cost.cpu_us = INT64_MIN);
    SPOILED(outputs[1].cost.run_us = -1);
    SPOILED(res.answer_count = 1);
    SPOILED(res.answers[0].name = SLICE_LIT("thumbnail"));
    SPOILED(res.answers[0].name = SLICE_LIT("other"));
    SPOILED(res.answers[0].status = (enum fn_status)0);
    SPOILED(res.answers[0].status = (enum fn_status)5);
    SPOILED(res.answers[0].reason = SLICE_LIT("\xff"));
    SPOILED(outputs[0].name = SLICE_LIT("../x"));
    SPOILED(outputs[0].name = SLICE_LIT(""));
    SPOILED(outputs[0].extension = SLICE_LIT("we/p"));
    SPOILED(outputs[0].content_type = SLICE_LIT("image/webp\r\nx: y"));
    SPOILED(outputs[0].config_hash = SLICE_LIT("G"));
    SPOILED(outputs[0].bytes = 4);
    SPOILED(outputs[0].bytes = 6);
    SPOILED(outputs[0].bytes = FN_OUTPUT_BYTES_MAX + 1);
    SPOILED(outputs[0].width = -1);
    SPOILED(outputs[1].name = SLICE_LIT("small"));
    SPOILED(attrs[0].type = 'X');
    SPOILED(attrs[0].value = SLICE_LIT("1e5"));
    SPOILED(attrs[0].value = SLICE_LIT("-"));
    SPOILED(attrs[0].value = SLICE_LIT("nan"));
    SPOILED(attrs[1].value = SLICE_LIT("\xc3"));
    SPOILED(attrs[1].value = SLICE_LIT(""));
    SPOILED(attrs[2].value = SLICE_LIT("x"));
    SPOILED(attrs[2].name = SLICE_LIT("width"));
    SPOILED(attrs[2].name = SLICE_LIT("exif"));
    SPOILED(attrs[2].name = SLICE_LIT("exif.lens.x"));
    SPOILED(attrs[2].name = SLICE_LIT(".a"));
    SPOILED(attrs[2].name = SLICE_LIT("a."));
    SPOILED(attrs[2].name = SLICE_LIT("a..b"));
    SPOILED(attrs[2].name = SLICE_LIT("a b"));
}

/* Descriptors that are not what they should be. */
static void
test_result_bad_fds(void **state)
{
    (void)state;
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    SPOILED(outputs[0].fd = pipes[0]);
    SPOILED(outputs[0].fd = STDIN_FILENO);
    close(pipes[0]);
    close(pipes[1]);

    int open_fd = memfd_create("open", MFD_ALLOW_SEALING | MFD_CLOEXEC);
    assert_int_equal(fsio_write_all(open_fd, "hello", 5), ERR_NONE);
    SPOILED(outputs[0].fd = open_fd);
    /* Every seal but one. */
    static const int seals[] = {F_SEAL_GROW | F_SEAL_SHRINK, F_SEAL_WRITE | F_SEAL_SHRINK,
                                F_SEAL_WRITE | F_SEAL_GROW};
    for (size_t i = 0; i < ARRAY_LEN(seals); i++) {
        int fd = memfd_create("half", MFD_ALLOW_SEALING | MFD_CLOEXEC);
        assert_int_equal(fsio_write_all(fd, "hello", 5), ERR_NONE);
        assert_int_equal(fcntl(fd, F_ADD_SEALS, seals[i]), 0);
        SPOILED(outputs[0].fd = fd);
        close(fd);
    }
    close(open_fd);

    char path[] = "/tmp/darkroom-fn-XXXXXX";
    int file = mkstemp(path);
    assert_int_equal(fsio_write_all(file, "hello", 5), ERR_NONE);
    SPOILED(outputs[0].fd = file);
    close(file);
    unlink(path);
}

/* More than the bounds allow. */
static void
test_result_too_much(void **state)
{
    (void)state;
    static struct fn_output outputs[FN_OUTPUTS_MAX + 1];
    static struct fn_attr attrs[FN_ATTRS_MAX + 1];
    static char names[FN_ATTRS_MAX + 1][8];
    struct answer_kit k;
    kit_init(&k);
    close(k.outputs[0].fd);
    for (size_t i = 0; i < ARRAY_LEN(outputs); i++) {
        snprintf(names[i], sizeof(names[i]), "n%zu", i);
        outputs[i] = k.outputs[1];
        outputs[i].name = slice_str(names[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(attrs); i++) {
        snprintf(names[i], sizeof(names[i]), "n%zu", i);
        attrs[i] = (struct fn_attr){slice_str(names[i]), 'T', SLICE_NONE};
    }
    k.res.answers[1].outputs = outputs;
    k.res.answers[0].attrs = attrs;
    k.res.answers[1].output_count = FN_OUTPUTS_MAX;
    k.res.answers[0].attr_count = FN_ATTRS_MAX;
    assert_int_equal(read_result(&k), ERR_NONE);
    k.res.answers[1].output_count = FN_OUTPUTS_MAX + 1;
    assert_int_equal(read_result(&k), ERR_INVALID);
    k.res.answers[1].output_count = FN_OUTPUTS_MAX;
    k.res.answers[0].attr_count = FN_ATTRS_MAX + 1;
    assert_int_equal(read_result(&k), ERR_INVALID);
}

/* Every beginning of a good message, and every single byte of it changed: refused or read, and
 * never a descriptor left open. */
static void
test_result_cut_and_bent(void **state)
{
    (void)state;
    struct answer_kit k;
    struct link l;
    struct wire_msg m;
    struct fn_result got;
    kit_init(&k);
    fn_result_write(&m, &k.res);
    link_open(&l);
    size_t whole = m.bytes.n, before = count_fds();
    for (size_t n = 12; n <= whole; n++) {
        m.bytes.n = n;
        assert_int_equal(wire_send(l.a, &m), ERR_NONE);
        assert_int_equal(wire_recv(l.b, &l.r), ERR_NONE);
        int err = fn_result_read(&l.r, l.arena, &request, &got);
        assert_int_equal(err, n == whole ? ERR_NONE : ERR_INVALID);
        if (err == ERR_NONE)
            fn_result_close(&got);
    }
    for (size_t i = 12; i < whole; i++) {
        for (int bit = 0; bit < 8; bit++) {
            m.bytes.p[i] = (char)(m.bytes.p[i] ^ (1 << bit));
            assert_int_equal(wire_send(l.a, &m), ERR_NONE);
            if (wire_recv(l.b, &l.r) == ERR_NONE &&
                fn_result_read(&l.r, l.arena, &request, &got) == ERR_NONE)
                fn_result_close(&got);
            m.bytes.p[i] = (char)(m.bytes.p[i] ^ (1 << bit));
            arena_free(&l.arena);
            l.arena = arena_new(1 << 20);
        }
    }
    wire_reader_fini(&l.r);
    assert_int_equal(count_fds(), before);
    wire_msg_fini(&m);
    link_close(&l);
    fn_result_close(&k.res);
}

static void
test_small_messages(void **state)
{
    (void)state;
    struct link l;
    struct wire_msg m;
    struct fn_hello hello = {.pid = 9, .formats = SLICE_LIT("jpeg"), .missing = SLICE_LIT("x")}, h;
    int64_t id = 0, bytes = 0;
    link_open(&l);
    fn_hello_write(&m, &hello);
    pass(&l, &m);
    assert_int_equal(fn_hello_read(&l.r, l.arena, &h), ERR_NONE);
    assert_int_equal(h.pid, 9);
    assert_true(slice_eqs(h.missing, "x") && h.problem.n == 0);
    hello.pid = 0;
    fn_hello_write(&m, &hello);
    pass(&l, &m);
    assert_int_equal(fn_hello_read(&l.r, l.arena, &h), ERR_INVALID);
    fn_admit_write(&m, 3, 4);
    pass(&l, &m);
    assert_int_equal(fn_admit_read(&l.r, &id, &bytes), ERR_NONE);
    assert_true(id == 3 && bytes == 4);
    fn_admit_write(&m, 3, -4);
    pass(&l, &m);
    assert_int_equal(fn_admit_read(&l.r, &id, &bytes), ERR_INVALID);
    fn_grant_write(&m, 5);
    pass(&l, &m);
    assert_int_equal(fn_grant_read(&l.r, &id), ERR_NONE);
    assert_int_equal(id, 5);
    /* One message is not another. */
    fn_grant_write(&m, 5);
    pass(&l, &m);
    assert_int_equal(fn_admit_read(&l.r, &id, &bytes), ERR_INVALID);
    link_close(&l);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_natives),         cmocka_unit_test(test_request),
        cmocka_unit_test(test_request_bad),     cmocka_unit_test(test_result),
        cmocka_unit_test(test_result_bad),      cmocka_unit_test(test_result_bad_fds),
        cmocka_unit_test(test_result_too_much), cmocka_unit_test(test_result_cut_and_bent),
        cmocka_unit_test(test_small_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
