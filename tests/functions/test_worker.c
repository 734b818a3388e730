/* The real darkroom-worker at the other end of a socket pair: what a server sees of it. */
#include "functions/fn.h"
#include "functions/preset.h"
#include "base/chk.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/fsio.h"
#include "tests/functions/pictures.h"
#include "tests/functions/worker_rig.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define FORMATS "jpeg png webp gif tiff avif heic"
#define RSS_WARM_MAX_KB (60 << 10)

/* ---- one invocation ---- */

static const char defaults[] = "small 16 16 cover webp 80 centre\n"
                               "large 40 40 inside jpeg 80 centre\n";

static struct fn_request
request_for(size_t bytes)
{
    return worker_request(bytes, defaults);
}

/* ---- tests ---- */

static void
test_hello(void **state)
{
    (void)state;
    struct worker w;
    struct buf text;
    worker_start(&w);
    assert_int_equal(w.hello.pid, w.pid);
    assert_true(slice_eqs(w.hello.formats, FORMATS));
    if (w.hello.missing.n == 0) {
        read_proc(w.pid, "status", &text);
        assert_true(slice_find(buf_slice(&text), SLICE_LIT("Seccomp:\t2")) >= 0);
        assert_true(slice_find(buf_slice(&text), SLICE_LIT("NoNewPrivs:\t1")) >= 0);
        if (geteuid() == 0)
            assert_true(
                slice_find(buf_slice(&text), SLICE_LIT("Uid:\t65534\t65534\t65534\t65534")) >= 0);
        buf_fini(&text);
    }
    read_proc(w.pid, "maps", &text); /* empty when we may not */
    assert_nothing_foreign(buf_slice(&text));
    buf_fini(&text);
    worker_stop(&w);
}

static void
test_both_functions(void **state)
{
    (void)state;
    struct worker w;
    struct fn_result res;
    uint8_t digest[SHA256_BYTES];
    char hex[2 * SHA256_BYTES + 1];
    struct slice source = PICTURE(picture_jpeg);
    struct fn_request req = request_for(source.n);
    worker_start(&w);
    invoke(&w, &req, source, &res);
    assert_true(w.admitted > 0);
    assert_true(res.rss_peak_bytes > 0);

    const struct fn_answer *t = answer_of(&res, "thumbnail");
    assert_int_equal(t->status, FN_OK);
    assert_int_equal(t->output_count, 2);
    assert_true(slice_eqs(t->outputs[0].extension, "webp"));
    assert_true(slice_eqs(t->outputs[1].content_type, "image/jpeg"));
    assert_int_equal(t->outputs[0].width, 16);
    assert_int_equal(t->outputs[0].height, 16);
    assert_int_equal(t->outputs[1].width, 27); /* upright: 32x48 inside 40 */
    assert_int_equal(t->outputs[1].height, 40);
    struct preset_list list;
    char hash[PRESET_HASH_TEXT], magic[3];
    assert_int_equal(preset_config_read(SLICE_LIT(defaults), &list), ERR_NONE);
    preset_hash(&list.presets[1], hash);
    assert_true(slice_eqs(t->outputs[1].config_hash, hash));
    assert_int_equal(fsio_pread_all(t->outputs[1].fd, magic, 3, 0), ERR_NONE);
    assert_memory_equal(magic, "\xff\xd8\xff", 3);

    const struct fn_answer *m = answer_of(&res, "metadata");
    assert_int_equal(m->status, FN_OK);
    digest_sha256(source.p, source.n, digest);
    hex_encode(digest, SHA256_BYTES, hex);
    assert_attr(m, "sha256", hex);
    assert_attr(m, "size", "566");
    assert_attr(m, "content_type", "image/jpeg");
    assert_attr(m, "format", "jpeg");
    assert_attr(m, "width", "32");
    assert_attr(m, "height", "48");
    assert_attr(m, "orientation", "6");
    assert_attr(m, "pages", "1");
    assert_attr(m, "alpha", "F");
    assert_attr(m, "damaged", "F");
    assert_attr(m, "exif.camera_make", "Pinhole");
    assert_attr(m, "exif.iso", "200");
    assert_attr(m, "exif.exposure_time", "1/250");
    assert_attr(m, "exif.taken_at", "2016-05-01T12:34:56");
    assert_attr(m, "gps.latitude", "-33.856");
    assert_attr(m, "gps.longitude", "151.21");
    assert_int_equal(attr(m, "dominant_color").n, 7);
    assert_true(slice_starts(attr(m, "palette"), attr(m, "dominant_color")));
    assert_true(attr(m, "thumbhash").n >= 5 && attr(m, "thumbhash").n <= 25);
    assert_int_equal(attr(m, "phash").n, 16);
    fn_result_close(&res);
    worker_stop(&w);
}

/* SHA-256 of the one thumbnail that comes with this value of x-amz-meta-focal. */
static void
focal_digest(struct worker *w, const char *value, uint8_t digest[SHA256_BYTES])
{
    struct fn_result res;
    struct fn_request req = request_for(sizeof(picture_png));
    char hints[64], bytes[4096];
    int n = snprintf(hints, sizeof(hints), "x-amz-meta-focal%c%s%c", 0, value, 0);
    req.source_hints = slice_of(hints, (size_t)n);
    req.calls[0].config = SLICE_LIT("square 20 20 cover png 80 centre\n");
    req.call_count = 1;
    invoke(w, &req, PICTURE(picture_png), &res);
    const struct fn_output *o = &answer_of(&res, "thumbnail")->outputs[0];
    assert_int_equal(o->status, FN_OK);
    assert_int_equal(o->width, 20);
    assert_true(o->bytes > 0 && o->bytes <= (int64_t)sizeof(bytes));
    assert_int_equal(fsio_pread_all(o->fd, bytes, (size_t)o->bytes, 0), ERR_NONE);
    digest_sha256(bytes, (size_t)o->bytes, digest);
    fn_result_close(&res);
}

/* A hint moves the crop; the middle as a hint, or a malformed one, leaves it where it was. */
static void
test_focal_hint(void **state)
{
    (void)state;
    struct worker w;
    uint8_t plain[SHA256_BYTES], got[SHA256_BYTES];
    worker_start(&w);
    focal_digest(&w, "", plain);
    focal_digest(&w, "0.5,0.5", got);
    assert_memory_equal(plain, got, SHA256_BYTES);
    focal_digest(&w, "1.5,0", got);
    assert_memory_equal(plain, got, SHA256_BYTES);
    focal_digest(&w, "0,0", got);
    assert_memory_not_equal(plain, got, SHA256_BYTES);
    worker_stop(&w);
}

/* picture_jpeg with its camera's name as the artist's: kept by one preset, behind the sandbox, in
 * the ASCII that EXIF asks for. */
static void
test_keep_copyright(void **state)
{
    (void)state;
    struct worker w;
    struct fn_result res;
    uint8_t jpeg[sizeof(picture_jpeg)];
    char bytes[4096];
    memcpy(jpeg, picture_jpeg, sizeof(jpeg));
    jpeg[23] = 0x3b; /* Make becomes Artist */
    ptrdiff_t name = slice_find(PICTURE(jpeg), SLICE_LIT("Pinhole"));
    memcpy(jpeg + name, "\xc2\xa9", 2);
    struct fn_request req = request_for(sizeof(jpeg));
    req.calls[0].config = SLICE_LIT("a 20 20 cover jpeg 80 centre keep_copyright sharpen=90\n"
                                    "b 20 20 cover jpeg 80 centre\n");
    req.call_count = 1;
    worker_start(&w);
    invoke(&w, &req, PICTURE(jpeg), &res);
    for (size_t i = 0; i < 2; i++) {
        const struct fn_output *o = &answer_of(&res, "thumbnail")->outputs[i];
        assert_int_equal(o->status, FN_OK);
        assert_true(o->bytes <= (int64_t)sizeof(bytes));
        assert_int_equal(fsio_pread_all(o->fd, bytes, (size_t)o->bytes, 0), ERR_NONE);
        struct slice kept = slice_of(bytes, (size_t)o->bytes);
        assert_int_equal(slice_find(kept, SLICE_LIT("(C)nhole")) > 0, i == 0);
        assert_int_equal(slice_find(kept, SLICE_LIT("2016:05")), -1);
    }
    fn_result_close(&res);
    worker_stop(&w);
}

/* Each function alone, in any order, and one that no worker has. */
static void
test_alone(void **state)
{
    (void)state;
    struct worker w;
    struct fn_result res;
    struct slice source = PICTURE(picture_png);
    worker_start(&w);
    struct fn_request req = request_for(source.n);
    req.call_count = 1;
    invoke(&w, &req, source, &res);
    assert_int_equal(answer_of(&res, "thumbnail")->output_count, 2);
    fn_result_close(&res);

    req = request_for(source.n);
    req.calls[0] = req.calls[1];
    req.call_count = 1;
    invoke(&w, &req, source, &res);
    assert_attr(answer_of(&res, "metadata"), "width", "48");
    assert_true(attr(answer_of(&res, "metadata"), "thumbhash").n > 0);
    fn_result_close(&res);

    req = request_for(source.n);
    req.calls[1].name = SLICE_LIT("resize-me");
    invoke(&w, &req, source, &res);
    assert_int_equal(answer_of(&res, "resize-me")->status, FN_ERROR);
    assert_int_equal(answer_of(&res, "thumbnail")->status, FN_OK);
    fn_result_close(&res);

    req = request_for(source.n);
    req.calls[0].config = SLICE_LIT("not a config");
    invoke(&w, &req, source, &res);
    assert_int_equal(answer_of(&res, "thumbnail")->status, FN_ERROR);
    assert_int_equal(answer_of(&res, "metadata")->status, FN_OK);
    fn_result_close(&res);

    /* No preset at all: nothing to make, nothing wrong. */
    req = request_for(source.n);
    req.calls[0].config = SLICE_NONE;
    req.call_count = 1;
    invoke(&w, &req, source, &res);
    assert_int_equal(w.admitted, -1);
    assert_int_equal(answer_of(&res, "thumbnail")->status, FN_OK);
    fn_result_close(&res);
    worker_stop(&w);
}

static void
test_formats(void **state)
{
    (void)state;
    static const struct {
        struct slice bytes;
        const char *format, *width;
    } pictures[] = {
        {{(const char *)picture_jpeg, sizeof(picture_jpeg)}, "jpeg", "32"},
        {{(const char *)picture_png, sizeof(picture_png)}, "png", "48"},
        {{(const char *)picture_webp, sizeof(picture_webp)}, "webp", "48"},
        {{(const char *)picture_gif, sizeof(picture_gif)}, "gif", "48"},
        {{(const char *)picture_tiff, sizeof(picture_tiff)}, "tiff", "48"},
        {{(const char *)picture_avif, sizeof(picture_avif)}, "avif", "48"},
        {{(const char *)picture_heic, sizeof(picture_heic)}, "heic", "96"},
    };
    static const char config[] = "w 30 30 inside webp 80 centre\nj 30 30 contain jpeg 80 centre\n"
                                 "p 30 30 cover png 80 attention\na 30 30 inside avif 50 centre\n";
    struct worker w;
    worker_start(&w);
    for (size_t i = 0; i < ARRAY_LEN(pictures); i++) {
        struct fn_result res;
        struct fn_request req = request_for(pictures[i].bytes.n);
        req.calls[0].config = SLICE_LIT(config);
        invoke(&w, &req, pictures[i].bytes, &res);
        const struct fn_answer *t = answer_of(&res, "thumbnail");
        assert_int_equal(t->status, FN_OK);
        assert_int_equal(t->output_count, 4);
        for (size_t k = 0; k < 4; k++)
            if (t->outputs[k].status != FN_OK)
                fail_msg("%s, preset %zu: %.*s", pictures[i].format, k,
                         SLICE_FMT(t->outputs[k].reason));
        assert_attr(answer_of(&res, "metadata"), "format", pictures[i].format);
        assert_attr(answer_of(&res, "metadata"), "width", pictures[i].width);
        fn_result_close(&res);
    }
    worker_stop(&w);
}

static void
test_no_picture(void **state)
{
    (void)state;
    static const struct {
        struct slice bytes;
        enum fn_status status;
        const char *reason, *type;
    } sources[] = {
        {{"", 0}, FN_SKIPPED, "empty object", "application/x-claim"},
        {{"just text", 9}, FN_SKIPPED, "not an image", "application/x-claim"},
        {{"%PDF-1.7 in a .jpg", 18}, FN_SKIPPED, "unsupported format: pdf", "application/pdf"},
        {{"<svg></svg>", 11}, FN_SKIPPED, "unsupported format: svg", "image/svg+xml"},
        {{"GIF89a junk", 11}, FN_FAILED, "unreadable: ", "image/gif"},
    };
    struct worker w;
    worker_start(&w);
    for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
        struct fn_result res;
        struct fn_request req = request_for(sources[i].bytes.n);
        invoke(&w, &req, sources[i].bytes, &res);
        assert_int_equal(w.admitted, -1);
        for (size_t k = 0; k < 2; k++) {
            assert_int_equal(res.answers[k].status, sources[i].status);
            assert_true(slice_starts(res.answers[k].reason, slice_str(sources[i].reason)));
            assert_int_equal(res.answers[k].output_count, 0);
        }
        char size[16];
        snprintf(size, sizeof(size), "%zu", sources[i].bytes.n);
        const struct fn_answer *m = answer_of(&res, "metadata");
        assert_attr(m, "size", size);
        assert_attr(m, "content_type", sources[i].type);
        assert_int_equal(attr(m, "sha256").n, 64);
        fn_result_close(&res);
    }
    worker_stop(&w);
}

static void
test_budgets(void **state)
{
    (void)state;
    struct worker w;
    struct fn_result res;
    struct slice source = PICTURE(picture_png);
    worker_start(&w);
    struct fn_request req = request_for(source.n);
    req.pixels_frame_max = 48 * 32 - 1;
    invoke(&w, &req, source, &res);
    assert_int_equal(w.admitted, -1);
    assert_int_equal(answer_of(&res, "thumbnail")->status, FN_FAILED);
    assert_true(
        slice_starts(answer_of(&res, "thumbnail")->reason, SLICE_LIT("pixel budget: 48x32")));
    fn_result_close(&res);
    req = request_for(source.n);
    req.pixels_frame_max = 48 * 32;
    invoke(&w, &req, source, &res);
    assert_int_equal(answer_of(&res, "thumbnail")->status, FN_OK);
    fn_result_close(&res);

    req = request_for(source.n);
    req.memory_bytes_max = 2000; /* more than the file, less than its pixels */
    invoke(&w, &req, source, &res);
    assert_int_equal(answer_of(&res, "metadata")->status, FN_FAILED);
    assert_true(slice_starts(answer_of(&res, "metadata")->reason, SLICE_LIT("memory budget")));
    fn_result_close(&res);
    worker_stop(&w);
}

/* A source as the server passes it: a read-only descriptor of a file, standing anywhere. */
static void
test_source_file(void **state)
{
    (void)state;
    struct worker w;
    struct fn_result res;
    char path[] = "/tmp/darkroom-worker-test-XXXXXX";
    int rw = mkstemp(path);
    assert_true(rw >= 0);
    assert_int_equal(fsio_write_all(rw, picture_webp, sizeof(picture_webp)), ERR_NONE);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    unlink(path);
    close(rw);
    lseek(fd, 100, SEEK_SET);
    worker_start(&w);
    struct fn_request req = request_for(sizeof(picture_webp));
    invoke_fd(&w, &req, fd, &res);
    assert_int_equal(answer_of(&res, "thumbnail")->status, FN_OK);
    fn_result_close(&res);
    /* Shorter than announced: this attempt went wrong, the picture is not to blame. */
    req = request_for(sizeof(picture_webp) + 1);
    invoke_fd(&w, &req, fd, &res);
    assert_int_equal(answer_of(&res, "thumbnail")->status, FN_ERROR);
    fn_result_close(&res);
    close(fd);
    worker_stop(&w);
}

static size_t
count_fds(pid_t pid)
{
    char path[64];
    size_t n = 0;
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    DIR *d = opendir(path);
    while (d != NULL && readdir(d) != NULL)
        n++;
    if (d != NULL)
        closedir(d);
    return n;
}

static int64_t
rss_kb(pid_t pid)
{
    struct buf text;
    struct slice rest;
    uint64_t pages = 0;
    read_proc(pid, "statm", &text);
    slice_cut(buf_slice(&text), ' ', &rest);
    assert_int_equal(slice_to_u64(slice_cut(rest, ' ', &rest), &pages), ERR_NONE);
    buf_fini(&text);
    return (int64_t)pages * sysconf(_SC_PAGESIZE) / 1024;
}

/* One worker, many invocations: no descriptor stays open on either side, memory stays flat. */
static void
test_many(void **state)
{
    (void)state;
    static const struct slice sources[] = {
        {(const char *)picture_jpeg, sizeof(picture_jpeg)},
        {(const char *)picture_avif, sizeof(picture_avif)},
        {"nothing", 7},
        {(const char *)picture_heic, sizeof(picture_heic)},
        {(const char *)picture_jpeg, 400},
        {(const char *)picture_tiff, sizeof(picture_tiff)},
    };
    struct worker w;
    worker_start(&w);
    size_t own = count_fds(getpid());
    int64_t early_kb = 0;
    for (size_t i = 0; i < 200; i++) {
        struct fn_result res;
        struct slice source = sources[i % ARRAY_LEN(sources)];
        struct fn_request req = request_for(source.n);
        invoke(&w, &req, source, &res);
        fn_result_close(&res);
        if (i == 50)
            early_kb = rss_kb(w.pid);
    }
    assert_int_equal(count_fds(getpid()), own);
    /* Its own limit is 64: two hundred invocations that leave one each open would have ended it. */
    if (plain_build) {
        assert_true(early_kb <= RSS_WARM_MAX_KB);
        assert_true(rss_kb(w.pid) <= early_kb + (8 << 10));
    }
    worker_stop(&w);
}

static void
test_killed(void **state)
{
    (void)state;
    size_t before = count_fds(getpid());
    struct worker w;
    struct slice source = PICTURE(picture_jpeg);
    struct fn_request req = request_for(source.n);
    int64_t id, bytes;
    worker_start(&w);
    int fd = fsio_memfd("source", source);
    send_request(&w, &req, fd);
    close(fd);
    assert_int_equal(wire_recv(w.sock, &w.r), ERR_NONE);
    assert_int_equal(fn_admit_read(&w.r, &id, &bytes), ERR_NONE);
    kill(w.pid, SIGKILL);
    assert_int_equal(wire_recv(w.sock, &w.r), ERR_CLOSED);
    int status = worker_status(&w);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    close(w.sock);
    wire_reader_fini(&w.r);
    arena_free(&w.arena);
    assert_int_equal(count_fds(getpid()), before);
}

/* The server goes while the worker waits for its grant: it ends, and that is no failure. */
static void
test_server_goes(void **state)
{
    (void)state;
    struct worker w;
    struct slice source = PICTURE(picture_jpeg);
    struct fn_request req = request_for(source.n);
    worker_start(&w);
    int fd = fsio_memfd("source", source);
    send_request(&w, &req, fd);
    close(fd);
    assert_int_equal(wire_recv(w.sock, &w.r), ERR_NONE);
    worker_stop(&w);
}

/* A service manager that stops the server tells all of its processes: what runs may finish. */
static void
test_polite_signals(void **state)
{
    (void)state;
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP};
    struct worker w;
    struct fn_result res;
    struct slice source = PICTURE(picture_jpeg);
    struct fn_request req = request_for(source.n);
    worker_start(&w);
    for (size_t i = 0; i < ARRAY_LEN(signals); i++)
        assert_int_equal(kill(w.pid, signals[i]), 0);
    invoke(&w, &req, source, &res);
    assert_int_equal(answer_of(&res, "thumbnail")->status, FN_OK);
    fn_result_close(&res);
    worker_stop(&w);
}

/* What is no request, and a grant of something else, end the worker: both are bugs of its server.
 */
static void
test_wrong_messages(void **state)
{
    (void)state;
    for (int grant = 0; grant < 2; grant++) {
        struct worker w;
        struct slice source = PICTURE(picture_jpeg);
        struct fn_request req = request_for(source.n);
        worker_start(&w);
        if (grant) {
            int fd = fsio_memfd("source", source);
            send_request(&w, &req, fd);
            close(fd);
            assert_int_equal(wire_recv(w.sock, &w.r), ERR_NONE);
        }
        send_grant(&w, req.id + 1);
        assert_int_equal(wire_recv(w.sock, &w.r), ERR_CLOSED);
        int status = worker_status(&w);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
        close(w.sock);
        wire_reader_fini(&w.r);
        arena_free(&w.arena);
    }
}

static void
test_usage(void **state)
{
    (void)state;
    static const char *const wrong[][3] = {
        {NULL},
        {"--fd", "x"},
        {"--fd", "2"},
        {"--fd=5", "--sandbox=maybe"},
        {"--fd=5", "more"},
        {"--fd=5", "--memory-mb=0"},
        {"--fd=5", "--uid=0"},
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        int status;
        pid_t pid = fork();
        if (pid == 0) {
            int null = open("/dev/null", O_WRONLY);
            dup2(null, STDERR_FILENO);
            execl(program, "darkroom-worker", wrong[i][0], wrong[i][1], (char *)NULL);
            _exit(127);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 2)
            fail_msg("line %zu: status %x", i, status);
    }
}

/* The private module directory does not outlive the start. */
static void
test_leaves_nothing(void **state)
{
    (void)state;
    char dir[] = "/tmp/darkroom-worker-tmp-XXXXXX";
    assert_non_null(mkdtemp(dir));
    const char *old = getenv("TMPDIR");
    char *kept = old == NULL ? NULL : strdup(old);
    setenv("TMPDIR", dir, 1);
    struct worker w;
    worker_start(&w);
    assert_int_equal(rmdir(dir), 0); /* empty */
    worker_stop(&w);
    if (kept == NULL)
        unsetenv("TMPDIR");
    else
        setenv("TMPDIR", kept, 1);
    free(kept);
}

/* Beside the variant's other programs, else in the root: two folders above build/<variant>. */
int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hello),          cmocka_unit_test(test_both_functions),
        cmocka_unit_test(test_alone),          cmocka_unit_test(test_formats),
        cmocka_unit_test(test_no_picture),     cmocka_unit_test(test_budgets),
        cmocka_unit_test(test_source_file),    cmocka_unit_test(test_many),
        cmocka_unit_test(test_killed),         cmocka_unit_test(test_server_goes),
        cmocka_unit_test(test_wrong_messages), cmocka_unit_test(test_usage),
        cmocka_unit_test(test_leaves_nothing), cmocka_unit_test(test_focal_hint),
        cmocka_unit_test(test_keep_copyright), cmocka_unit_test(test_polite_signals),
    };
    if (!find_program()) {
        fprintf(stderr, "no darkroom-worker above this program: build it first\n");
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
