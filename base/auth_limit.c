/*
 * A leaky bucket per address, in a table of fixed size: SETS sets of WAYS entries. An address has
 * its set by hash; a new one takes the place of the entry that has leaked most. Whoever owns many
 * addresses can push others out, and gains what the others lose: a share that begins anew. No
 * request is refused for a full table.
 *
 * A level is counted in failures x 60,000, so that a share per minute leaks in whole numbers per
 * millisecond. A failure above the share is not added: a flood that goes on does not push the end
 * of its punishment away.
 */
#include "base/auth_limit.h"
#include "base/chk.h"
#include "base/lock.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_MAGIC 0xa0711417u
#define WAYS 4
#define SETS (AUTH_LIMIT_ADDRESSES / WAYS)
#define FAILURE 60000 /* milliseconds of a minute */
#define KEY_BYTES 16
#define NET_BYTES 8 /* of an IPv6 address */

struct entry {
    uint8_t key[KEY_BYTES]; /* IPv4 mapped into IPv6; the network part of any other */
    int64_t level;
    int64_t at_ms; /* when `level` was right */
};

struct auth_limit {
    uint32_t magic;
    int64_t per_minute_max;
    struct lock lock;
    struct entry entries[SETS][WAYS];
};

struct auth_limit *
auth_limit_new(int64_t per_minute_max)
{
    CHK(per_minute_max > 0 && per_minute_max <= INT64_MAX / FAILURE);
    struct auth_limit *l = chk_calloc(1, sizeof *l);
    l->magic = LIMIT_MAGIC;
    l->per_minute_max = per_minute_max;
    lock_init(&l->lock, LOCK_RANK_HTTP);
    return l;
}

void
auth_limit_free(struct auth_limit **lp)
{
    struct auth_limit *l = *lp;
    *lp = NULL;
    if (l == NULL)
        return;
    CHK_MAGIC(l, LIMIT_MAGIC);
    l->magic = 0;
    lock_fini(&l->lock);
    free(l);
}

static void
key_of(const struct sockaddr_storage *peer, uint8_t key[KEY_BYTES])
{
    static const uint8_t mapped[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    memset(key, 0, KEY_BYTES);
    if (peer->ss_family == AF_INET) {
        memcpy(key, mapped, sizeof mapped);
        memcpy(key + sizeof mapped, &((const struct sockaddr_in *)(const void *)peer)->sin_addr,
               KEY_BYTES - sizeof mapped);
    } else if (peer->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)peer;
        bool is_v4 = memcmp(&in6->sin6_addr, mapped, sizeof mapped) == 0;
        memcpy(key, &in6->sin6_addr, is_v4 ? KEY_BYTES : NET_BYTES);
    }
}

static int64_t
leaked(const struct auth_limit *l, const struct entry *e, int64_t now_ms)
{
    int64_t past_ms = now_ms > e->at_ms ? now_ms - e->at_ms : 0;
    if (past_ms >= FAILURE)
        return 0;
    int64_t level = e->level - past_ms * l->per_minute_max;
    return level > 0 ? level : 0;
}

/* The address's own entry, or the emptiest of its set made its own. */
static struct entry *
entry_of(struct auth_limit *l, const uint8_t key[KEY_BYTES], int64_t now_ms)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (int i = 0; i < KEY_BYTES; i++)
        h = (h ^ key[i]) * 16777619u;
    struct entry *set = l->entries[h % SETS];
    struct entry *emptiest = set;
    for (struct entry *e = set; e < set + WAYS; e++) {
        if (memcmp(e->key, key, KEY_BYTES) == 0)
            return e;
        if (leaked(l, e, now_ms) < leaked(l, emptiest, now_ms))
            emptiest = e;
    }
    memcpy(emptiest->key, key, KEY_BYTES);
    emptiest->level = 0;
    return emptiest;
}

bool
auth_limit_failed(struct auth_limit *l, const struct sockaddr_storage *peer, int64_t now_ms)
{
    uint8_t key[KEY_BYTES];
    CHK_MAGIC(l, LIMIT_MAGIC);
    key_of(peer, key);
    lock_take(&l->lock);
    struct entry *e = entry_of(l, key, now_ms);
    e->level = leaked(l, e, now_ms);
    e->at_ms = now_ms;
    bool over = e->level + FAILURE > l->per_minute_max * FAILURE;
    if (!over)
        e->level += FAILURE;
    lock_release(&l->lock);
    return over;
}
