/*
 * The settings: defaults, then the configuration file, then command-line options. Read-only once
 * the server runs, so any thread may read.
 */
#ifndef DARKROOM_BASE_CONF_H
#define DARKROOM_BASE_CONF_H

#include "base/account.h"
#include "base/buf.h"

enum conf_id {
#define CONF(id, name, type, def, min, max, unit, help) CONF_##id,
#include "base/conf_list.h"
#undef CONF
    CONF_COUNT
};

struct conf;

/* All defaults. */
struct conf *conf_new(void);
void conf_free(struct conf **c);

int64_t conf_int(const struct conf *c, enum conf_id id);
bool conf_bool(const struct conf *c, enum conf_id id);
const char *conf_str(const struct conf *c, enum conf_id id); /* lent until changed */
double conf_decimal(const struct conf *c, enum conf_id id);  /* STR whose unit is decimal */

/* Sets one from text. On ERR_INVALID / ERR_RANGE `why` gets one line naming the setting, the value
 * and what is allowed. STR settings whose unit is a|b|c take only these words, those whose unit
 * is "any of a,b,c" any list of them, "decimal" a number such as 0.25. */
int conf_set(struct conf *c, enum conf_id id, const char *text, struct buf *why);
/* Reads the JSON file. Unknown settings, wrong types and out-of-range values: ERR_INVALID and one
 * line in `why` with file and setting. A file of our own that holds secrets (keys of accounts,
 * metrics.token) and that others may read or write is warned of. The member "accounts" goes to
 * `accounts`. */
int conf_load(struct conf *c, const char *path, struct accounts *accounts, struct buf *why);
/* Every setting as a line: name, value, default, unit, help. No secrets. */
void conf_print(const struct conf *c, struct buf *out);

#endif
