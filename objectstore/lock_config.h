/*
 * A bucket's object lock: the document, and the retention it gives to versions that come without
 * one. https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectLockConfiguration.html
 */
#ifndef DARKROOM_OBJECTSTORE_LOCK_CONFIG_H
#define DARKROOM_OBJECTSTORE_LOCK_CONFIG_H

#include "base/xml.h"
#include "objectstore/store_object.h"

#define LOCK_DAYS_MAX 36500
#define LOCK_YEARS_MAX 100
#define LOCK_DAY_MS ((int64_t)24 * 3600 * 1000)

/* "GOVERNANCE" or "COMPLIANCE"; ERR_INVALID for anything else. */
int lock_mode_parse(struct slice text, enum store_retention *mode);
const char *lock_mode_name(enum store_retention mode);

/* The children of <ObjectLockConfiguration>; without a rule *out is all zero. ERR_INVALID: not such
 * a document. ERR_RANGE: no such period. */
int lock_config_read(const struct xml_node *root, struct store_lock_default *out);
/* The same from a document's text; ERR_NOMEM as well. */
int lock_config_parse(struct slice xml, struct store_lock_default *out);
void lock_config_write(const struct store_lock_default *d, struct buf *out);
/* Gives `lock` the default retention from `now_ms` on, unless it has one. A year is 365 days. */
void lock_config_apply(const struct store_lock_default *d, int64_t now_ms, struct store_lock *lock);

#endif
