/*
 * The peer of the PUT benchmark: an HTTP server that makes every object durable by itself, as
 * simple stores do. Per PUT: write a temporary file, fdatasync, rename, fsync of the directory,
 * 200. A thread per connection, so that as many syncs as there are clients are in flight and the
 * file system may join what it can. Nothing is authenticated, hashed or indexed: all of that is in
 * the peer's favour.
 *
 *   peer_syncfile DIR          serves on a port the kernel chose, prints it, until it is killed
 *   peer_syncfile DIR serial   one object at a time: no sync is shared by two of them
 */
#include "base/chk.h"
#include "base/slice.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 1024
#define STACK_BYTES (256u << 10)
#define REQUEST_BYTES_MAX (128u << 10) /* head and body */
#define NAME_BYTES_MAX 200

static int dir_fd;
static bool serial;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

struct request {
    char bytes[REQUEST_BYTES_MAX + 1];
    size_t n;
    size_t head_n;
    size_t body_n;
    char name[NAME_BYTES_MAX + 1];
};

/* ---- storing ---- */

static bool
store(const struct request *r)
{
    char temporary[NAME_BYTES_MAX + 8];
    snprintf(temporary, sizeof temporary, "%s.tmp", r->name);
    int fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    bool good =
        write(fd, r->bytes + r->head_n, r->body_n) == (ssize_t)r->body_n && fdatasync(fd) == 0;
    close(fd);
    return good && renameat(dir_fd, temporary, dir_fd, r->name) == 0 && fsync(dir_fd) == 0;
}

static bool
store_in_turn(const struct request *r)
{
    if (!serial)
        return store(r);
    pthread_mutex_lock(&turn);
    bool good = store(r);
    pthread_mutex_unlock(&turn);
    return good;
}

/* ---- requests ---- */

/* Reads until head and body are there; false at the end of the connection or over the limit. */
static bool
receive(int fd, struct request *r)
{
    char *end = NULL;
    r->n = r->head_n = r->body_n = 0;
    while (r->head_n == 0 || r->n < r->head_n + r->body_n) {
        ssize_t n = recv(fd, r->bytes + r->n, REQUEST_BYTES_MAX - r->n, 0);
        if (n <= 0)
            return false;
        r->n += (size_t)n;
        r->bytes[r->n] = '\0';
        if (r->head_n == 0 && (end = strstr(r->bytes, "\r\n\r\n")) != NULL) {
            const char *length = strcasestr(r->bytes, "\r\ncontent-length:");
            r->head_n = (size_t)(end + 4 - r->bytes);
            if (length != NULL && length < end)
                r->body_n = strtoul(length + strlen("\r\ncontent-length:"), NULL, 10);
        }
    }
    return true;
}

/* A flat file name out of "PUT /bucket/key HTTP/1.1". */
static bool
read_name(struct request *r)
{
    if (strncmp(r->bytes, "PUT /", 5) != 0)
        return false;
    size_t n = strcspn(r->bytes + 5, " \r\n");
    if (n == 0 || n > NAME_BYTES_MAX)
        return false;
    for (size_t i = 0; i < n; i++)
        r->name[i] = r->bytes[5 + i] == '/' ? '_' : r->bytes[5 + i];
    r->name[n] = '\0';
    return r->name[0] != '.';
}

static void *
serve(void *arg)
{
    static const char good[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    static const char bad[] = "HTTP/1.1 500 Failed\r\nContent-Length: 0\r\n\r\n";
    int fd = (int)(intptr_t)arg;
    struct request *r = chk_malloc(sizeof *r);
    while (receive(fd, r)) {
        struct slice answer = read_name(r) && store_in_turn(r) ? SLICE_LIT(good) : SLICE_LIT(bad);
        if (send(fd, answer.p, answer.n, MSG_NOSIGNAL) != (ssize_t)answer.n)
            break;
    }
    free(r);
    close(fd);
    return NULL;
}

/* ---- start ---- */

static int
listen_somewhere(int *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &n) != 0)
        return -1;
    *port = ntohs(at.sin_port);
    return fd;
}

static void
accept_for_ever(int listener)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    for (;;) {
        pthread_t thread;
        int one = 1;
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (pthread_create(&thread, &attr, serve, (void *)(intptr_t)fd) != 0)
            close(fd);
    }
}

int
main(int argc, char **argv)
{
    int port = 0;
    int listener = listen_somewhere(&port);
    serial = argc == 3 && strcmp(argv[2], "serial") == 0;
    dir_fd = argc == 2 || serial ? open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (listener < 0 || dir_fd < 0) {
        fprintf(stderr, "peer_syncfile: %s\n",
                argc > 1 ? strerror(errno) : "usage: ... DIR [serial]");
        return EXIT_FAILURE;
    }
    printf("%d\n", port);
    fflush(stdout);
    accept_for_ever(listener);
    return EXIT_SUCCESS;
}
