#include "objectstore/lock_config.h"
#include "base/arena.h"
#include "base/err.h"

#define PARSE_MEMORY_MAX (256u << 10)
#define DAYS_OF_YEAR 365

int
lock_mode_parse(struct slice text, enum store_retention *mode)
{
    if (slice_eqs(text, "GOVERNANCE"))
        *mode = STORE_RETENTION_GOVERNANCE;
    else if (slice_eqs(text, "COMPLIANCE"))
        *mode = STORE_RETENTION_COMPLIANCE;
    else
        return ERR_INVALID;
    return ERR_NONE;
}

const char *
lock_mode_name(enum store_retention mode)
{
    return mode == STORE_RETENTION_COMPLIANCE ? "COMPLIANCE" : "GOVERNANCE";
}

/* ERR_RANGE: a number, but none from 1 to max. */
static int
period(struct slice text, int max, int *out)
{
    uint64_t value = 0;
    text = slice_trim(text);
    bool negative = slice_starts(text, SLICE_LIT("-"));
    if (slice_to_u64(slice_skip(text, negative ? 1 : 0), &value) != ERR_NONE)
        return ERR_INVALID;
    if (negative || value < 1 || value > (uint64_t)max)
        return ERR_RANGE;
    *out = (int)value;
    return ERR_NONE;
}

/* <DefaultRetention>: a mode, and either days or years. */
static int
retention_read(const struct xml_node *node, struct store_lock_default *out)
{
    struct slice days = xml_text(node, "Days"), years = xml_text(node, "Years");
    if (lock_mode_parse(xml_text(node, "Mode"), &out->retention) != ERR_NONE)
        return ERR_INVALID;
    if ((days.p == NULL) == (years.p == NULL))
        return ERR_INVALID;
    return days.p != NULL ? period(days, LOCK_DAYS_MAX, &out->days)
                          : period(years, LOCK_YEARS_MAX, &out->years);
}

int
lock_config_read(const struct xml_node *root, struct store_lock_default *out)
{
    *out = (struct store_lock_default){.retention = STORE_RETENTION_NONE};
    if (!slice_eqs(root->name, "ObjectLockConfiguration") ||
        !slice_eqs(xml_text(root, "ObjectLockEnabled"), "Enabled"))
        return ERR_INVALID;
    const struct xml_node *rule = xml_child(root, "Rule");
    if (rule == NULL)
        return ERR_NONE;
    const struct xml_node *retention = xml_child(rule, "DefaultRetention");
    if (retention == NULL || xml_next(rule, "Rule") != NULL)
        return ERR_INVALID;
    struct store_lock_default read = {.retention = STORE_RETENTION_NONE};
    int err = retention_read(retention, &read);
    if (err == ERR_NONE)
        *out = read;
    return err;
}

int
lock_config_parse(struct slice xml, struct store_lock_default *out)
{
    const struct xml_node *root = NULL;
    struct arena *a = arena_new(PARSE_MEMORY_MAX);
    *out = (struct store_lock_default){.retention = STORE_RETENTION_NONE};
    int err = a == NULL ? ERR_NOMEM : xml_parse(a, xml, &root);
    if (err == ERR_NONE)
        err = lock_config_read(root, out);
    arena_free(&a);
    return err;
}

void
lock_config_write(const struct store_lock_default *d, struct buf *out)
{
    xml_head(out);
    xml_open(out, "ObjectLockConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"");
    xml_puts(out, "ObjectLockEnabled", "Enabled");
    if (d->retention != STORE_RETENTION_NONE) {
        xml_open(out, "Rule");
        xml_open(out, "DefaultRetention");
        xml_puts(out, "Mode", lock_mode_name(d->retention));
        if (d->days > 0)
            xml_put_int(out, "Days", d->days);
        else
            xml_put_int(out, "Years", d->years);
        xml_close(out, "DefaultRetention");
        xml_close(out, "Rule");
    }
    xml_close(out, "ObjectLockConfiguration");
}

void
lock_config_apply(const struct store_lock_default *d, int64_t now_ms, struct store_lock *lock)
{
    if (d->retention == STORE_RETENTION_NONE || lock->retention != STORE_RETENTION_NONE)
        return;
    int64_t days = d->days > 0 ? d->days : (int64_t)d->years * DAYS_OF_YEAR;
    lock->retention = d->retention;
    lock->retain_until_ms = now_ms + days * LOCK_DAY_MS;
}
