#include "base/supervisor.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FIRST_FD 3 /* SD_LISTEN_FDS_START */

static struct {
    struct sockaddr_un address;
    socklen_t bytes; /* 0: nobody listens */
    int64_t watchdog_ms;
} told;

/* Is the number in this variable ours? Without the variable it is. */
static bool
is_for_us(const char *name)
{
    uint64_t pid;
    const char *text = getenv(name);
    return text == NULL ||
           (slice_to_u64(slice_str(text), &pid) == ERR_NONE && pid == (uint64_t)getpid());
}

/* A path, or with '@' a name in the abstract namespace. */
static void
find_listener(void)
{
    const char *path = getenv("NOTIFY_SOCKET");
    size_t n = path == NULL ? 0 : strlen(path);
    if (n < 2 || n >= sizeof told.address.sun_path || (path[0] != '/' && path[0] != '@'))
        return;
    told.address.sun_family = AF_UNIX;
    memcpy(told.address.sun_path, path, n);
    if (path[0] == '@')
        told.address.sun_path[0] = '\0';
    told.bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
}

static void
find_watchdog(void)
{
    uint64_t us;
    const char *text = getenv("WATCHDOG_USEC");
    if (text != NULL && is_for_us("WATCHDOG_PID") &&
        slice_to_u64(slice_str(text), &us) == ERR_NONE && us <= INT64_MAX)
        told.watchdog_ms = (int64_t)(us / 1000);
}

static int
socket_take(int fd, struct buf *why)
{
    struct sockaddr_storage address = {0};
    socklen_t n = sizeof address;
    int listens = 0;
    socklen_t listens_n = sizeof listens;
    bool tcp = getsockname(fd, (struct sockaddr *)&address, &n) == 0 &&
               (address.ss_family == AF_INET || address.ss_family == AF_INET6) &&
               getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &listens_n) == 0 && listens;
    if (!tcp) {
        buf_puts(why, "the socket passed by LISTEN_FDS is not a listening TCP socket");
        return ERR_INVALID;
    }
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
        return err_from_errno(errno);
    return ERR_NONE;
}

int
supervisor_begin(int *socket_fd, struct buf *why)
{
    static const char *const names[] = {"LISTEN_FDS",    "LISTEN_PID",    "LISTEN_FDNAMES",
                                        "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"};
    uint64_t count = 0;
    int err = ERR_NONE;
    const char *fds = getenv("LISTEN_FDS");
    *socket_fd = -1;
    find_listener();
    find_watchdog();
    if (fds != NULL && getenv("LISTEN_PID") != NULL && is_for_us("LISTEN_PID")) {
        if (slice_to_u64(slice_str(fds), &count) != ERR_NONE || count > 1) {
            buf_printf(why, "LISTEN_FDS is %.20s: one socket is what can be taken", fds);
            err = ERR_INVALID;
        } else if (count == 1) {
            err = socket_take(FIRST_FD, why);
            *socket_fd = err == ERR_NONE ? FIRST_FD : -1;
        }
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unsetenv(names[i]);
    return err;
}

void
supervisor_tell(const char *state)
{
    if (told.bytes == 0)
        return;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ssize_t sent = fd < 0 ? -1
                          : sendto(fd, state, strlen(state), MSG_NOSIGNAL,
                                   (struct sockaddr *)&told.address, told.bytes);
    if (sent < 0)
        log_line(LOG_WARN, "supervisor_not_told", "errno=%d", errno);
    if (fd >= 0)
        close(fd);
}

void
supervisor_tell_reloading(void)
{
    char text[64];
    snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%" PRId64, clock_mono_us());
    supervisor_tell(text);
}

int64_t
supervisor_watchdog_ms(void)
{
    return told.watchdog_ms;
}
