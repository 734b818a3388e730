#include "pipeline/credentials.h"
#include "base/err.h"
#include "base/fsio.h"

static bool
is_section(struct slice line, const char *profile)
{
    return line.n >= 2 && line.p[line.n - 1] == ']' &&
           slice_eqs(slice_trim(slice_of(line.p + 1, line.n - 2)), profile);
}

static struct slice
trim_line(struct slice line)
{
    if (line.n > 0 && line.p[line.n - 1] == '\r')
        line.n--;
    return slice_trim(line);
}

int
credentials_read(struct credentials *c, const char *path, const char *profile)
{
    bool inside = false;
    *c = (struct credentials){0};
    buf_init(&c->text, CREDENTIALS_BYTES_MAX);
    int err = fsio_read_file(path, &c->text);
    struct slice text = buf_slice(&c->text);
    while (err == ERR_NONE && text.n > 0) {
        struct slice value = SLICE_NONE;
        struct slice line = trim_line(slice_cut(text, '\n', &text));
        if (line.n > 0 && line.p[0] == '[') {
            inside = is_section(line, profile);
            continue;
        }
        struct slice name = slice_trim(slice_cut(line, '=', &value));
        if (inside && slice_eqs(name, "aws_access_key_id"))
            c->access_key_id = slice_trim(value);
        else if (inside && slice_eqs(name, "aws_secret_access_key"))
            c->secret_access_key = slice_trim(value);
    }
    if (err == ERR_NONE && (c->access_key_id.n == 0 || c->secret_access_key.n == 0))
        err = ERR_INVALID;
    return err;
}

void
credentials_fini(struct credentials *c)
{
    if (c->text.p != NULL)
        explicit_bzero(c->text.p, c->text.cap);
    buf_fini(&c->text);
    c->access_key_id = c->secret_access_key = SLICE_NONE;
}
