/*
 * Layers, outermost first; each stands when the others fall:
 *
 *   identity   an unprivileged uid (when root started us), no new privileges, no core, not
 *              inspectable, dead with the parent
 *   files      Landlock with an empty list: nothing can be opened; descriptors that the server
 *              passes work on
 *   limits     address space, file size, descriptors, processes, processor time
 *   calls      seccomp allow-list; anything else kills the process
 *
 * Landlock and "no new privileges" bind the calling thread and those it starts, so both come while
 * there is one. seccomp is laid over all threads by TSYNC.
 */
#include "functions/sandbox.h"
#include "base/err.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Sanitizers reserve terabytes of address space and make calls of their own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#define NICENESS 10
#define FILES_MAX 64    /* its own few, and the source */
#define THREADS_MAX 512 /* of all workers of this uid together */
/* Stacks of the codecs' threads are address space and hardly memory. */
#define STACKS_BYTES ((int64_t)256 << 20)

/* /proc/self/statm, opened while files could be, closed when the limits stand. */
static int statm = -1;

static void
miss(const struct sandbox *s, const char *what)
{
    buf_printf(s->missing, "%s%s", s->missing->n == 0 ? "" : ", ", what);
}

/* ---- identity ---- */

static int
die_with_parent(const struct sandbox *s)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        miss(s, "parent death signal");
    /* It may have died before that. */
    return getppid() == s->parent ? ERR_NONE : ERR_CLOSED;
}

static void
close_others(int sock)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
    }
    if (sock > 3)
        close_range(3, (unsigned)sock - 1, 0);
    close_range((unsigned)sock + 1, ~0u, 0);
}

/* Requests come before pictures. Not with setsid(): where the kernel schedules by session
 * (sched(7), "The autogroup feature"), a nice value counts only inside one, and each worker, alone
 * in its own, would get as much as the whole server. */
static void
give_way(const struct sandbox *s)
{
    if (getpgrp() != getpid() && setpgid(0, 0) != 0)
        miss(s, "process group");
    setpriority(PRIO_PROCESS, 0, NICENESS);
}

void
sandbox_prepare(const struct sandbox *s)
{
    close_others(s->sock);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        miss(s, "no new privileges");
    if (prctl(PR_SET_DUMPABLE, 0) != 0)
        miss(s, "dumpable");
    give_way(s);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* the write fails with EFBIG instead */
    /* A service manager tells every process of the server to end, but it is the server that says
     * when: what runs may finish. */
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
}

/* A change of user makes the process inspectable again and forgets its death signal. */
static void
drop_user(const struct sandbox *s)
{
    if (geteuid() != 0)
        return;
    if (setgroups(0, NULL) != 0 || setresgid(s->uid, s->uid, s->uid) != 0 ||
        setresuid(s->uid, s->uid, s->uid) != 0 || geteuid() == 0)
        miss(s, "unprivileged user");
    prctl(PR_SET_DUMPABLE, 0);
}

/* ---- files: Landlock ---- */

/* The headers of the build may be older than the kernel we run on. */
#define LANDLOCK_CREATE 444
#define LANDLOCK_RESTRICT 446
#define LANDLOCK_VERSION_FLAG 1u

struct landlock_attr {
    uint64_t fs;
    uint64_t net;    /* ABI 4 */
    uint64_t scoped; /* ABI 6 */
};

static bool
one_thread(void)
{
    int count = 0;
    DIR *d = opendir("/proc/self/task");
    while (d != NULL) {
        const struct dirent *e = readdir(d);
        if (e == NULL)
            break;
        count += e->d_name[0] != '.';
    }
    if (d != NULL)
        closedir(d);
    return count == 1;
}

/* Handles every right this kernel knows of and allows none. */
static bool
landlock_nothing(void)
{
    long abi = syscall(LANDLOCK_CREATE, NULL, 0, LANDLOCK_VERSION_FLAG);
    if (abi < 1 || !one_thread())
        return false;
    struct landlock_attr attr = {.fs = (UINT64_C(1) << 13) - 1};
    size_t n = sizeof(attr.fs);
    if (abi >= 2)
        attr.fs |= UINT64_C(1) << 13; /* link and rename */
    if (abi >= 3)
        attr.fs |= UINT64_C(1) << 14; /* truncate */
    if (abi >= 5)
        attr.fs |= UINT64_C(1) << 15; /* ioctl on devices */
    if (abi >= 4) {
        attr.net = 3; /* bind and connect of TCP */
        n = sizeof(attr.fs) + sizeof(attr.net);
    }
    if (abi >= 6) {
        attr.scoped = 3; /* abstract sockets and signals of others */
        n = sizeof(attr);
    }
    long fd = syscall(LANDLOCK_CREATE, &attr, n, 0);
    if (fd < 0)
        return false;
    bool done = syscall(LANDLOCK_RESTRICT, (int)fd, 0) == 0;
    close((int)fd);
    return done;
}

int
sandbox_close_files(const struct sandbox *s)
{
    drop_user(s);
    int err = die_with_parent(s);
    statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (!landlock_nothing())
        miss(s, "landlock");
    return err;
}

/* ---- limits ---- */

static bool
limit(int resource, int64_t value)
{
    struct rlimit r;
    if (getrlimit((__rlimit_resource_t)resource, &r) != 0)
        return false;
    /* Never above what we were given. */
    if (r.rlim_max == RLIM_INFINITY || (rlim_t)value < r.rlim_max)
        r.rlim_max = (rlim_t)value;
    r.rlim_cur = r.rlim_max;
    return setrlimit((__rlimit_resource_t)resource, &r) == 0;
}

/* Size of the address space now; 0 when it is not to be had. */
static int64_t
address_space(void)
{
    char text[64] = "";
    ssize_t n = statm < 0 ? -1 : pread(statm, text, sizeof(text) - 1, 0);
    uint64_t pages;
    struct slice rest;
    if (n <= 0 || slice_to_u64(slice_cut(slice_of(text, (size_t)n), ' ', &rest), &pages) != 0)
        return 0;
    return (int64_t)pages * sysconf(_SC_PAGESIZE);
}

static void
set_limits(const struct sandbox *s, int64_t space)
{
    bool good = limit(RLIMIT_CORE, 0) && limit(RLIMIT_FSIZE, s->file_bytes) &&
                limit(RLIMIT_NOFILE, FILES_MAX);
    /* Counts every process of the uid: right for a uid that only workers have. Others cannot start
     * a process by seccomp. */
    if (getuid() == s->uid)
        good = limit(RLIMIT_NPROC, THREADS_MAX) && good;
    if (!SANITIZED)
        good = space > 0 && limit(RLIMIT_AS, space + STACKS_BYTES + s->memory_bytes) && good;
    if (!good)
        miss(s, "limits");
}

void
sandbox_allow_cpu(int64_t ms)
{
    struct rusage u;
    struct rlimit r;
    if (getrusage(RUSAGE_SELF, &u) != 0 || getrlimit(RLIMIT_CPU, &r) != 0)
        return;
    /* All threads count, so twice the deadline and a little: a guard behind the server's. */
    rlim_t soft = (rlim_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec + 2 + 2 * ms / 1000);
    if (r.rlim_max == RLIM_INFINITY || soft < r.rlim_max) {
        r.rlim_cur = soft;
        setrlimit(RLIMIT_CPU, &r);
    }
}

/* ---- calls ---- */

/* Memory. mmap and mprotect are added with an argument: nothing new becomes executable. */
static const int memory_calls[] = {SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise),
                                   SCMP_SYS(brk)};

/* The codecs' threads. clone is added with an argument: threads, not processes. */
static const int thread_calls[] = {
    SCMP_SYS(futex),       SCMP_SYS(set_robust_list),    SCMP_SYS(rseq),
    SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity),  SCMP_SYS(sched_getparam),
    SCMP_SYS(gettid),      SCMP_SYS(sched_getscheduler), SCMP_SYS(getcpu),
    SCMP_SYS(exit),        SCMP_SYS(exit_group),
};

/* The descriptors that the server passed, the socket, and memfds for results. No call here can
 * make a descriptor for anything that exists outside. */
static const int file_calls[] = {
    SCMP_SYS(read),         SCMP_SYS(pread64),   SCMP_SYS(write), SCMP_SYS(pwrite64),
    SCMP_SYS(lseek),        SCMP_SYS(close),     SCMP_SYS(fstat), SCMP_SYS(newfstatat),
    SCMP_SYS(memfd_create), SCMP_SYS(ftruncate),
};

/* fcntl by command: F_SETOWN and F_SETSIG would send any signal to any process of this uid. */
static const int fcntl_commands[] = {F_GETFD, F_SETFD, F_GETFL, F_ADD_SEALS, F_GET_SEALS};

/* Clocks, limits of ourselves, random numbers, the way out of a failed assertion. */
static const int self_calls[] = {
    SCMP_SYS(clock_gettime),   SCMP_SYS(clock_getres),   SCMP_SYS(gettimeofday),
    SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep),      SCMP_SYS(getrusage),
    SCMP_SYS(getpid),          SCMP_SYS(getrandom),      SCMP_SYS(restart_syscall),
    SCMP_SYS(rt_sigaction),    SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),     SCMP_SYS(uname),          SCMP_SYS(getuid),
    SCMP_SYS(geteuid),         SCMP_SYS(getgid),         SCMP_SYS(getegid),
};

/* Libraries look for files, terminals and features that they can do without: refused, not killed.
 */
static const int refused_calls[] = {
    SCMP_SYS(openat),
    SCMP_SYS(open),
    SCMP_SYS(access),
    SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2),
    SCMP_SYS(readlink),
    SCMP_SYS(readlinkat),
    SCMP_SYS(stat),
    SCMP_SYS(lstat),
    SCMP_SYS(statx),
    SCMP_SYS(statfs),
    SCMP_SYS(getcwd),
    SCMP_SYS(ioctl),
    SCMP_SYS(sysinfo),
    SCMP_SYS(prctl),
    SCMP_SYS(set_mempolicy),
    SCMP_SYS(sched_setscheduler),
    SCMP_SYS(sched_setaffinity),
    SCMP_SYS(sched_getattr),
    SCMP_SYS(sched_setattr),
    SCMP_SYS(setpriority),
    SCMP_SYS(getpriority),
};

static int
add_all(scmp_filter_ctx ctx, uint32_t action, const int *calls, size_t n)
{
    int rc = 0;
    for (size_t i = 0; i < n; i++) {
        int one = seccomp_rule_add(ctx, action, calls[i], 0);
        rc = one != 0 && one != -EEXIST && one != -EDOM ? one : rc;
    }
    return rc;
}

#define ADD_ALL(ctx, action, calls) add_all(ctx, action, calls, sizeof(calls) / sizeof((calls)[0]))

/* Calls whose arguments decide. */
static int
add_guarded(scmp_filter_ctx ctx, const struct sandbox *s)
{
    const scmp_datum_t exec = PROT_EXEC, thread = CLONE_THREAD;
    int rc = 0;
    rc |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
                           SCMP_A2(SCMP_CMP_MASKED_EQ, exec, 0));
    rc |= seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(mmap), 1,
                           SCMP_A2(SCMP_CMP_MASKED_EQ, exec, exec));
    rc |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
                           SCMP_A2(SCMP_CMP_MASKED_EQ, exec, 0));
    rc |= seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(mprotect), 1,
                           SCMP_A2(SCMP_CMP_MASKED_EQ, exec, exec));
    rc |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                           SCMP_A0(SCMP_CMP_MASKED_EQ, thread, thread));
    for (size_t i = 0; i < sizeof fcntl_commands / sizeof fcntl_commands[0]; i++)
        rc |= seccomp_rule_add(
            ctx, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
            SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffffu, (scmp_datum_t)fcntl_commands[i]));
    /* Its flags lie in memory, out of a filter's reach; the library falls back to clone. */
    rc |= seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    rc |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(recvmsg), 1,
                           SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)s->sock, 0));
    rc |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(sendmsg), 1,
                           SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)s->sock, 0));
    rc |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1, SCMP_A0(SCMP_CMP_EQ, 0, 0));
    rc |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                           SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0));
    return rc;
}

static bool
filter_calls(const struct sandbox *s)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (ctx == NULL)
        return false;
    int rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
    rc |= seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a tree: some 60 calls */
    rc |= ADD_ALL(ctx, SCMP_ACT_ALLOW, memory_calls);
    rc |= ADD_ALL(ctx, SCMP_ACT_ALLOW, thread_calls);
    rc |= ADD_ALL(ctx, SCMP_ACT_ALLOW, file_calls);
    rc |= ADD_ALL(ctx, SCMP_ACT_ALLOW, self_calls);
    rc |= ADD_ALL(ctx, SCMP_ACT_ERRNO(EACCES), refused_calls);
    rc |= add_guarded(ctx, s);
    if (rc == 0)
        rc = seccomp_load(ctx);
    seccomp_release(ctx);
    return rc == 0;
}

void
sandbox_seal(const struct sandbox *s)
{
    set_limits(s, address_space());
    if (statm >= 0)
        close(statm);
    statm = -1;
    if (!filter_calls(s))
        miss(s, "seccomp");
}
