/*
 * The server's listener: where it listens, with or without TLS, on a socket of its own or on one
 * that a supervisor has passed.
 */
#ifndef DARKROOM_PIPELINE_LISTENER_H
#define DARKROOM_PIPELINE_LISTENER_H

#include "base/conf.h"
#include "base/http.h"

struct http_tls;

struct listener {
    const struct conf *conf;
    struct http_tls *tls; /* NULL: plain HTTP */
    int passed_fd;        /* -1: none */
    char host[256];       /* to listen on */
    int port;
    bool loopback;   /* nobody but this machine can connect */
    char url[320];   /* to connect to; after listener_start() */
    char bound[320]; /* as listened on; the same */
};

/* Reads the settings and the certificate; nothing listens yet. With `passed_fd` >= 0 that is the
 * socket, and `listen` counts for nothing. One line in `why`. */
int listener_open(struct listener *l, const struct conf *conf, int passed_fd, struct buf *why);
/* `o` has the router and what is called on HTTP threads; the rest is made here. */
int listener_start(struct listener *l, struct http_options *o, struct http_server **http,
                   struct buf *why);
/* Reads the certificate and its key again; what cannot be used leaves the old ones. */
void listener_reload(struct listener *l);
void listener_close(struct listener *l); /* after http_stop() */

#endif
