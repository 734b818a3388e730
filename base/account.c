/*
 * Three arrays over the same accounts, each sorted by one of the names an account is looked up by;
 * all three names are unique. An account is one block of memory with its strings behind it, so
 * what was lent stays where it is when more are added. Filled at start by one thread, then only
 * read.
 */
#include "base/account.h"
#include "base/chk.h"
#include "base/digest.h"
#include "base/err.h"

#include <stdlib.h>

#define ACCOUNTS_MAGIC 0xacc02715u

enum index { BY_ID, BY_CANONICAL_ID, BY_ACCESS_KEY, INDEXES };

struct entry {
    struct account account;
    char canonical_id[2 * SHA256_BYTES + 1];
    size_t bytes; /* of the whole block */
    char text[];
};

struct accounts {
    uint32_t magic;
    size_t count;
    struct entry *root;
    struct entry *sorted[INDEXES][ACCOUNTS_MAX];
};

static const char *
name_of(const struct entry *e, enum index by)
{
    if (by == BY_ID)
        return e->account.id;
    return by == BY_ACCESS_KEY ? e->account.access_key_id : e->account.canonical_id;
}

struct accounts *
accounts_new(void)
{
    struct accounts *a = chk_calloc(1, sizeof *a);
    a->magic = ACCOUNTS_MAGIC;
    return a;
}

void
accounts_free(struct accounts **ap)
{
    struct accounts *a = *ap;
    *ap = NULL;
    if (a == NULL)
        return;
    CHK_MAGIC(a, ACCOUNTS_MAGIC);
    for (size_t i = 0; i < a->count; i++) {
        struct entry *e = a->sorted[BY_ID][i];
        explicit_bzero(e, e->bytes);
        free(e);
    }
    a->magic = 0;
    free(a);
}

/* Where `name` is, or where it would have to be put. */
static size_t
position(const struct accounts *a, enum index by, struct slice name)
{
    size_t low = 0;
    size_t high = a->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (slice_cmp(slice_str(name_of(a->sorted[by][mid], by)), name) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static const struct account *
find(const struct accounts *a, enum index by, struct slice name)
{
    CHK_MAGIC(a, ACCOUNTS_MAGIC);
    size_t i = position(a, by, name);
    if (i == a->count || !slice_eqs(name, name_of(a->sorted[by][i], by)))
        return NULL;
    return &a->sorted[by][i]->account;
}

static void
insert(struct accounts *a, enum index by, struct entry *e)
{
    struct entry **list = a->sorted[by];
    size_t i = position(a, by, slice_str(name_of(e, by)));
    memmove(list + i + 1, list + i, (a->count - i) * sizeof(struct entry *));
    list[i] = e;
}

static const char *
copy(char **at, const char *s)
{
    size_t n = strlen(s) + 1;
    char *p = memcpy(*at, s, n);
    *at += n;
    return p;
}

static struct entry *
entry_new(const struct account *from)
{
    size_t bytes = sizeof(struct entry) + strlen(from->id) + strlen(from->display_name) +
                   strlen(from->email) + strlen(from->access_key_id) +
                   strlen(from->secret_access_key) + 5;
    struct entry *e = calloc(1, bytes);
    if (e == NULL)
        return NULL;
    char *at = e->text;
    uint8_t sha256[SHA256_BYTES];
    e->bytes = bytes;
    e->account.id = copy(&at, from->id);
    e->account.display_name = copy(&at, from->display_name);
    e->account.email = copy(&at, from->email);
    e->account.access_key_id = copy(&at, from->access_key_id);
    e->account.secret_access_key = copy(&at, from->secret_access_key);
    e->account.is_root = from->is_root;
    digest_sha256(from->id, strlen(from->id), sha256);
    hex_encode(sha256, sizeof sha256, e->canonical_id);
    e->account.canonical_id = e->canonical_id;
    return e;
}

static bool
is_empty(const char *s)
{
    return s == NULL || s[0] == '\0';
}

int
accounts_add(struct accounts *a, const struct account *account)
{
    CHK_MAGIC(a, ACCOUNTS_MAGIC);
    if (is_empty(account->id) || is_empty(account->display_name) || is_empty(account->email) ||
        is_empty(account->access_key_id) || is_empty(account->secret_access_key))
        return ERR_INVALID;
    if (find(a, BY_ID, slice_str(account->id)) != NULL ||
        find(a, BY_ACCESS_KEY, slice_str(account->access_key_id)) != NULL)
        return ERR_EXISTS;
    if (a->count == ACCOUNTS_MAX)
        return ERR_TOOBIG;
    struct entry *e = entry_new(account);
    if (e == NULL)
        return ERR_NOMEM;
    for (int by = 0; by < INDEXES; by++)
        insert(a, (enum index)by, e);
    a->count++;
    if (a->root == NULL && e->account.is_root)
        a->root = e;
    return ERR_NONE;
}

const struct account *
accounts_by_access_key(const struct accounts *a, struct slice access_key_id)
{
    return find(a, BY_ACCESS_KEY, access_key_id);
}

const struct account *
accounts_by_canonical_id(const struct accounts *a, struct slice id)
{
    return find(a, BY_CANONICAL_ID, id);
}

const struct account *
accounts_by_id(const struct accounts *a, struct slice id)
{
    return find(a, BY_ID, id);
}

const struct account *
accounts_by_email(const struct accounts *a, struct slice email)
{
    CHK_MAGIC(a, ACCOUNTS_MAGIC);
    for (size_t i = 0; i < a->count; i++) {
        const struct account *one = &a->sorted[BY_ID][i]->account;
        if (slice_ieqs(email, one->email))
            return one;
    }
    return NULL;
}

const struct account *
accounts_root(const struct accounts *a)
{
    CHK_MAGIC(a, ACCOUNTS_MAGIC);
    return a->root == NULL ? NULL : &a->root->account;
}
