/*
 * The rows of notices. Ids come from the global counter, so they rise with the commits and are
 * never used again, whatever is trimmed.
 */
#include "pipeline/notice.h"
#include "base/err.h"

int
notice_last(struct db_conn *conn, int64_t *id)
{
    struct db_stmt *s = db_prepare(conn, "SELECT max(id) FROM notice");
    int rc = db_step(s);
    *id = 0;
    if (rc != DB_ROW)
        return rc;
    *id = db_column_is_null(s, 0) ? 0 : db_column_int(s, 0);
    db_reset(s);
    return ERR_NONE;
}
