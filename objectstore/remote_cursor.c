#include "objectstore/remote_cursor.h"
#include "base/chk.h"
#include "base/err.h"
#include "base/log.h"

#include <stdlib.h>

#define CURSOR_MAGIC 0x4e307e02u
#define NAME_MAX_BYTES 4096 /* a key has 1024 at most */

/* An entry in the page: its texts stand one behind the other in `texts`. */
struct slot {
    size_t at;
    size_t name_n;
    size_t etag_n;
    int64_t size;
    int64_t mtime_ms;
};

struct remote_cursor {
    uint32_t magic;
    struct remote *r;
    struct slice bucket; /* the caller's, with the prefix */
    struct slice prefix;
    struct buf token;
    struct buf slots; /* struct slot[] */
    struct buf texts;
    size_t next;
    struct buf highest; /* name of all pages before this one */
    bool rises;         /* this page has a name above it */
    bool begun;
    bool unsorted;
    int empty_pages;
    struct buf *why; /* of the call under way */
    int err;
};

void
remote_cursor_open(struct remote_cursor **out, struct remote *r, struct slice bucket,
                   struct slice prefix)
{
    struct remote_cursor *c = chk_calloc(1, sizeof *c);
    c->magic = CURSOR_MAGIC;
    c->r = r;
    c->bucket = bucket;
    c->prefix = prefix;
    buf_init(&c->token, REMOTE_TOKEN_MAX);
    buf_init(&c->slots, REMOTE_PAGE_BYTES_MAX);
    buf_init(&c->texts, REMOTE_PAGE_BYTES_MAX);
    buf_init(&c->highest, NAME_MAX_BYTES);
    *out = c;
}

void
remote_cursor_close(struct remote_cursor **cp)
{
    struct remote_cursor *c = *cp;
    *cp = NULL;
    if (c == NULL)
        return;
    CHK_MAGIC(c, CURSOR_MAGIC);
    buf_fini(&c->token);
    buf_fini(&c->slots);
    buf_fini(&c->texts);
    buf_fini(&c->highest);
    c->magic = 0;
    free(c);
}

static int
keep_entry(void *arg, const struct remote_entry *e)
{
    struct remote_cursor *c = arg;
    char quoted[LOG_QUOTE_MAX];
    if (e->is_prefix)
        return 0;
    if (!slice_starts(e->name, c->prefix)) {
        buf_printf(c->why, "its listing has %s, which is not under the prefix that was asked for",
                   log_quote(e->name, quoted));
        c->err = ERR_INVALID;
        return 1;
    }
    struct slot slot = {.at = c->texts.n,
                        .name_n = e->name.n,
                        .etag_n = e->etag.n < REMOTE_ETAG_MAX ? e->etag.n : 0,
                        .size = e->size,
                        .mtime_ms = e->mtime_ms};
    buf_put_slice(&c->texts, e->name);
    buf_put(&c->texts, e->etag.p, slot.etag_n);
    buf_put(&c->slots, &slot, sizeof slot);
    c->rises |= slice_cmp(e->name, buf_slice(&c->highest)) > 0;
    c->err = c->texts.err != ERR_NONE ? c->texts.err : c->slots.err;
    return c->err != ERR_NONE;
}

static struct slice
name_of(const struct remote_cursor *c, size_t i)
{
    const struct slot *slot = (const struct slot *)(const void *)c->slots.p + i;
    return slice_of(c->texts.p + slot->at, slot->name_n);
}

static int
judge_page(struct remote_cursor *c)
{
    size_t n = c->slots.n / sizeof(struct slot);
    c->empty_pages = n == 0 ? c->empty_pages + 1 : 0;
    if ((n > 0 && !c->rises) || c->empty_pages > REMOTE_EMPTY_PAGES_MAX) {
        buf_puts(c->why, n > 0 ? "its listing says the same again instead of going on"
                               : "its listing goes on with empty pages");
        return ERR_INVALID;
    }
    for (size_t i = 0; i < n; i++) {
        if (slice_cmp(name_of(c, i), buf_slice(&c->highest)) <= 0) {
            c->unsorted |= c->begun || i > 0;
        } else {
            buf_reset(&c->highest);
            buf_put_slice(&c->highest, name_of(c, i));
        }
    }
    return c->highest.err;
}

static int
fill(struct remote_cursor *c)
{
    buf_reset(&c->slots);
    buf_reset(&c->texts);
    c->next = 0;
    c->rises = false;
    c->err = ERR_NONE;
    int err = remote_page(c->r, c->bucket, c->prefix, SLICE_NONE, &c->token, keep_entry, c, c->why);
    if (err == ERR_NONE)
        err = c->err;
    if (err == ERR_NONE)
        err = judge_page(c);
    if (err == ERR_NONE)
        c->begun = true;
    else
        buf_reset(&c->slots);
    return err;
}

bool
remote_cursor_sorted(const struct remote_cursor *c)
{
    CHK_MAGIC(c, CURSOR_MAGIC);
    return !c->unsorted;
}

int
remote_cursor_next(struct remote_cursor *c, struct remote_entry *e, struct buf *why)
{
    CHK_MAGIC(c, CURSOR_MAGIC);
    c->why = why;
    while (c->next >= c->slots.n / sizeof(struct slot)) {
        if (c->begun && c->token.n == 0)
            return 0;
        int err = fill(c);
        if (err != ERR_NONE)
            return err;
    }
    const struct slot *slot = (const struct slot *)(const void *)c->slots.p + c->next;
    *e =
        (struct remote_entry){.name = name_of(c, c->next),
                              .size = slot->size,
                              .mtime_ms = slot->mtime_ms,
                              .etag = slice_of(c->texts.p + slot->at + slot->name_n, slot->etag_n)};
    c->next++;
    return 1;
}
