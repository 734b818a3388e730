/*
 * Who sent this request, and is it really from them: AWS Signature Version 4 (headers, query,
 * streaming), Version 2 where the settings allow it, or nobody (anonymous).
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/RESTAuthentication.html (V2)
 *
 * auth_check() runs once per request on its HTTP thread, before any service sees it. A service
 * looks at r->auth->result first and answers a failure in its own protocol's words.
 */
#ifndef DARKROOM_BASE_AUTH_H
#define DARKROOM_BASE_AUTH_H

#include "base/account.h"
#include "base/http.h"

/* name, S3 code, HTTP status, message: the S3 edge prints them as they stand (S3 API reference,
 * "Error responses"); DynamoDB and /_/ translate the name. */
#define AUTH_RESULT_LIST(X)                                                                        \
    X(OK, "", 200, "")                                                                             \
    X(ANONYMOUS, "", 200, "")                                                                      \
    X(MALFORMED, "AuthorizationHeaderMalformed", 400, "The authorization header that you provided is not valid.") \
    X(QUERY_MALFORMED, "AuthorizationQueryParametersError", 400, "The query parameters of the signature are not valid.") \
    X(UNSUPPORTED, "InvalidArgument", 400, "Unsupported Authorization Type")                       \
    X(NO_DATE, "AccessDenied", 403, "AWS authentication requires a valid Date or x-amz-date header") \
    X(SKEWED, "RequestTimeTooSkewed", 403, "The difference between the request time and the server's time is too large.") \
    X(EXPIRED, "AccessDenied", 403, "Request has expired")                                         \
    X(NOT_YET, "AccessDenied", 403, "Request is not yet valid")                                    \
    X(UNKNOWN_KEY, "InvalidAccessKeyId", 403, "The AWS Access Key Id you provided does not exist in our records.") \
    X(MISMATCH, "SignatureDoesNotMatch", 403, "The request signature we calculated does not match the signature you provided. Check your key and signing method.") \
    X(UNSIGNED_HEADER, "AccessDenied", 403, "There were headers present in the request which were not signed") \
    X(BAD_PAYLOAD_HASH, "InvalidArgument", 400, "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-..., or a valid sha256 value.") \
    X(NO_PAYLOAD_HASH, "InvalidRequest", 400, "Missing required header for this request: x-amz-content-sha256") \
    X(V2_REFUSED, "InvalidRequest", 400, "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.") \
    X(TWO_MECHANISMS, "InvalidArgument", 400, "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified")

enum auth_result {
#define X(name, code, status, message) AUTH_##name,
    AUTH_RESULT_LIST(X)
#undef X
};

enum auth_payload {
    AUTH_PAYLOAD_NONE,              /* anonymous or V2: nothing said about the body */
    AUTH_PAYLOAD_SHA256,            /* x-amz-content-sha256 is the body's digest */
    AUTH_PAYLOAD_UNSIGNED,          /* UNSIGNED-PAYLOAD, and every presigned request without one */
    AUTH_PAYLOAD_CHUNKED,           /* STREAMING-AWS4-HMAC-SHA256-PAYLOAD */
    AUTH_PAYLOAD_CHUNKED_TRAILER,   /* STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER */
    AUTH_PAYLOAD_UNSIGNED_TRAILER   /* STREAMING-UNSIGNED-PAYLOAD-TRAILER */
};

struct auth {
    enum auth_result result;
    const struct account *account; /* NULL when anonymous or failed */
    struct slice service;          /* scope service: "s3", "dynamodb"; n = 0 when anonymous, "s3" for V2 */
    struct slice region;
    bool presigned;                /* by query, V4 or V2 */
    enum auth_payload payload;
    uint8_t payload_sha256[32];    /* AUTH_PAYLOAD_SHA256 */
    /* For chunk signatures: */
    uint8_t signing_key[32];
    char seed_signature[65];       /* hex */
    char timestamp[17];            /* YYYYMMDDTHHMMSSZ */
    struct slice scope;            /* date/region/service/aws4_request */
    /* For the body of a SignatureDoesNotMatch answer, as S3 gives it: */
    struct slice string_to_sign;
    struct slice canonical_request;
    struct slice access_key_id;
    struct slice signature;
};

struct auth_options {
    const struct accounts *accounts;
    bool v2_allowed; /* the caller has judged auth.sigv2 and the listener */
    int64_t now_ms;  /* clock_wall_ms() */
};

#define AUTH_SKEW_MS (15 * 60 * 1000)
#define AUTH_PRESIGN_SECONDS_MAX (7 * 24 * 3600)

/* Sets r->auth (in r->arena). Never replies. ERR_NOMEM only; a bad signature is a result. The
 * canonical URI follows the scope's service: S3 takes the raw path, others encode it once more. */
int auth_check(struct http_request *r, const struct auth_options *options);

const char *auth_code(enum auth_result result);    /* S3's error code */
const char *auth_message(enum auth_result result);
int auth_status(enum auth_result result);

#endif
