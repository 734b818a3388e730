/*
 * A pair is read whole, checked, and then never changes; `current` points to the newest. Whoever
 * uses one holds a reference: `current` itself, and each connection from accept to close. GnuTLS
 * reads the pair it is lent until its session's handshake is over and does not free it (a retrieve
 * function of the second kind), and the session ends before the connection's reference does.
 *
 * Both files are read anew as one step. Between the two renames of whoever installs them they do
 * not fit each other: that is an error like any other, and the old pair stays.
 */
#include "base/http_tls.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/fsio.h"
#include "base/http_mhd_priv.h"
#include "base/lock.h"
#include "base/log.h"

#include <gnutls/abstract.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <sys/stat.h>

#define TLS_MAGIC 0x7152c0deu
#define KEY_ID_MAX 64
#define SERIAL_MAX 64

struct http_tls_pair {
    atomic_int refs;
    gnutls_pcert_st chain[HTTP_TLS_CHAIN_MAX];
    unsigned chain_count;
    gnutls_privkey_t key;
};

struct http_tls {
    uint32_t magic;
    char *certificate_path;
    char *key_path;
    struct lock lock;
    struct http_tls_pair *current;
};

/* ---- reading ---- */

static int
fail(struct buf *why, const char *setting, const char *path, const char *what)
{
    buf_printf(why, "%s: %s: %s", setting, path, what);
    return ERR_INVALID;
}

static int
read_pem(const char *setting, const char *path, struct buf *out, struct buf *why)
{
    int err = fsio_read_file(path, out);
    return err == ERR_NONE ? ERR_NONE : fail(why, setting, path, err_text(err));
}

static int
read_chain(struct http_tls_pair *pair, const char *path, struct buf *why)
{
    struct buf text;
    unsigned count = HTTP_TLS_CHAIN_MAX;
    buf_init(&text, HTTP_TLS_FILE_MAX);
    int err = read_pem("tls.certificate", path, &text, why);
    if (err == ERR_NONE) {
        gnutls_datum_t pem = {(unsigned char *)text.p, (unsigned)text.n};
        int rc = gnutls_pcert_list_import_x509_raw(pair->chain, &count, &pem, GNUTLS_X509_FMT_PEM,
                                                   GNUTLS_X509_CRT_LIST_SORT);
        if (rc < 0)
            err = fail(why, "tls.certificate", path, gnutls_strerror(rc));
        else
            pair->chain_count = count;
    }
    buf_fini(&text);
    return err;
}

/* Who may read the key's file may pass for the server. A group is often meant to. */
static void
warn_of_mode(const char *path)
{
    struct stat st;
    char quoted[LOG_QUOTE_MAX];
    if (stat(path, &st) == 0 && (st.st_mode & (S_IROTH | S_IWOTH)) != 0)
        log_line(LOG_WARN, "tls_key_exposed", "file=%s mode=%04o",
                 log_quote(slice_str(path), quoted), (unsigned)st.st_mode & 07777u);
}

static int
read_key(struct http_tls_pair *pair, const char *path, struct buf *why)
{
    struct buf text;
    buf_init(&text, HTTP_TLS_FILE_MAX);
    int err = read_pem("tls.key", path, &text, why);
    if (err == ERR_NONE) {
        gnutls_datum_t pem = {(unsigned char *)text.p, (unsigned)text.n};
        int rc = gnutls_privkey_init(&pair->key);
        if (rc == 0)
            rc = gnutls_privkey_import_x509_raw(pair->key, &pem, GNUTLS_X509_FMT_PEM, NULL, 0);
        if (rc < 0)
            err = fail(why, "tls.key", path, gnutls_strerror(rc));
        warn_of_mode(path);
    }
    if (text.p != NULL)
        explicit_bzero(text.p, text.n);
    buf_fini(&text);
    return err;
}

/* Two public keys are one when their identifiers are. */
static bool
fits(const struct http_tls_pair *pair)
{
    unsigned char ids[2][KEY_ID_MAX];
    size_t sizes[2] = {KEY_ID_MAX, KEY_ID_MAX};
    gnutls_pubkey_t own = NULL;
    bool same = gnutls_pubkey_init(&own) == 0 &&
                gnutls_pubkey_import_privkey(own, pair->key, 0, 0) == 0 &&
                gnutls_pubkey_get_key_id(own, GNUTLS_KEYID_USE_SHA256, ids[0], &sizes[0]) == 0 &&
                gnutls_pubkey_get_key_id(pair->chain[0].pubkey, GNUTLS_KEYID_USE_SHA256, ids[1],
                                         &sizes[1]) == 0 &&
                sizes[0] == sizes[1] && memcmp(ids[0], ids[1], sizes[0]) == 0;
    if (own != NULL)
        gnutls_pubkey_deinit(own);
    return same;
}

static void
log_pair(struct http_tls_pair *pair)
{
    unsigned char serial[SERIAL_MAX];
    size_t serial_n = sizeof serial;
    char hex[2 * SERIAL_MAX + 1] = "";
    char until[CLOCK_TEXT_MAX];
    gnutls_x509_crt_t crt = NULL;
    if (gnutls_pcert_export_x509(&pair->chain[0], &crt) != 0)
        return;
    if (gnutls_x509_crt_get_serial(crt, serial, &serial_n) == 0)
        hex_encode(serial, serial_n, hex);
    int64_t until_ms = (int64_t)gnutls_x509_crt_get_expiration_time(crt) * 1000;
    gnutls_x509_crt_deinit(crt);
    clock_iso8601(until_ms, until);
    bool over = until_ms < clock_wall_ms();
    log_line(over ? LOG_WARN : LOG_INFO, over ? "tls_certificate_expired" : "tls_certificate",
             "serial=%s until=%s chain=%u", hex, until, pair->chain_count);
}

static int
pair_read(struct http_tls_pair **out, const struct http_tls *t, struct buf *why)
{
    struct http_tls_pair *pair = chk_calloc(1, sizeof *pair);
    atomic_init(&pair->refs, 1);
    int err = read_chain(pair, t->certificate_path, why);
    if (err == ERR_NONE)
        err = read_key(pair, t->key_path, why);
    if (err == ERR_NONE && !fits(pair)) {
        buf_printf(why, "tls.key: %s: not the key of the certificate in %s", t->key_path,
                   t->certificate_path);
        err = ERR_INVALID;
    }
    if (err != ERR_NONE) {
        http_tls_unref(pair);
        return err;
    }
    log_pair(pair);
    *out = pair;
    return ERR_NONE;
}

/* ---- references ---- */

struct http_tls_pair *
http_tls_ref(struct http_tls *t)
{
    lock_take(&t->lock);
    struct http_tls_pair *pair = t->current;
    atomic_fetch_add(&pair->refs, 1);
    lock_release(&t->lock);
    return pair;
}

void
http_tls_unref(struct http_tls_pair *pair)
{
    if (pair == NULL || atomic_fetch_sub(&pair->refs, 1) > 1)
        return;
    for (unsigned i = 0; i < pair->chain_count; i++)
        gnutls_pcert_deinit(&pair->chain[i]);
    if (pair->key != NULL)
        gnutls_privkey_deinit(pair->key);
    free(pair);
}

/* On the connection's own thread, once in a handshake. */
static int
retrieve(gnutls_session_t session, const gnutls_datum_t *authorities, int authority_count,
         const gnutls_pk_algorithm_t *algorithms, int algorithm_count, gnutls_pcert_st **chain,
         unsigned *chain_count, gnutls_privkey_t *key)
{
    (void)authorities;
    (void)authority_count;
    (void)algorithms;
    (void)algorithm_count;
    struct http_guard_conn *c = http_front_watched(gnutls_transport_get_int(session));
    if (c == NULL || c->tls == NULL)
        return -1;
    *chain = c->tls->chain;
    *chain_count = c->tls->chain_count;
    *key = c->tls->key;
    return 0;
}

void *
http_tls_retrieve(void)
{
    return (void *)(intptr_t)retrieve;
}

/* ---- the whole ---- */

int
http_tls_new(struct http_tls **out, const char *certificate, const char *key, struct buf *why)
{
    struct http_tls *t = chk_calloc(1, sizeof *t);
    t->magic = TLS_MAGIC;
    t->certificate_path = strdup(certificate);
    t->key_path = strdup(key);
    CHK(t->certificate_path != NULL && t->key_path != NULL);
    lock_init(&t->lock, LOCK_RANK_TLS);
    int err = pair_read(&t->current, t, why);
    if (err != ERR_NONE)
        http_tls_free(&t);
    *out = t;
    return err;
}

void
http_tls_free(struct http_tls **tp)
{
    struct http_tls *t = *tp;
    *tp = NULL;
    if (t == NULL)
        return;
    CHK_MAGIC(t, TLS_MAGIC);
    http_tls_unref(t->current);
    lock_fini(&t->lock);
    free(t->certificate_path);
    free(t->key_path);
    t->magic = 0;
    free(t);
}

/* A pipe was a way to hand a key over at the start. A second time nobody might write to it, and
 * whoever opened it would wait for ever. */
static int
check_regular(const char *setting, const char *path, struct buf *why)
{
    struct stat st;
    if (stat(path, &st) != 0 || S_ISREG(st.st_mode))
        return ERR_NONE; /* the reading tells what is wrong */
    return fail(why, setting, path, "not a regular file, so it cannot be read again");
}

int
http_tls_reload(struct http_tls *t, struct buf *why)
{
    struct http_tls_pair *fresh = NULL;
    CHK_MAGIC(t, TLS_MAGIC);
    int err = check_regular("tls.certificate", t->certificate_path, why);
    if (err == ERR_NONE)
        err = check_regular("tls.key", t->key_path, why);
    if (err == ERR_NONE)
        err = pair_read(&fresh, t, why);
    if (err != ERR_NONE)
        return err;
    lock_take(&t->lock);
    struct http_tls_pair *old = t->current;
    t->current = fresh;
    lock_release(&t->lock);
    http_tls_unref(old);
    return ERR_NONE;
}
