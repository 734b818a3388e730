/*
 * When objects were last sent: a table of fixed size in memory, without locks, for `explain`. It
 * knows nothing from before the start, and of two keys that share a slot only the one sent last.
 */
#ifndef DARKROOM_OBJECTSTORE_SERVED_H
#define DARKROOM_OBJECTSTORE_SERVED_H

#include <stdint.h>

#define SERVED_SLOTS 65536 /* half a MiB */

struct served;

struct served *served_new(void);
void served_free(struct served **s);
/* `hash` of the key; `now_s`: seconds since 1970. Any thread. */
void served_note(struct served *s, uint64_t hash, int64_t now_s);
/* 0: not known. Any thread. */
int64_t served_at(const struct served *s, uint64_t hash);
/* Since when it is kept, in milliseconds. */
int64_t served_since_ms(const struct served *s);

#endif
