/*
 * The one form in which a page under /_/ says that there is no answer: JSON,
 * {"error": NAME, "message": one sentence, "request_id": ...}, never to be cached.
 */
#ifndef DARKROOM_PIPELINE_PROBLEM_H
#define DARKROOM_PIPELINE_PROBLEM_H

#include "base/http.h"

/* `member` is "error", or what stands in its place. Bytes that are not UTF-8 become U+FFFD. Headers
 * added before stay: x-amz-request-id and, with a 503, Retry-After are the caller's. */
void problem_reply(struct http_request *r, int status, const char *member, struct slice name,
                   struct slice message);

#endif
