/*
 * How many requests with a wrong signature came from an address in the last minute.
 *
 * A wrong signature costs us canonical texts and an answer that holds them, and tells a prober
 * which access key ids exist. So an address that has used up its share gets one short answer, the
 * same for every cause, until its share has grown back. It never touches a request whose signature
 * is right: that is found out first. What it does not do is make guessing harder; 256 bits do.
 *
 * 403 AccessDenied and not 503 SlowDown: every SDK repeats a 503, and these requests would fail
 * as often as they are repeated.
 */
#ifndef DARKROOM_BASE_AUTH_LIMIT_H
#define DARKROOM_BASE_AUTH_LIMIT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define AUTH_LIMIT_ADDRESSES 4096 /* remembered at once; the least guilty of four is forgotten */

struct auth_limit;

/* `per_minute_max` > 0: failures of one address that are answered in full. */
struct auth_limit *auth_limit_new(int64_t per_minute_max);
void auth_limit_free(struct auth_limit **l);
/* One more failure of `peer`; true when its share was used up before. An IPv6 address counts with
 * its whole /64, which is what one customer has. `now_ms` of clock_mono_ms(). Any thread. */
bool auth_limit_failed(struct auth_limit *l, const struct sockaddr_storage *peer, int64_t now_ms);

#endif
