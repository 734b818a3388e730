/*
 * A C library that does less than it was asked: preloaded into darkroomd by tests/crash/faults.py
 * and tests/e2e/syncs.py, for what strace cannot do. strace replaces a call, so a "short write" of
 * its making writes nothing; here half is truly done and half is truly told.
 *
 * The test steers it through a file mapped by both (struct control): all zeros changes nothing.
 * Only what may happen on a real kernel is made: eventfds and pipes are left alone, since nobody
 * can be told half of their 8 bytes, and an end of file stays one.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

struct control {
    atomic_int short_every; /* each so many reads and writes is cut in half; 0: none */
    atomic_int eintr_every; /* each so many calls is interrupted before it began; 0: none */
    atomic_int write_nth;   /* this write to a file fails, counted from 1; 0: none */
    atomic_int write_errno;
    atomic_int writes; /* so far */
    atomic_int fired;  /* errors made */
    atomic_int calls;  /* all that could have been cut or interrupted */
    atomic_int cut;
    atomic_int interrupted;
    atomic_int sync_hold;  /* the thread that syncs the log waits in there while this is not 0 */
    atomic_int syncs_held; /* it does so now */
    atomic_int sync_errno; /* how its syncs end; 0: as they would */
};

static struct control none, *control = &none;

__attribute__((constructor)) static void
shim_start(void)
{
    const char *path = getenv("DARKROOM_FAULT_CONTROL");
    int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    void *p = fd < 0 ? MAP_FAILED
                     : mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    if (p != MAP_FAILED)
        control = p;
    unsetenv("LD_PRELOAD"); /* not for the workers, nor for what they confine */
}

static mode_t
kind_of(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 ? st.st_mode & S_IFMT : 0;
}

/* True when this call is to be interrupted; *n is halved when it is to be cut. Of files only: on a
 * socket a short call tells that its buffer is empty or full, and who is woken by edges (epoll(7))
 * rests on that. */
static int
meddle(int fd, size_t *n)
{
    int saved = errno;
    int shorten = atomic_load(&control->short_every), storm = atomic_load(&control->eintr_every);
    mode_t kind = shorten + storm == 0 ? 0 : kind_of(fd);
    errno = saved;
    if (kind != S_IFREG && kind != S_IFSOCK)
        return 0;
    int call = atomic_fetch_add(&control->calls, 1) + 1;
    if (storm > 0 && call % storm == 0) {
        atomic_fetch_add(&control->interrupted, 1);
        errno = EINTR;
        return 1;
    }
    if (shorten > 0 && call % shorten == 0 && kind == S_IFREG && n != NULL && *n > 1) {
        atomic_fetch_add(&control->cut, 1);
        *n /= 2;
    }
    return 0;
}

/* True when this write to a file is the one that fails. */
static int
refuse(int fd)
{
    int nth = atomic_load(&control->write_nth);
    if (nth == 0 || kind_of(fd) != S_IFREG || atomic_fetch_add(&control->writes, 1) + 1 != nth)
        return 0;
    atomic_fetch_add(&control->fired, 1);
    errno = atomic_load(&control->write_errno);
    return 1;
}

#define REAL(name)                 \
    static __typeof__(name) *real; \
    if (real == NULL)              \
    *(void **)&real = dlsym(RTLD_NEXT, #name)

ssize_t
write(int fd, const void *p, size_t n)
{
    REAL(write);
    return refuse(fd) || meddle(fd, &n) ? -1 : real(fd, p, n);
}

ssize_t
pwrite(int fd, const void *p, size_t n, off_t at)
{
    REAL(pwrite);
    return refuse(fd) || meddle(fd, &n) ? -1 : real(fd, p, n, at);
}

ssize_t
pwrite64(int fd, const void *p, size_t n, off64_t at)
{
    REAL(pwrite64);
    return refuse(fd) || meddle(fd, &n) ? -1 : real(fd, p, n, at);
}

ssize_t
read(int fd, void *p, size_t n)
{
    REAL(read);
    return meddle(fd, &n) ? -1 : real(fd, p, n);
}

ssize_t
pread(int fd, void *p, size_t n, off_t at)
{
    REAL(pread);
    return meddle(fd, &n) ? -1 : real(fd, p, n, at);
}

ssize_t
pread64(int fd, void *p, size_t n, off64_t at)
{
    REAL(pread64);
    return meddle(fd, &n) ? -1 : real(fd, p, n, at);
}

ssize_t
recvfrom(int fd, void *p, size_t n, int flags, struct sockaddr *a, socklen_t *an)
{
    REAL(recvfrom);
    return meddle(fd, &n) ? -1 : real(fd, p, n, flags, a, an);
}

ssize_t
send(int fd, const void *p, size_t n, int flags)
{
    REAL(send);
    return meddle(fd, &n) ? -1 : real(fd, p, n, flags);
}

ssize_t
sendmsg(int fd, const struct msghdr *m, int flags)
{
    REAL(sendmsg);
    return meddle(fd, NULL) ? -1 : real(fd, m, flags);
}

ssize_t
recvmsg(int fd, struct msghdr *m, int flags)
{
    REAL(recvmsg);
    return meddle(fd, NULL) ? -1 : real(fd, m, flags);
}

ssize_t
sendfile64(int out, int in, off64_t *at, size_t n)
{
    REAL(sendfile64);
    return meddle(out, NULL) ? -1 : real(out, in, at, n);
}

int
accept4(int fd, struct sockaddr *a, socklen_t *n, int flags)
{
    REAL(accept4);
    return meddle(fd, NULL) ? -1 : real(fd, a, n, flags);
}

int
fdatasync(int fd)
{
    REAL(fdatasync);
    char name[16] = ""; /* TASK_COMM_LEN */
    if (prctl(PR_GET_NAME, name) != 0 || strcmp(name, "syncer") != 0)
        return real(fd);
    struct timespec again = {.tv_nsec = 1000000};
    atomic_store(&control->syncs_held, 1);
    while (atomic_load(&control->sync_hold) != 0)
        ppoll(NULL, 0, &again, NULL);
    atomic_store(&control->syncs_held, 0);
    errno = atomic_load(&control->sync_errno);
    return errno != 0 ? -1 : real(fd);
}

static int
interrupts_wait(void)
{
    int storm = atomic_load(&control->eintr_every);
    if (storm == 0 || (atomic_fetch_add(&control->calls, 1) + 1) % storm != 0)
        return 0;
    atomic_fetch_add(&control->interrupted, 1);
    errno = EINTR;
    return 1;
}

int
poll(struct pollfd *fds, nfds_t n, int ms)
{
    REAL(poll);
    return interrupts_wait() ? -1 : real(fds, n, ms);
}

int
epoll_wait(int fd, struct epoll_event *events, int n, int ms)
{
    REAL(epoll_wait);
    return interrupts_wait() ? -1 : real(fd, events, n, ms);
}

int
epoll_pwait(int fd, struct epoll_event *events, int n, int ms, const sigset_t *mask)
{
    REAL(epoll_pwait);
    return interrupts_wait() ? -1 : real(fd, events, n, ms, mask);
}
