/*
 * The page for Prometheus: the statistics of base/stat_list.h, and of the process what Prometheus'
 * own clients show, under their names. No label holds a key or anything else that a client chose.
 */
#include "base/stat.h"
#include "pipeline/admin_priv.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

static void
put_head(struct buf *out, const char *name, const char *kind, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind);
}

/* 0 when it cannot be told. */
static int64_t
resident_bytes(void)
{
    char text[128];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[n < 0 ? 0 : n] = '\0';
    char *resident = strchr(text, ' ');
    return resident == NULL ? 0 : strtoll(resident, NULL, 10) * sysconf(_SC_PAGESIZE);
}

static int
open_files(void)
{
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL)
        return 0;
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count - 3; /* ".", "..", the directory itself */
}

static void
put_process(struct buf *out)
{
    struct rusage u;
    struct rlimit files = {0};
    getrusage(RUSAGE_SELF, &u);
    getrlimit(RLIMIT_NOFILE, &files);
    put_head(out, "process_cpu_seconds_total", "counter",
             "Total user and system CPU time spent in seconds, workers not included.");
    int64_t us = (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * (int64_t)1000000 + u.ru_utime.tv_usec +
                 u.ru_stime.tv_usec;
    buf_printf(out, "process_cpu_seconds_total %" PRId64 ".%06d\n", us / 1000000,
               (int)(us % 1000000));
    put_head(out, "process_resident_memory_bytes", "gauge", "Resident memory size in bytes.");
    buf_printf(out, "process_resident_memory_bytes %" PRId64 "\n", resident_bytes());
    put_head(out, "process_open_fds", "gauge", "Number of open file descriptors.");
    buf_printf(out, "process_open_fds %d\n", open_files());
    put_head(out, "process_max_fds", "gauge", "Maximum number of open file descriptors.");
    buf_printf(out, "process_max_fds %" PRIu64 "\n", (uint64_t)files.rlim_cur);
    put_head(out, "darkroom_build_info", "gauge", "1, with the version as a label");
    buf_puts(out, "darkroom_build_info{version=\"" DARKROOM_VERSION "\"} 1\n");
}

void
admin_metrics(struct admin_service *s, struct http_request *r)
{
    struct buf text;
    (void)s;
    buf_init(&text, ADMIN_REPLY_MAX);
    stat_render(&text);
    put_process(&text);
    admin_reply_text(r, 200, "text/plain; version=0.0.4; charset=utf-8", buf_slice(&text));
    buf_fini(&text);
}
