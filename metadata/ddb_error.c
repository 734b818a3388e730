/*
 * The one table from this program's errors to DynamoDB's words.
 */
#include "base/err.h"
#include "metadata/ddb_priv.h"

#include <stdarg.h>

static const char *
error_type(enum ddb_error error)
{
    static const char *const types[] = {"",
#define X(name, type, status) type,
                                        DDB_ERROR_LIST(X)
#undef X
    };
    return types[error];
}

int
ddb_error_status(enum ddb_error error)
{
    static const int statuses[] = {200,
#define X(name, type, status) status,
                                   DDB_ERROR_LIST(X)
#undef X
    };
    return statuses[error];
}

int
ddb_fail(struct ddb_request *q, enum ddb_error error, const char *fmt, ...)
{
    va_list ap;
    q->error = error;
    buf_reset(&q->message);
    va_start(ap, fmt);
    buf_vprintf(&q->message, fmt, ap);
    va_end(ap);
    return ERR_INVALID;
}

int
ddb_fail_said(struct ddb_request *q, int err)
{
    if (err == ERR_INVALID)
        q->error = DDB_VALIDATION;
    else if (err == ERR_UNSUPPORTED)
        q->error = DDB_SERIALIZATION;
    return err;
}

void
ddb_fail_err(struct ddb_request *q, int err)
{
    if (q->error != DDB_NO_ERROR)
        return;
    switch (err) {
    case ERR_NOPARENT:
        ddb_fail(q, DDB_RESOURCE_NOT_FOUND, "Requested resource not found");
        break;
    case ERR_TOOBIG:
        ddb_fail(q, DDB_VALIDATION, "Item size has exceeded the maximum allowed size");
        break;
    case ERR_INVALID:
        ddb_fail(q, DDB_VALIDATION, "One or more parameter values were invalid");
        break;
    case ERR_PRECONDITION:
        ddb_fail(q, DDB_CONDITION_FAILED, "The conditional request failed");
        break;
    case ERR_NOMEM:
        ddb_fail(q, DDB_LIMIT_EXCEEDED, "The request needs more memory than one request may take");
        break;
    case ERR_BUSY:
    case ERR_FULL:
    case ERR_SYNC:
    case ERR_CANCELED:
    case ERR_TIMEOUT:
        ddb_fail(q, DDB_UNAVAILABLE, "The request can not be taken now: %s", err_text(err));
        break;
    default:
        ddb_fail(q, DDB_INTERNAL, "The request failed: %s", err_text(err));
        break;
    }
}

void
ddb_error_body(struct buf *out, enum ddb_error error, struct slice message, struct slice extra)
{
    buf_printf(out, "{\"__type\":\"%s\",\"%s\":", error_type(error),
               error == DDB_SERIALIZATION || error == DDB_TOO_LARGE ? "Message" : "message");
    json_quote(out, message);
    buf_put_slice(out, extra);
    buf_putc(out, '}');
}
