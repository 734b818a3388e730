#include "pipeline/problem.h"
#include "base/err.h"
#include "base/json.h"

#define PROBLEM_MAX (16u << 10)

void
problem_reply(struct http_request *r, int status, const char *member, struct slice name,
              struct slice message)
{
    struct buf b;
    buf_init(&b, PROBLEM_MAX);
    buf_printf(&b, "{\"%s\":", member);
    json_quote(&b, name);
    buf_puts(&b, ",\"message\":");
    json_quote(&b, message);
    buf_printf(&b, ",\"request_id\":\"%s\"}\n", r->id);
    http_header(r, "Content-Type", SLICE_LIT("application/json"));
    http_header(r, "X-Content-Type-Options", SLICE_LIT("nosniff"));
    http_header(r, "Cache-Control", SLICE_LIT("no-store"));
    http_reply(r, status, b.err == ERR_NONE ? buf_slice(&b) : SLICE_NONE);
    buf_fini(&b);
}
