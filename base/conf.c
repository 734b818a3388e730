/*
 * The table of conf_list.h made into values. A setting is always given as text (default, command
 * line) or as the JSON type that belongs to it (file), and every way ends in one of the same three
 * checks, so no value outside its range can be stored.
 *
 * conf_load() stops at the first fault. What it stored by then stays stored: the caller reports
 * the line and ends.
 */
#include "base/conf.h"
#include "base/chk.h"
#include "base/err.h"
#include "base/fsio.h"
#include "base/json.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONF_MAGIC 0xc04f1650u
#define CONF_FILE_MAX (4u << 20)
#define CONF_STR_MAX 4096
#define CONF_NAME_MAX 128
#define ACCOUNT_FIELD_MAX 256

enum conf_type { CONF_TYPE_INT, CONF_TYPE_BOOL, CONF_TYPE_STR };

static const struct setting {
    const char *name;
    enum conf_type type;
    const char *def;
    int64_t min, max;
    const char *unit;
    const char *help;
} settings[CONF_COUNT] = {
#define CONF(id, name, type, def, min, max, unit, help) \
    [CONF_##id] = {name, CONF_TYPE_##type, def, min, max, unit, help},
#include "base/conf_list.h"
#undef CONF
};

struct conf {
    uint32_t magic;
    int64_t number[CONF_COUNT]; /* INT, BOOL */
    char *text[CONF_COUNT];     /* STR, owned */
};

/* A fault has been found: its line, in full. */
static int __attribute__((format(printf, 3, 4)))
fault(struct buf *why, int err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (why != NULL)
        buf_vprintf(why, fmt, ap);
    va_end(ap);
    return err;
}

/* ---- the three checks ---- */

static int
set_int(struct conf *c, enum conf_id id, int64_t v, struct buf *why)
{
    const struct setting *s = &settings[id];
    if (v < s->min || v > s->max)
        return fault(why, ERR_RANGE, "%s: %lld is not in the range %lld to %lld", s->name,
                     (long long)v, (long long)s->min, (long long)s->max);
    c->number[id] = v;
    return ERR_NONE;
}

static int
set_bool(struct conf *c, enum conf_id id, bool v)
{
    c->number[id] = v;
    return ERR_NONE;
}

/* `unit` is a|b|c. */
static bool
is_choice(const char *unit, struct slice word)
{
    struct slice rest = slice_str(unit);
    while (rest.p != NULL) {
        if (slice_eq(slice_cut(rest, '|', &rest), word))
            return true;
    }
    return false;
}

#define DECIMAL_MAX 24 /* characters */
#define ANY_OF SLICE_LIT("any of ")

/* `unit` is "any of a,b,c"; the value some of them, separated in the same way. */
static bool
are_choices(const char *unit, struct slice list)
{
    while (list.n > 0) {
        struct slice word = slice_trim(slice_cut(list, ',', &list));
        struct slice rest = slice_skip(slice_str(unit), ANY_OF.n);
        bool known = false;
        while (rest.p != NULL)
            known = slice_eq(slice_cut(rest, ',', &rest), word) || known;
        if (!known)
            return false;
    }
    return true;
}

static bool
has_control(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
            return true;
    }
    return false;
}

/* Digits, and perhaps a point and digits: no sign, no exponent. */
static bool
is_decimal(struct slice s)
{
    size_t digits = 0, points = 0;
    for (size_t i = 0; i < s.n; i++) {
        digits += s.p[i] >= '0' && s.p[i] <= '9';
        points += s.p[i] == '.';
    }
    return digits > 0 && points <= 1 && digits + points == s.n && s.n <= DECIMAL_MAX &&
           s.p[0] != '.' && s.p[s.n - 1] != '.';
}

static int
set_str(struct conf *c, enum conf_id id, struct slice v, struct buf *why)
{
    const struct setting *s = &settings[id];
    char quoted[LOG_QUOTE_MAX];
    if (v.n > CONF_STR_MAX)
        return fault(why, ERR_RANGE, "%s: longer than %d bytes", s->name, CONF_STR_MAX);
    if (has_control(v) || !slice_is_utf8(v))
        return fault(why, ERR_INVALID, "%s: must be UTF-8 text without control characters",
                     s->name);
    if (strchr(s->unit, '|') != NULL && !is_choice(s->unit, v))
        return fault(why, ERR_INVALID, "%s: %s is none of %s", s->name, log_quote(v, quoted),
                     s->unit);
    if (slice_starts(slice_str(s->unit), ANY_OF) && !are_choices(s->unit, v))
        return fault(why, ERR_INVALID, "%s: %s is not %s", s->name, log_quote(v, quoted), s->unit);
    if (strcmp(s->unit, "decimal") == 0 && !is_decimal(v))
        return fault(why, ERR_INVALID, "%s: %s is not a number such as 0.25", s->name,
                     log_quote(v, quoted));
    char *copy = strndup(v.n == 0 ? "" : v.p, v.n);
    if (copy == NULL)
        return fault(why, ERR_NOMEM, "%s: out of memory", s->name);
    free(c->text[id]);
    c->text[id] = copy;
    return ERR_NONE;
}

/* ---- from text ---- */

static int
parse_int(struct slice text, int64_t *v)
{
    uint64_t u;
    bool minus = text.n > 0 && text.p[0] == '-';
    if (slice_to_u64(slice_skip(text, minus ? 1 : 0), &u) != ERR_NONE || u > INT64_MAX)
        return ERR_INVALID;
    *v = minus ? -(int64_t)u : (int64_t)u;
    return ERR_NONE;
}

int
conf_set(struct conf *c, enum conf_id id, const char *text, struct buf *why)
{
    CHK_MAGIC(c, CONF_MAGIC);
    CHK(id < CONF_COUNT);
    const struct setting *s = &settings[id];
    struct slice t = slice_str(text);
    char quoted[LOG_QUOTE_MAX];
    int64_t v = 0;
    switch (s->type) {
    case CONF_TYPE_INT:
        if (parse_int(t, &v) != ERR_NONE)
            return fault(why, ERR_INVALID, "%s: %s is not a whole number from %lld to %lld",
                         s->name, log_quote(t, quoted), (long long)s->min, (long long)s->max);
        return set_int(c, id, v, why);
    case CONF_TYPE_BOOL:
        if (!slice_eqs(t, "true") && !slice_eqs(t, "false"))
            return fault(why, ERR_INVALID, "%s: %s is neither true nor false", s->name,
                         log_quote(t, quoted));
        return set_bool(c, id, slice_eqs(t, "true"));
    case CONF_TYPE_STR:
        break;
    }
    return set_str(c, id, t, why);
}

struct conf *
conf_new(void)
{
    struct conf *c = chk_calloc(1, sizeof *c);
    c->magic = CONF_MAGIC;
    for (int id = 0; id < CONF_COUNT; id++)
        CHK(conf_set(c, (enum conf_id)id, settings[id].def, NULL) == ERR_NONE);
    return c;
}

void
conf_free(struct conf **cp)
{
    struct conf *c = *cp;
    *cp = NULL;
    if (c == NULL)
        return;
    CHK_MAGIC(c, CONF_MAGIC);
    for (int id = 0; id < CONF_COUNT; id++)
        free(c->text[id]);
    c->magic = 0;
    free(c);
}

int64_t
conf_int(const struct conf *c, enum conf_id id)
{
    CHK_MAGIC(c, CONF_MAGIC);
    CHK(id < CONF_COUNT && settings[id].type == CONF_TYPE_INT);
    return c->number[id];
}

bool
conf_bool(const struct conf *c, enum conf_id id)
{
    CHK_MAGIC(c, CONF_MAGIC);
    CHK(id < CONF_COUNT && settings[id].type == CONF_TYPE_BOOL);
    return c->number[id] != 0;
}

double
conf_decimal(const struct conf *c, enum conf_id id)
{
    CHK(strcmp(settings[id].unit, "decimal") == 0);
    return strtod(conf_str(c, id), NULL);
}

const char *
conf_str(const struct conf *c, enum conf_id id)
{
    CHK_MAGIC(c, CONF_MAGIC);
    CHK(id < CONF_COUNT && settings[id].type == CONF_TYPE_STR);
    return c->text[id];
}

/* ---- the file: accounts ---- */

static const struct account_field {
    const char *name;
    size_t offset;         /* in struct account */
    const char *forbidden; /* what the field's place in an ARN or a credential gives a meaning */
} account_fields[] = {
    {"id", offsetof(struct account, id), " :/*?"},
    {"display_name", offsetof(struct account, display_name), ""},
    {"email", offsetof(struct account, email), ""},
    {"access_key_id", offsetof(struct account, access_key_id), " /,=:"},
    {"secret_access_key", offsetof(struct account, secret_access_key), ""},
};

static const struct account_field *
account_field(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(account_fields); i++) {
        if (strcmp(account_fields[i].name, name) == 0)
            return &account_fields[i];
    }
    return NULL;
}

/* Points `account` into the JSON value. The text itself is not repeated in a message: it may be
 * the secret. */
static int
read_account_field(struct account *account, size_t at, const struct account_field *f,
                   const json_t *object, struct buf *why)
{
    const json_t *v = json_object_get(object, f->name);
    struct slice text = json_get_str(object, f->name);
    if (v == NULL)
        return fault(why, ERR_INVALID, "accounts[%zu].%s: missing", at, f->name);
    if (!json_is_string(v) || text.n == 0 || text.n > ACCOUNT_FIELD_MAX)
        return fault(why, ERR_INVALID, "accounts[%zu].%s: must be a string of 1 to %d bytes", at,
                     f->name, ACCOUNT_FIELD_MAX);
    if (has_control(text) || strpbrk(text.p, f->forbidden) != NULL)
        return fault(why, ERR_INVALID, "accounts[%zu].%s: has a character that is not allowed", at,
                     f->name);
    memcpy((char *)account + f->offset, &text.p, sizeof text.p);
    return ERR_NONE;
}

static int
load_account(struct accounts *accounts, size_t at, json_t *object, struct buf *why)
{
    struct account account = {.is_root = false};
    const char *name;
    json_t *value;
    char quoted[LOG_QUOTE_MAX];
    if (!json_is_object(object))
        return fault(why, ERR_INVALID, "accounts[%zu]: must be an object", at);
    json_object_foreach(object, name, value)
    {
        if (account_field(name) == NULL)
            return fault(why, ERR_INVALID, "accounts[%zu]: no such member: %s", at,
                         log_quote(slice_str(name), quoted));
    }
    for (size_t i = 0; i < ARRAY_LEN(account_fields); i++) {
        int rc = read_account_field(&account, at, &account_fields[i], object, why);
        if (rc != ERR_NONE)
            return rc;
    }
    int rc = accounts_add(accounts, &account);
    if (rc == ERR_EXISTS)
        return fault(why, ERR_INVALID, "accounts[%zu]: its id or access_key_id is already in use",
                     at);
    if (rc == ERR_TOOBIG)
        return fault(why, ERR_INVALID, "accounts[%zu]: more than %d accounts", at, ACCOUNTS_MAX);
    return rc == ERR_NONE ? rc : fault(why, rc, "accounts[%zu]: %s", at, err_text(rc));
}

static int
load_accounts(struct accounts *accounts, const json_t *list, struct buf *why)
{
    size_t i;
    json_t *one;
    if (!json_is_array(list))
        return fault(why, ERR_INVALID, "accounts: must be a list of objects");
    json_array_foreach(list, i, one)
    {
        int rc = load_account(accounts, i, one, why);
        if (rc != ERR_NONE)
            return rc;
    }
    return ERR_NONE;
}

/* ---- the file: settings ---- */

static const char *
json_kind(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "a whole number";
    case JSON_REAL:
        return "a number with a fraction";
    case JSON_TRUE:
    case JSON_FALSE:
        return "true or false";
    case JSON_NULL:
        break;
    }
    return "null";
}

static int
load_setting(struct conf *c, enum conf_id id, const json_t *v, struct buf *why)
{
    static const char *const wanted[] = {
        [CONF_TYPE_INT] = "a whole number",
        [CONF_TYPE_BOOL] = "true or false",
        [CONF_TYPE_STR] = "a string",
    };
    const struct setting *s = &settings[id];
    if (s->type == CONF_TYPE_INT && json_is_integer(v))
        return set_int(c, id, json_integer_value(v), why);
    if (s->type == CONF_TYPE_BOOL && json_is_boolean(v))
        return set_bool(c, id, json_is_true(v));
    if (s->type == CONF_TYPE_STR && json_is_string(v))
        return set_str(c, id, slice_of(json_string_value(v), json_string_length(v)), why);
    return fault(why, ERR_INVALID, "%s: must be %s, not %s", s->name, wanted[s->type],
                 json_kind(v));
}

/* CONF_COUNT when there is none. `*group`: settings exist below this name. */
static int
find_setting(const char *name, bool *group)
{
    size_t n = strlen(name);
    int found = CONF_COUNT;
    *group = false;
    for (int id = 0; id < CONF_COUNT; id++) {
        if (strcmp(settings[id].name, name) == 0)
            found = id;
        else if (strncmp(settings[id].name, name, n) == 0 && settings[id].name[n] == '.')
            *group = true;
    }
    return found;
}

static int load_object(struct conf *c, const char *prefix, json_t *object,
                       struct accounts *accounts, struct buf *why);

static int
load_member(struct conf *c, const char *prefix, const char *member, json_t *v,
            struct accounts *accounts, struct buf *why)
{
    char name[CONF_NAME_MAX];
    char quoted[LOG_QUOTE_MAX];
    bool group = false;
    int id = CONF_COUNT;
    int n = snprintf(name, sizeof name, "%s%s%s", prefix, prefix[0] == '\0' ? "" : ".", member);
    if (n < 0 || (size_t)n >= sizeof name || has_control(slice_str(name)))
        return fault(why, ERR_INVALID, "%s: no such setting", log_quote(slice_str(member), quoted));
    if (strcmp(name, "accounts") == 0)
        return load_accounts(accounts, v, why);
    /* {"auth.sigv2": ...} is not accepted, or one setting could be given twice. */
    if (strchr(member, '.') == NULL)
        id = find_setting(name, &group);
    if (id != CONF_COUNT)
        return load_setting(c, (enum conf_id)id, v, why);
    if (!group)
        return fault(why, ERR_INVALID, "%s: no such setting", name);
    if (!json_is_object(v))
        return fault(why, ERR_INVALID, "%s: must be an object, not %s", name, json_kind(v));
    return load_object(c, name, v, accounts, why);
}

/* Recursion ends with the names of the table: only a group that exists is entered. */
static int
load_object(struct conf *c, const char *prefix, json_t *object, struct accounts *accounts,
            struct buf *why)
{
    const char *member;
    json_t *v;
    json_object_foreach(object, member, v)
    {
        int rc = load_member(c, prefix, member, v, accounts, why);
        if (rc != ERR_NONE)
            return rc;
    }
    return ERR_NONE;
}

/* What is wrong with the text, without the piece of it that jansson quotes: it may be a secret. */
static json_t *
parse(struct slice text, struct buf *line)
{
    json_t *root = json_read(text, line);
    const char *quote = root == NULL && line->n > 0 ? strstr(line->p, " near '") : NULL;
    if (quote != NULL)
        line->n = (size_t)(quote - line->p);
    return root;
}

/* ---- the file: secrets ---- */

static bool
is_secret(enum conf_id id)
{
    return id == CONF_METRICS_TOKEN;
}

static bool
holds_secrets(const struct conf *c, const json_t *root)
{
    bool any = json_array_size(json_object_get(root, "accounts")) > 0;
    for (int id = 0; id < CONF_COUNT; id++)
        any = any || (is_secret((enum conf_id)id) && c->text[id][0] != '\0');
    return any;
}

/* Our own file ought to be open to nobody else; files written under a usual umask are, so it is
 * told and no more. How a file of another owner came to us (root's, by our group; a volume of a
 * container) is that owner's affair. */
static void
warn_of_mode(const char *path)
{
    struct stat st;
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
        (st.st_mode & 077) != 0)
        log_line(LOG_WARN, "config_open_to_others",
                 "path=%s mode=%04o hint=\"it holds secrets: make it 0600\"", path,
                 (unsigned)st.st_mode & 07777);
}

int
conf_load(struct conf *c, const char *path, struct accounts *accounts, struct buf *why)
{
    CHK_MAGIC(c, CONF_MAGIC);
    struct buf text, line;
    json_t *root = NULL;
    buf_init(&text, CONF_FILE_MAX);
    buf_init(&line, 2 * CONF_STR_MAX);
    int rc = fsio_read_file(path, &text);
    if (rc != ERR_NONE) {
        fault(&line, rc, "cannot be read: %s",
              rc == ERR_NOTFOUND ? "there is no such file" : err_text(rc));
        goto out;
    }
    root = parse(buf_slice(&text), &line);
    if (root == NULL)
        rc = ERR_INVALID;
    else if (!json_is_object(root))
        rc = fault(&line, ERR_INVALID, "must be one JSON object");
    else
        rc = load_object(c, "", root, accounts, &line);
    if (rc == ERR_NONE && holds_secrets(c, root))
        warn_of_mode(path);
    /* A range is a fault of the file like any other. */
    rc = rc == ERR_RANGE ? ERR_INVALID : rc;
out:
    if (rc != ERR_NONE)
        fault(why, rc, "%s: %.*s", path, SLICE_FMT(buf_slice(&line)));
    json_decref(root);
    buf_fini(&text);
    buf_fini(&line);
    return rc;
}

/* ---- printing ---- */

static void
put_value(const struct conf *c, enum conf_id id, struct buf *out)
{
    const struct setting *s = &settings[id];
    if (s->type == CONF_TYPE_INT)
        buf_printf(out, "%lld", (long long)c->number[id]);
    else if (s->type == CONF_TYPE_BOOL)
        buf_puts(out, c->number[id] != 0 ? "true" : "false");
    else if (is_secret(id) && c->text[id][0] != '\0')
        buf_puts(out, "(set)");
    else
        buf_puts(out, c->text[id][0] == '\0' ? "\"\"" : c->text[id]);
}

enum column { COLUMN_NAME, COLUMN_VALUE, COLUMN_DEFAULT, COLUMN_UNIT, COLUMNS };

static void
put_cell(const struct conf *c, enum conf_id id, enum column column, struct buf *out)
{
    const struct setting *s = &settings[id];
    if (column == COLUMN_NAME)
        buf_puts(out, s->name);
    else if (column == COLUMN_VALUE)
        put_value(c, id, out);
    else if (column == COLUMN_DEFAULT)
        buf_printf(out, "(default %s)", s->def[0] == '\0' ? "\"\"" : s->def);
    else
        buf_puts(out, s->unit[0] == '\0' ? "-" : s->unit);
}

static size_t
column_width(const struct conf *c, enum column column)
{
    size_t width = 0;
    struct buf cell;
    buf_init(&cell, 2 * CONF_STR_MAX);
    for (int id = 0; id < CONF_COUNT; id++) {
        buf_reset(&cell);
        put_cell(c, (enum conf_id)id, column, &cell);
        width = cell.n > width ? cell.n : width;
    }
    buf_fini(&cell);
    return width;
}

void
conf_print(const struct conf *c, struct buf *out)
{
    CHK_MAGIC(c, CONF_MAGIC);
    size_t width[COLUMNS];
    for (int column = 0; column < COLUMNS; column++)
        width[column] = column_width(c, (enum column)column);
    for (int id = 0; id < CONF_COUNT; id++) {
        for (int column = 0; column < COLUMNS; column++) {
            size_t from = out->n;
            put_cell(c, (enum conf_id)id, (enum column)column, out);
            for (size_t n = out->n - from; n < width[column] + 2; n++)
                buf_putc(out, ' ');
        }
        buf_printf(out, "%s\n", settings[id].help);
    }
}
