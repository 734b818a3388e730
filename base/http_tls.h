/*
 * The certificate and private key of an HTTPS listener (RFC 8446, RFC 5246; no older protocol), and
 * their exchange for newer ones while the server runs. The protocol itself is libmicrohttpd's and
 * GnuTLS's.
 *
 * A connection is given the pair that is current when it is accepted, and keeps it to its end, so a
 * handshake never sees two.
 */
#ifndef DARKROOM_BASE_HTTP_TLS_H
#define DARKROOM_BASE_HTTP_TLS_H

#include "base/buf.h"

#define HTTP_TLS_FILE_MAX (1u << 20) /* bytes of a PEM file */
#define HTTP_TLS_CHAIN_MAX 16        /* certificates, the server's own first */

/* TLS 1.2 and 1.3; forward secrecy always, so no key transport by RSA. */
#define HTTP_TLS_PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-RSA:%SERVER_PRECEDENCE"

struct http_tls;
struct http_tls_pair;

/* Reads both files: the server's certificate followed by the intermediate ones, and its unencrypted
 * private key, in PEM. ERR_INVALID: `why` gets one line naming the setting (tls.certificate,
 * tls.key), the file and what is wrong. */
int http_tls_new(struct http_tls **out, const char *certificate, const char *key, struct buf *why);
/* The listener must have been stopped. */
void http_tls_free(struct http_tls **t);
/* Reads the same files again. On an error the pair stays what it was. Any thread. */
int http_tls_reload(struct http_tls *t, struct buf *why);

/* ---- for base/http_mhd.c ---- */

/* The current pair; any thread. */
struct http_tls_pair *http_tls_ref(struct http_tls *t);
void http_tls_unref(struct http_tls_pair *pair); /* NULL is taken */
/* What MHD_OPTION_HTTPS_CERT_CALLBACK wants: lends the pair of the guard's connection. */
void *http_tls_retrieve(void);

#endif
