#include "base/err.h"

#include <errno.h>

const char *
err_name(int err)
{
    switch (err) {
#define X(name, value, text) \
    case (value):            \
        return #name;
        ERR_LIST(X)
#undef X
    default:
        return "UNKNOWN";
    }
}

const char *
err_text(int err)
{
    switch (err) {
#define X(name, value, text) \
    case (value):            \
        return text;
        ERR_LIST(X)
#undef X
    default:
        return "unknown error";
    }
}

bool
err_is_storage(int err)
{
    return err == ERR_BUSY || err == ERR_FULL || err == ERR_SYNC || err == ERR_IO ||
           err == ERR_CANCELED;
}

int
err_from_errno(int errnum)
{
    switch (errnum) {
    case 0:
        return ERR_NONE;
    case ENOSPC:
    case EDQUOT:
        return ERR_FULL;
    case ENOMEM:
        return ERR_NOMEM;
    case ENOENT:
        return ERR_NOTFOUND;
    case EEXIST:
        return ERR_EXISTS;
    case EADDRINUSE:
        return ERR_INUSE;
    case EACCES:
    case EPERM:
        return ERR_DENIED;
    case EMFILE:
    case ENFILE:
    case EAGAIN:
        return ERR_BUSY;
    case EFBIG:
    case EMSGSIZE:
        return ERR_TOOBIG;
    case EPIPE:
    case ECONNRESET:
        return ERR_CLOSED;
    case EINVAL:
        return ERR_INVALID;
    default:
        return ERR_IO;
    }
}
