/*
 * The HTTP client of webhooks: which URLs may be posted to, and many POSTs at once in one thread,
 * by libcurl, which webhook_send.c alone includes.
 */
#ifndef DARKROOM_PIPELINE_WEBHOOK_SEND_H
#define DARKROOM_PIPELINE_WEBHOOK_SEND_H

#include "base/buf.h"
#include "base/digest.h"

#define WEBHOOK_HOSTS_MAX 64
#define WEBHOOK_ANSWER_BYTES_MAX (64u << 10) /* read and dropped, of headers and body each */
#define WEBHOOK_SIGNATURE_MAX (3 + 2 * SHA256_BYTES + 1) /* "v1=", hex, NUL */
#define WEBHOOK_WHY_MAX 256

/* ---- where to ---- */

struct webhook_hosts;

/* "HOST[:PORT],..."; HOST alone means ports 80 of http and 443 of https. "" allows none. Names are
 * compared without regard to case, addresses in their normal form ("[::1]"). ERR_INVALID: `why`
 * names the entry; ERR_TOOBIG: more than WEBHOOK_HOSTS_MAX. */
int webhook_hosts_parse(struct webhook_hosts **out, struct slice text, struct buf *why);
void webhook_hosts_free(struct webhook_hosts **hosts);
/* ERR_INVALID: no plain http(s) URL, or one with a user name, a fragment or an IPv6 zone;
 * ERR_DENIED: its host and port are not in the list. Any thread. */
int webhook_hosts_check(const struct webhook_hosts *hosts, struct slice url, struct buf *why);

/* ---- how ---- */

void webhook_sign(struct slice secret, int64_t timestamp_s, struct slice body,
                  char out[WEBHOOK_SIGNATURE_MAX]);

struct webhook_sender;

/* Embedded in the caller's struct; its strings and `body` stay until `ended` was called. */
struct webhook_post {
    /* the caller's: */
    struct slice url;
    struct slice secret;
    int64_t id;
    struct slice body;
    void (*ended)(struct webhook_post *p); /* from webhook_sender_run() */
    /* then: */
    bool taken;                /* 2xx */
    char why[WEBHOOK_WHY_MAX]; /* else: what happened, in words */
    /* the sender's: */
    struct webhook_transfer *transfer;
};

struct webhook_sender_options {
    const struct webhook_hosts *hosts; /* lent */
    int connect_ms_max;                /* the name resolved, connected, TLS agreed */
    int post_ms_max;                   /* of all, the answer included */
};

/* Before any other use of libcurl. */
struct webhook_sender *webhook_sender_new(const struct webhook_sender_options *options);
/* No post is under way. */
void webhook_sender_free(struct webhook_sender **s);
/* Begins. Whatever is wrong with it is told by p->ended. */
void webhook_sender_post(struct webhook_sender *s, struct webhook_post *p);
/* p->ended is not called. */
void webhook_sender_abort(struct webhook_sender *s, struct webhook_post *p);
/* Sends and receives, waiting for the network or webhook_sender_wake() for at most `timeout_ms`;
 * returns after some post has ended. ended() may begin the next one. */
void webhook_sender_run(struct webhook_sender *s, int timeout_ms);
/* Any thread: the present or next webhook_sender_run() does not wait. */
void webhook_sender_wake(struct webhook_sender *s);

#endif
