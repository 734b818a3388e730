/*
 * Every object under a prefix, one by one, pulled page by page. What the store says is checked: a
 * name outside of the prefix, pages that bring nothing new, or too many empty ones are
 * ERR_INVALID, so no listing is endless by saying the same again. Memory is one page. The thread
 * of its remote.
 */
#ifndef DARKROOM_OBJECTSTORE_REMOTE_CURSOR_H
#define DARKROOM_OBJECTSTORE_REMOTE_CURSOR_H

#include "objectstore/remote.h"

#define REMOTE_EMPTY_PAGES_MAX 100 /* in a row */

struct remote_cursor;

void remote_cursor_open(struct remote_cursor **out, struct remote *r, struct slice bucket,
                        struct slice prefix);
void remote_cursor_close(struct remote_cursor **c);
/* 1: an entry, lent until the next call; 0: no more; an error of remote_page() with `why`: the
 * call may be repeated and goes on where it was. */
int remote_cursor_next(struct remote_cursor *c, struct remote_entry *e, struct buf *why);
/* False once a page was read, to its end, whose names do not rise. */
bool remote_cursor_sorted(const struct remote_cursor *c);

#endif
