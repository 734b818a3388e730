/* The walls of the worker, from inside: each check runs in a child that is confined as the worker
 * is and then tries what it must not. */
#include "functions/sandbox.h"
#include "base/chk.h"
#include "base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define CONFINED_UID 65533
#define MEMORY_BYTES ((int64_t)64 << 20)
#define INCOMPLETE 99 /* the kernel offers less: the check says nothing */

static int passed_in = -1; /* a descriptor from before, as a source is */

/* Confines this process; the list of what is missing in `missing`. */
static void
confine(struct buf *missing)
{
    struct sandbox s = {.sock = passed_in,
                        .uid = CONFINED_UID,
                        .memory_bytes = MEMORY_BYTES,
                        .file_bytes = 1 << 20,
                        .parent = getppid(),
                        .missing = missing};
    buf_init(missing, 512);
    sandbox_prepare(&s);
    if (sandbox_close_files(&s) != ERR_NONE)
        _exit(98);
    sandbox_seal(&s);
}

/* Status of a confined child that ran `f` and ended with what it returned. */
static int
status_of(int (*f)(void))
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct buf missing;
        confine(&missing);
        if (missing.n > 0)
            _exit(INCOMPLETE);
        _exit(f());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == INCOMPLETE)
        skip();
    return status;
}

static int
try_socket(void)
{
    return socket(AF_INET, SOCK_STREAM, 0) >= 0;
}

static int
try_unix_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM, 0) >= 0;
}

static int
try_fork(void)
{
    return (int)syscall(SYS_fork);
}

static int
try_clone_process(void)
{
    return (int)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
}

static int
try_exec(void)
{
    char *const none[] = {NULL};
    return execve("/bin/true", none, none);
}

static int
try_ptrace(void)
{
    return (int)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static int
try_io_uring(void)
{
    return (int)syscall(SYS_io_uring_setup, 8, NULL);
}

static int
try_kill(void)
{
    return kill(getppid(), SIGTERM);
}

static int
try_other_limits(void)
{
    struct rlimit r = {1, 1};
    return prlimit(getppid(), RLIMIT_NOFILE, &r, NULL);
}

static int
try_unlink(void)
{
    return unlink("/tmp/darkroom-no-such-file");
}

static int
try_other_sendmsg(void)
{
    struct msghdr m = {0};
    return (int)sendmsg(STDERR_FILENO, &m, 0);
}

static void
test_killed(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int (*f)(void);
    } forbidden[] = {
        {"socket", try_socket},
        {"unix socket", try_unix_socket},
        {"fork", try_fork},
        {"clone", try_clone_process},
        {"exec", try_exec},
        {"ptrace", try_ptrace},
        {"io_uring", try_io_uring},
        {"kill", try_kill},
        {"prlimit", try_other_limits},
        {"unlink", try_unlink},
        {"sendmsg", try_other_sendmsg},
    };
    for (size_t i = 0; i < ARRAY_LEN(forbidden); i++) {
        int status = status_of(forbidden[i].f);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
            fail_msg("%s: status %x", forbidden[i].name, status);
    }
}

/* Each step returns another number, so that a failure says where. */
static int
try_refused(void)
{
    if (open("/etc/passwd", O_RDONLY) >= 0 || errno != EACCES)
        return 1;
    if (open("/proc/self/maps", O_RDONLY) >= 0)
        return 2;
    if (open("/tmp/darkroom-new-file", O_CREAT | O_WRONLY, 0600) >= 0)
        return 3;
    if (mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
        MAP_FAILED)
        return 4;
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return 5;
    if (mprotect(p, 4096, PROT_READ | PROT_EXEC) == 0)
        return 6;
    if (getuid() == 0 || geteuid() == 0)
        return 7;
    if (prctl(PR_SET_DUMPABLE, 1) == 0)
        return 8;
    return 0;
}

static void *
thread_main(void *arg)
{
    *(int *)arg = open("/etc/passwd", O_RDONLY) < 0;
    return NULL;
}

static int
try_allowed(void)
{
    char byte;
    int refused_there = 0;
    if (pread(passed_in, &byte, 1, 0) != 1 || byte != 'x')
        return 1;
    int fd = memfd_create("out", MFD_ALLOW_SEALING | MFD_CLOEXEC);
    if (fd < 0 || write(fd, "abc", 3) != 3 || fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) != 0)
        return 2;
    int big = memfd_create("big", MFD_CLOEXEC);
    if (ftruncate(big, (2 << 20)) == 0 || errno != EFBIG)
        return 3;
    pthread_t t;
    if (pthread_create(&t, NULL, thread_main, &refused_there) != 0 || pthread_join(t, NULL) != 0)
        return 4;
    if (!refused_there)
        return 5;
    struct rlimit r;
    if (getrlimit(RLIMIT_CORE, &r) != 0 || r.rlim_max != 0)
        return 6;
    sandbox_allow_cpu(1000);
    if (getrlimit(RLIMIT_CPU, &r) != 0 || r.rlim_cur == RLIM_INFINITY)
        return 7;
    return 0;
}

static void
test_refused(void **state)
{
    (void)state;
    assert_int_equal(status_of(try_refused), 0);
}

static void
test_allowed(void **state)
{
    (void)state;
    assert_int_equal(status_of(try_allowed), 0);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
static int
try_memory(void)
{
    /* What it may have on top, and the room for stacks. */
    size_t too_much = (size_t)MEMORY_BYTES + ((size_t)300 << 20);
    void *p = mmap(NULL, (size_t)MEMORY_BYTES / 2, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return 1;
    return mmap(NULL, too_much, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
           MAP_FAILED;
}

static void
test_memory(void **state)
{
    (void)state;
    assert_int_equal(status_of(try_memory), 0);
}
#endif

/* Landlock alone, before the list of calls is laid over it. */
static void
test_files_closed(void **state)
{
    (void)state;
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        struct buf missing;
        struct sandbox s = {
            .sock = passed_in, .uid = CONFINED_UID, .parent = getppid(), .missing = &missing};
        buf_init(&missing, 512);
        sandbox_prepare(&s);
        if (sandbox_close_files(&s) != ERR_NONE)
            _exit(98);
        if (missing.n > 0)
            _exit(INCOMPLETE);
        _exit(open("/etc/passwd", O_RDONLY) >= 0 || errno != EACCES);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == INCOMPLETE)
        skip();
    assert_int_equal(status, 0);
}

/* A descriptor that somebody forgot to close is closed. */
static int
try_leaked(void)
{
    for (int fd = 3; fd < 1000; fd++)
        if (fd != passed_in && fcntl(fd, F_GETFD) >= 0)
            return fd;
    return 0;
}

static void
test_leaked(void **state)
{
    (void)state;
    int low = dup(STDERR_FILENO), high = fcntl(STDERR_FILENO, F_DUPFD, 500);
    assert_true(low > 2 && high >= 500);
    int status = status_of(try_leaked);
    close(low);
    close(high);
    assert_int_equal(status, 0);
}

/* The child of a child dies when its parent does, although it became somebody else in between. */
static void
test_dies_with_parent(void **state)
{
    (void)state;
    int alive[2];
    char byte = 0;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, alive), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (fork() == 0) {
            struct buf missing;
            close(alive[0]);
            /* Its sign of life is the one descriptor that it keeps. */
            passed_in = alive[1];
            confine(&missing);
            if (write(passed_in, "r", 1) != 1)
                _exit(1);
            while (read(passed_in, &byte, 1) != 0)
                continue;
            _exit(0);
        }
        _exit(read(alive[0], &byte, 1) == 1 && byte == 'r' ? 0 : 1);
    }
    close(alive[1]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    /* The other end is closed once nobody has it any more. */
    struct pollfd end = {.fd = alive[0], .events = POLLIN};
    assert_int_equal(poll(&end, 1, 120000), 1);
    assert_int_equal(read(alive[0], &byte, 1), 0);
    close(alive[0]);
}

static int
setup(void **state)
{
    (void)state;
    passed_in = memfd_create("source", MFD_CLOEXEC);
    return passed_in >= 0 && write(passed_in, "x", 1) == 1 ? 0 : -1;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_allowed),
        cmocka_unit_test(test_files_closed),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        cmocka_unit_test(test_memory),
#endif
        cmocka_unit_test(test_leaked),
        cmocka_unit_test(test_dies_with_parent),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
