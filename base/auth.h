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
 *
 * Services other than S3 have the body's SHA-256 in the signature, and clients seldom send it as
 * a header too. Such a request with a body gets AUTH_NEEDS_BODY: everything but the signature over
 * the body is judged, `account` is still NULL. The service collects the body (bounded), then calls
 * auth_check_body() and looks at the result again. A service of AUTH_PAYLOAD_SHA256 requests that
 * collects its body instead of using base/payload.h (S3's XML documents, /_/) calls it too.
 *
 * service, region and access_key_id are set as soon as they could be read, so that a failure can be
 * routed to the service that was meant. An `Authorization: Bearer` is AUTH_UNSUPPORTED; who takes
 * such tokens looks at the header itself.
 */
#ifndef DARKROOM_BASE_AUTH_H
#define DARKROOM_BASE_AUTH_H

#include "base/account.h"
#include "base/auth_limit.h"
#include "base/http.h"
#include "base/refusal.h"

/* name, S3 code, HTTP status, message: the S3 edge prints them as they stand (S3 API reference,
 * "Error responses"); DynamoDB and /_/ translate the name. */
#define AUTH_RESULT_LIST(X)                                                                        \
    X(OK, "", 200, "")                                                                             \
    X(ANONYMOUS, "", 200, "")                                                                      \
    X(NEEDS_BODY, "", 200, "")                                                                     \
    X(MALFORMED, "AuthorizationHeaderMalformed", 400,                                              \
      "The authorization header that you provided is not valid.")                                  \
    X(QUERY_MALFORMED, "AuthorizationQueryParametersError", 400,                                   \
      "The query parameters of the signature are not valid.")                                      \
    X(QUERY_EXPIRES, "AuthorizationQueryParametersError", 403,                                     \
      "X-Amz-Expires must be a number of seconds from 1 to 604800.")                               \
    X(UNSUPPORTED, "InvalidArgument", 400, "Unsupported Authorization Type")                       \
    X(V2_MALFORMED, "InvalidArgument", 400,                                                        \
      "AWS authorization header is invalid.  Expected AwsAccessKeyId:signature")                   \
    X(V2_EXPIRES, "AccessDenied", 403, "Invalid date (should be seconds since epoch)")             \
    X(NO_DATE, "AccessDenied", 403,                                                                \
      "AWS authentication requires a valid Date or x-amz-date header")                             \
    X(SKEWED, "RequestTimeTooSkewed", 403,                                                         \
      "The difference between the request time and the server's time is too large.")               \
    X(EXPIRED, "AccessDenied", 403, "Request has expired")                                         \
    X(NOT_YET, "AccessDenied", 403, "Request is not yet valid")                                    \
    X(UNKNOWN_KEY, "InvalidAccessKeyId", 403,                                                      \
      "The AWS Access Key Id you provided does not exist in our records.")                         \
    X(MISMATCH, "SignatureDoesNotMatch", 403,                                                      \
      "The request signature we calculated does not match the signature you provided. Check your " \
      "key and signing method.")                                                                   \
    X(UNSIGNED_HEADER, "AccessDenied", 403,                                                        \
      "There were headers present in the request which were not signed")                           \
    X(BAD_PAYLOAD_HASH, "InvalidArgument", 400,                                                    \
      "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-..., or a valid sha256 value.")    \
    X(NO_PAYLOAD_HASH, "InvalidRequest", 400,                                                      \
      "Missing required header for this request: x-amz-content-sha256")                            \
    X(BODY_HASH, "XAmzContentSHA256Mismatch", 400,                                                 \
      "The provided 'x-amz-content-sha256' header does not match what was computed.")              \
    X(V2_REFUSED, "InvalidRequest", 400,                                                           \
      "The authorization mechanism you have provided is not supported. Please use "                \
      "AWS4-HMAC-SHA256.")                                                                         \
    X(LIMITED, "AccessDenied", 403,                                                                \
      "Too many requests from this address had a wrong signature; wait a minute.")                 \
    X(TWO_MECHANISMS, "InvalidArgument", 400,                                                      \
      "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature "      \
      "query string parameter or the Authorization header should be specified")

enum auth_result {
#define X(name, code, status, message) AUTH_##name,
    AUTH_RESULT_LIST(X)
#undef X
};

enum auth_payload {
    AUTH_PAYLOAD_NONE,            /* anonymous or V2: nothing said about the body */
    AUTH_PAYLOAD_SHA256,          /* x-amz-content-sha256 is the body's digest */
    AUTH_PAYLOAD_UNSIGNED,        /* UNSIGNED-PAYLOAD, and every presigned request without one */
    AUTH_PAYLOAD_CHUNKED,         /* STREAMING-AWS4-HMAC-SHA256-PAYLOAD */
    AUTH_PAYLOAD_CHUNKED_TRAILER, /* STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER */
    AUTH_PAYLOAD_UNSIGNED_TRAILER /* STREAMING-UNSIGNED-PAYLOAD-TRAILER */
};

/* What a browser's form says about its signer; p = NULL: no such field. The policy's base64 text is
 * what is signed. https://docs.aws.amazon.com/AmazonS3/latest/API/
 * sigv4-authentication-HTTPPOST.html and, for V2, userguide/HTTPPOSTForms.html */
struct auth_form {
    struct slice policy;
    struct slice algorithm, credential, date, signature; /* V4: x-amz-* */
    struct slice v2_access_key_id, v2_signature;         /* V2: AWSAccessKeyId, signature */
};

struct sigv4_claim; /* base/auth_priv.h */

struct auth {
    enum auth_result result;
    const struct account *account; /* NULL when anonymous or failed */
    struct slice service; /* scope service: "s3", "dynamodb"; n = 0 when anonymous, "s3" for V2 */
    struct slice region;
    bool presigned;           /* by query, V4 or V2 */
    bool v2_allowed;          /* what the options said, for a form that comes later */
    struct auth_limit *limit; /* the same */
    enum auth_payload payload;
    uint8_t payload_sha256[32]; /* AUTH_PAYLOAD_SHA256 */
    /* For chunk signatures: */
    uint8_t signing_key[32];
    char seed_signature[65]; /* hex */
    char timestamp[17];      /* YYYYMMDDTHHMMSSZ */
    struct slice scope;      /* date/region/service/aws4_request */
    /* For the body of a SignatureDoesNotMatch answer, as S3 gives it: */
    struct slice string_to_sign;
    struct slice canonical_request;
    struct slice access_key_id;
    struct slice signature;
    const struct sigv4_claim *pending; /* with AUTH_NEEDS_BODY; auth_check_body()'s */
};

struct auth_options {
    const struct accounts *accounts;
    bool v2_allowed; /* the caller has judged auth.sigv2 and the listener */
    int64_t now_ms;  /* clock_wall_ms() */
    /* Counts wrong signatures and unknown keys, and makes them AUTH_LIMITED above the limit. May be
     * NULL. */
    struct auth_limit *limit;
    /* The setting s3.domain. V2 signs the bucket's name, not the Host: with a domain, Host says
     * exactly which bucket that is. NULL: the path alone is tried, then each leading part of the
     * Host as bucket, which is good enough for tools but would let a captured request be turned to
     * another bucket for 15 minutes; a server sets it. */
    const char *domain;
};

#define AUTH_SKEW_MS (15 * 60 * 1000)
#define AUTH_PRESIGN_SECONDS_MAX (7 * 24 * 3600)

/* Sets r->auth (in r->arena). Never replies. ERR_NOMEM only; a bad signature is a result. The
 * canonical URI follows the scope's service: S3 takes the raw path (or the decoded path encoded
 * again: clients differ in what they escape), others encode the raw path once more. */
int auth_check(struct http_request *r, const struct auth_options *options);
/* After the body was collected. AUTH_NEEDS_BODY becomes AUTH_OK or a failure; AUTH_OK and
 * AUTH_ANONYMOUS with AUTH_PAYLOAD_SHA256 stay or become AUTH_BODY_HASH; anything else is left as
 * it is. ERR_NOMEM only. */
int auth_check_body(struct http_request *r, const struct auth_options *options, struct slice body);

/* A service refuses a request for want of a right: counts it as a failure of authentication, unless
 * auth_check() or auth_check_body() has done so. */
void auth_count_refusal(const struct auth *a);

/* A form's signer, once its fields are here: r->auth says then what auth_check() would have said of
 * a header, and nothing about the body. Of the two versions the one with a field counts, V4 first;
 * neither: anonymous. AUTH_MALFORMED: the credential; AUTH_NO_DATE: x-amz-date; AUTH_UNSUPPORTED:
 * the algorithm. The policy's own expiration is the caller's. ERR_NOMEM only. */
int auth_check_form(struct http_request *r, const struct accounts *accounts, int64_t now_ms,
                    const struct auth_form *form);

const struct refusal *auth_refusal(enum auth_result result);

#endif
