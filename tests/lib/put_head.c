#include "tests/lib/put_head.h"

#include "base/chk.h"
#include "base/clock.h"
#include "base/sign.h"

#define AUTHORIZATION_MAX 4096

void
put_head_write(const struct put_head *h, struct buf *out)
{
    char date[CLOCK_TEXT_MAX];
    struct buf authorization;
    buf_init(&authorization, AUTHORIZATION_MAX);
    clock_basic(h->now_ms, date);
    struct sign_header headers[] = {
        {"host", slice_str(h->host)},
        {"x-amz-content-sha256", SLICE_LIT("UNSIGNED-PAYLOAD")},
        {"x-amz-date", slice_str(date)},
    };
    struct sign_request req = {.method = "PUT",
                               .raw_path = slice_str(h->path),
                               .headers = headers,
                               .header_count = ARRAY_LEN(headers),
                               .payload_hash = "UNSIGNED-PAYLOAD",
                               .region = "us-east-1",
                               .service = "s3",
                               .access_key_id = slice_str(h->key_id),
                               .secret_access_key = slice_str(h->secret),
                               .now_ms = h->now_ms};
    CHK(sign_v4_header(&req, &authorization) == 0);
    buf_printf(out,
               "PUT %s HTTP/1.1\r\nHost: %s\r\nx-amz-date: %s\r\n"
               "x-amz-content-sha256: UNSIGNED-PAYLOAD\r\nContent-Length: %zu\r\n"
               "%sAuthorization: %.*s\r\n\r\n",
               h->path, h->host, date, h->body_bytes, h->expect ? "Expect: 100-continue\r\n" : "",
               SLICE_FMT(buf_slice(&authorization)));
    buf_fini(&authorization);
}
