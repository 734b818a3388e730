/*
 * The event log, page by page: each answer says with `next` where to go on, 0 at the end.
 *
 *   bucket=  prefix=  since_ms=  until_ms=  after=SEQ  until=SEQ
 */
#include "base/err.h"
#include "pipeline/admin_priv.h"
#include "pipeline/event_log.h"

struct events_page {
    struct buf *json;
    bool first;
};

/* False: answered. */
static bool
filter_read(struct http_request *r, struct event_log_filter *f)
{
    uint64_t after = 0, until = 0, since_ms = 0, until_ms = 0;
    if (admin_param_u64(r, "after", 0, &after) != ERR_NONE ||
        admin_param_u64(r, "until", INT64_MAX, &until) != ERR_NONE ||
        admin_param_u64(r, "since_ms", 0, &since_ms) != ERR_NONE ||
        admin_param_u64(r, "until_ms", INT64_MAX, &until_ms) != ERR_NONE)
        return false;
    *f = (struct event_log_filter){.after = (int64_t)after,
                                   .until = (int64_t)until,
                                   .since_ms = (int64_t)since_ms,
                                   .until_ms = (int64_t)until_ms,
                                   .bucket = http_param(r, "bucket"),
                                   .prefix = http_param(r, "prefix")};
    return true;
}

static int
add_event(void *arg, const struct event_log_row *row)
{
    struct events_page *page = arg;
    buf_puts(page->json, page->first ? "" : ",");
    page->first = false;
    event_log_json(row, page->json);
    return 0;
}

void
admin_event_log_get(struct admin_service *s, struct http_request *r)
{
    struct event_log_filter filter;
    struct db_conn *conn = NULL;
    struct buf json;
    int64_t next = 0, oldest = 0, newest = 0;
    struct events_page page = {&json, true};
    if (!filter_read(r, &filter))
        return;
    buf_init(&json, ADMIN_REPLY_MAX);
    buf_puts(&json, "{\"events\":[");
    int err = db_read_begin(s->options.db, &conn);
    if (err == ERR_NONE) {
        err = event_log_list(conn, &filter, ADMIN_PAGE_MAX, add_event, &page, &next);
        if (err == ERR_NONE)
            err = event_log_ends(conn, &oldest, &newest);
        db_read_end(s->options.db, &conn);
    }
    buf_printf(&json, "],\"next\":%lld,\"oldest\":%lld,\"newest\":%lld}\n", (long long)next,
               (long long)oldest, (long long)newest);
    if (err == ERR_NONE)
        err = json.err;
    if (err == ERR_NONE)
        admin_reply_text(r, 200, "application/json", buf_slice(&json));
    else
        admin_reply_error(r, err, SLICE_NONE);
    buf_fini(&json);
}
