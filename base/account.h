/*
 * Who may sign requests: the root account and those of the configuration. Read-only after start,
 * so any thread may look up without a lock.
 */
#ifndef DARKROOM_BASE_ACCOUNT_H
#define DARKROOM_BASE_ACCOUNT_H

#include "base/slice.h"

#define ACCOUNTS_MAX 1000

struct account {
    const char *id;           /* 12 digits or the configured id; in ARNs */
    const char *canonical_id; /* 64 hex digits, SHA-256 of id: the owner in S3 XML */
    const char *display_name;
    const char *email;
    const char *access_key_id;
    const char *secret_access_key;
    bool is_root; /* may use /_/ administration and everything in every bucket */
};

struct accounts;

struct accounts *accounts_new(void);
void accounts_free(struct accounts **a);
/* Copies every string. ERR_EXISTS for a second use of an access key id or id, ERR_INVALID for an
 * empty field, ERR_TOOBIG past ACCOUNTS_MAX. canonical_id is computed. */
int accounts_add(struct accounts *a, const struct account *account);
/* NULL when there is none. Lent until accounts_free(). */
const struct account *accounts_by_access_key(const struct accounts *a, struct slice access_key_id);
const struct account *accounts_by_canonical_id(const struct accounts *a, struct slice id);
const struct account *accounts_by_id(const struct accounts *a, struct slice id);
/* The first so addressed: addresses need not be unique. */
const struct account *accounts_by_email(const struct accounts *a, struct slice email);
const struct account *accounts_root(const struct accounts *a);

#endif
