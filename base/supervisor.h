/*
 * What a supervisor such as systemd owes us and we owe it: a listening socket it has opened, and
 * word of our state. Nothing of it happens unless the environment asks for it.
 *
 * The protocols: https://www.freedesktop.org/software/systemd/man/sd_listen_fds.html and
 * sd_notify.html. One thread, at start, before others are made.
 */
#ifndef DARKROOM_BASE_SUPERVISOR_H
#define DARKROOM_BASE_SUPERVISOR_H

#include "base/buf.h"

/* Reads LISTEN_* , NOTIFY_SOCKET and WATCHDOG_* and takes them out of the environment, so that no
 * child takes them for its own. *socket_fd: the TCP socket that was passed (close-on-exec, not
 * blocking), or -1. ERR_INVALID with the reason: more than one, or no listening TCP socket. */
int supervisor_begin(int *socket_fd, struct buf *why);
/* Sends one or more lines "NAME=value"; nobody who listens is no error. Main thread. */
void supervisor_tell(const char *state);
/* The same, with the time that RELOADING=1 has to bring. */
void supervisor_tell_reloading(void);
/* Time in which WATCHDOG=1 must come; 0: nobody waits for it. */
int64_t supervisor_watchdog_ms(void);

#endif
