/*
 * The walls around the worker process. Built in two steps: sandbox_prepare() before any library
 * runs (one thread yet), sandbox_close_files() once no file is needed any more but before the first
 * thread, sandbox_seal() after the warm-up, before the first foreign byte.
 */
#ifndef DARKROOM_FUNCTIONS_SANDBOX_H
#define DARKROOM_FUNCTIONS_SANDBOX_H

#include "base/buf.h"

#include <sys/types.h>

struct sandbox {
    int sock;             /* the one descriptor to keep besides standard error */
    uid_t uid;            /* to become when started by root; also the group */
    int64_t memory_bytes; /* on top of what the process has after the warm-up */
    int64_t file_bytes;   /* largest file (memfd) it may write */
    pid_t parent;         /* who must be alive */
    struct buf *missing;  /* gets a comma separated list of what the kernel does not offer */
};

/* Closes all other descriptors, gives up ever gaining privileges, heads a process group (to be
 * killed with all that it may start), gets less of the processor, is deaf to polite signals: the
 * server alone ends it. */
void sandbox_prepare(const struct sandbox *s);
/* Unprivileged user when started by root; dies with its parent from here on (not before: what the
 * start makes in the file system is removed again); no file can be opened. ERR_CLOSED: the parent
 * is gone already. */
int sandbox_close_files(const struct sandbox *s);
/* Limits and the list of allowed system calls, for all threads. */
void sandbox_seal(const struct sandbox *s);
/* The next invocation may burn so much processor time, then the process is killed. */
void sandbox_allow_cpu(int64_t ms);

#endif
