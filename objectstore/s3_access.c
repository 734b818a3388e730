/*
 * From a request to a judgement.
 *
 *   bucket -> expected owner -> the object, where permission hangs on it -> access_allowed()
 *
 * A missing object is judged as if it were the bucket owner's and private; whoever may read it all
 * the same learns from the handler that it is not there, whoever may not list learns nothing.
 * Values of condition keys are made only when a policy asks for them; an owner's GET and one that a
 * policy without conditions allows need no memory.
 */
#include "base/clock.h"
#include "base/err.h"
#include "objectstore/access.h"
#include "objectstore/lock_config.h"
#include "objectstore/s3_priv.h"
#include "objectstore/tags.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <strings.h>

#define DAY_MS ((int64_t)24 * 3600 * 1000)

/* ---- where it comes from ---- */

/* "" for neither IPv4 nor IPv6. An IPv4 peer of an IPv6 socket is IPv4. */
static void
address_text(const struct http_request *r, char out[INET6_ADDRSTRLEN])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    out[0] = '\0';
    if (r->peer.ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)&r->peer;
        inet_ntop(AF_INET, &v4->sin_addr, out, INET6_ADDRSTRLEN);
    } else if (r->peer.ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const void *)&r->peer;
        const uint8_t *bytes = v6->sin6_addr.s6_addr;
        bool is_v4 = memcmp(bytes, mapped, sizeof mapped) == 0;
        inet_ntop(is_v4 ? AF_INET : AF_INET6, is_v4 ? bytes + 12 : bytes, out, INET6_ADDRSTRLEN);
    }
}

struct slice
s3_account_id(const struct s3_request *q)
{
    return slice_str(q->account == NULL ? NULL : q->account->id);
}

struct slice
s3_access_key_id(const struct s3_request *q)
{
    return slice_str(q->account == NULL ? NULL : q->account->access_key_id);
}

struct slice
s3_source_ip(struct s3_request *q)
{
    char text[INET6_ADDRSTRLEN];
    if (q->source_ip.p != NULL)
        return q->source_ip;
    address_text(q->r, text);
    q->source_ip = arena_dup(q->r->arena, slice_str(text));
    return q->source_ip;
}

/* ---- values of condition keys ---- */

struct asker {
    struct s3_request *q;
    const struct store_bucket *bucket;
    const struct store_object *object;
};

static size_t
one(struct slice *out, struct slice value)
{
    *out = value;
    return value.p != NULL;
}

static size_t
printed(struct slice *out, char scratch[POLICY_SCRATCH], int n)
{
    return n < 0 || n >= POLICY_SCRATCH ? 0 : one(out, slice_of(scratch, (size_t)n));
}

/* Tags by name, or (tail empty) the names. */
static size_t
tag_values(const struct tags *t, struct slice tail, struct slice out[POLICY_VALUES_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < t->count && n < POLICY_VALUES_MAX; i++) {
        if (tail.n == 0)
            out[n++] = t->list[i].key;
        else if (slice_eq(t->list[i].key, tail))
            return one(out, t->list[i].value);
    }
    return n;
}

static size_t
existing_tag(const struct asker *a, struct slice tail, struct slice out[POLICY_VALUES_MAX])
{
    struct tags t;
    if (a->object == NULL || tags_decode(a->object->tags, &t) != ERR_NONE)
        return 0;
    return tag_values(&t, tail, out);
}

static size_t
request_tag(const struct asker *a, struct slice tail, struct slice out[POLICY_VALUES_MAX])
{
    struct tags t;
    struct tags_error e;
    if (a->q->tags != NULL)
        return tag_values(a->q->tags, tail, out);
    struct slice header = http_field(a->q->r, "x-amz-tagging");
    /* A copy that takes its source's tags has none of its own, whatever the header says. */
    if (a->q->op != NULL && (a->q->op->flags & S3_COPIES) &&
        !slice_eqs(http_field(a->q->r, "x-amz-tagging-directive"), "REPLACE"))
        return 0;
    if (header.p == NULL || tags_read_header(a->q->r->arena, header, &t, &e) != TAGS_OK)
        return 0;
    return tag_values(&t, tail, out);
}

static size_t
signature_value(const struct s3_request *q, enum policy_key key, struct slice *out,
                char scratch[POLICY_SCRATCH])
{
    const struct auth *auth = q->r->auth;
    int64_t signed_ms;
    if (q->account == NULL)
        return 0;
    if (key == POLICY_KEY_AUTH_TYPE)
        return one(out, q->post != NULL   ? SLICE_LIT("POST")
                        : auth->presigned ? SLICE_LIT("REST-QUERY-STRING")
                                          : SLICE_LIT("REST-HEADER"));
    if (key == POLICY_KEY_SIGNATURE_VERSION)
        return one(out, auth->result == AUTH_OK && auth->scope.n == 0
                            ? SLICE_LIT("AWS")
                            : SLICE_LIT("AWS4-HMAC-SHA256"));
    if (auth->timestamp[0] == '\0' || clock_parse(auth->timestamp, &signed_ms) != ERR_NONE)
        return 0;
    return printed(
        out, scratch,
        snprintf(scratch, POLICY_SCRATCH, "%lld", (long long)(clock_wall_ms() - signed_ms)));
}

static size_t
principal_value(const struct account *account, enum policy_key key, struct slice *out,
                char scratch[POLICY_SCRATCH])
{
    if (key == POLICY_KEY_PRINCIPAL_TYPE)
        return one(out, account == NULL ? SLICE_LIT("Anonymous") : SLICE_LIT("Account"));
    if (account == NULL)
        return 0;
    if (key == POLICY_KEY_PRINCIPAL_ARN)
        return printed(out, scratch,
                       snprintf(scratch, POLICY_SCRATCH, "arn:aws:iam::%s:root", account->id));
    return one(out, slice_str(key == POLICY_KEY_USERNAME ? account->display_name : account->id));
}

/* As the resource is written in policies: decoded, without the leading slash. */
static size_t
copy_source(const struct s3_request *q, struct slice *out)
{
    struct slice id, text = http_field(q->r, "x-amz-copy-source");
    if (text.p == NULL)
        return 0;
    text = http_unescape(q->r->arena, s3_copy_source_cut(text, &id), false);
    return one(out, text.n > 0 && text.p[0] == '/' ? slice_skip(text, 1) : text);
}

static size_t
days_left(int64_t until_ms, struct slice *out, char scratch[POLICY_SCRATCH])
{
    return printed(out, scratch,
                   snprintf(scratch, POLICY_SCRATCH, "%lld",
                            (long long)((until_ms - clock_wall_ms() + DAY_MS - 1) / DAY_MS)));
}

/* Of PutObjectRetention and PutObjectLegalHold: what their document wants, whatever headers say. */
static size_t
lock_of_document(const struct store_lock *lock, enum policy_key key, struct slice *out,
                 char scratch[POLICY_SCRATCH])
{
    if (key == POLICY_KEY_LOCK_HOLD && lock->hold_stated)
        return one(out, lock->legal_hold ? SLICE_LIT("ON") : SLICE_LIT("OFF"));
    if (key == POLICY_KEY_LOCK_HOLD || lock->retention == STORE_RETENTION_NONE)
        return 0;
    if (key == POLICY_KEY_LOCK_MODE)
        return one(out, slice_str(lock_mode_name(lock->retention)));
    if (key == POLICY_KEY_LOCK_DAYS)
        return days_left(lock->retain_until_ms, out, scratch);
    clock_iso8601(lock->retain_until_ms, scratch);
    return one(out, slice_str(scratch));
}

static size_t
lock_value(const struct s3_request *q, enum policy_key key, struct slice *out,
           char scratch[POLICY_SCRATCH])
{
    int64_t until_ms;
    if (q->lock != NULL)
        return lock_of_document(q->lock, key, out, scratch);
    if (key == POLICY_KEY_LOCK_MODE)
        return one(out, http_field(q->r, "x-amz-object-lock-mode"));
    if (key == POLICY_KEY_LOCK_HOLD)
        return one(out, http_field(q->r, "x-amz-object-lock-legal-hold"));
    struct slice until = http_field(q->r, "x-amz-object-lock-retain-until-date");
    if (key == POLICY_KEY_LOCK_UNTIL || until.p == NULL || until.n >= POLICY_SCRATCH)
        return one(out, until);
    memcpy(scratch, until.p, until.n);
    scratch[until.n] = '\0';
    return clock_parse(scratch, &until_ms) == ERR_NONE ? days_left(until_ms, out, scratch) : 0;
}

/* Keys that are a header or a query parameter, as it was sent. */
static size_t
sent_value(const struct s3_request *q, enum policy_key key, struct slice *out)
{
    static const char prefix[] = "s3:x-amz-";
    const char *name = policy_key_name(key);
    bool lists = q->op != NULL && (q->op->flags & S3_LISTS);
    switch (key) {
    case POLICY_KEY_REFERER:
        return one(out, http_field(q->r, "Referer"));
    case POLICY_KEY_USER_AGENT:
        return one(out, http_field(q->r, "User-Agent"));
    case POLICY_KEY_IF_MATCH:
        return one(out, http_field(q->r, "If-Match"));
    case POLICY_KEY_IF_NONE_MATCH:
        return one(out, http_field(q->r, "If-None-Match"));
    case POLICY_KEY_VERSION_ID:
        return one(out, q->version_id);
    case POLICY_KEY_PREFIX:
        return lists ? one(out, http_param(q->r, "prefix")) : 0;
    case POLICY_KEY_DELIMITER:
        return lists ? one(out, http_param(q->r, "delimiter")) : 0;
    case POLICY_KEY_MAX_KEYS:
        return lists ? one(out, http_param(q->r, "max-keys")) : 0;
    default:
        if (strncmp(name, prefix, sizeof prefix - 1) == 0)
            return one(out, http_field(q->r, name + strlen("s3:")));
        return 0; /* a service we have no part in */
    }
}

static size_t
values(const void *arg, enum policy_key key, struct slice tail, struct slice out[POLICY_VALUES_MAX],
       char scratch[POLICY_SCRATCH])
{
    const struct asker *a = arg;
    const struct account *owner;
    switch (key) {
    case POLICY_KEY_SOURCE_IP:
        address_text(a->q->r, scratch);
        return one(out, slice_str(scratch));
    case POLICY_KEY_SECURE_TRANSPORT: /* ours alone: what a proxy says of itself is not trusted */
        return one(out, a->q->r->secure ? SLICE_LIT("true") : SLICE_LIT("false"));
    case POLICY_KEY_PRINCIPAL_IS_SERVICE:
    case POLICY_KEY_VIA_SERVICE:
        return one(out, SLICE_LIT("false"));
    case POLICY_KEY_CURRENT_TIME:
        clock_iso8601(clock_wall_ms(), scratch);
        return one(out, slice_str(scratch));
    case POLICY_KEY_EPOCH_TIME:
        return printed(
            out, scratch,
            snprintf(scratch, POLICY_SCRATCH, "%lld", (long long)(clock_wall_ms() / 1000)));
    case POLICY_KEY_USERNAME:
    case POLICY_KEY_USERID:
    case POLICY_KEY_PRINCIPAL_ARN:
    case POLICY_KEY_PRINCIPAL_ACCOUNT:
    case POLICY_KEY_PRINCIPAL_TYPE:
        return principal_value(a->q->account, key, out, scratch);
    case POLICY_KEY_RESOURCE_ACCOUNT:
    case POLICY_KEY_S3_RESOURCE_ACCOUNT:
        owner = accounts_by_canonical_id(a->q->s->accounts, a->bucket->owner);
        return owner == NULL ? 0 : one(out, slice_str(owner->id));
    case POLICY_KEY_AUTH_TYPE:
    case POLICY_KEY_SIGNATURE_VERSION:
    case POLICY_KEY_SIGNATURE_AGE:
        return signature_value(a->q, key, out, scratch);
    case POLICY_KEY_EXISTING_TAG:
        return existing_tag(a, tail, out);
    case POLICY_KEY_REQUEST_OBJECT_TAG:
    case POLICY_KEY_REQUEST_OBJECT_TAG_KEYS:
        return request_tag(a, tail, out);
    case POLICY_KEY_COPY_SOURCE:
        return copy_source(a->q, out);
    case POLICY_KEY_LOCK_MODE:
    case POLICY_KEY_LOCK_HOLD:
    case POLICY_KEY_LOCK_UNTIL:
    case POLICY_KEY_LOCK_DAYS:
        return lock_value(a->q, key, out, scratch);
    default:
        return sent_value(a->q, key, out);
    }
}

/* ---- asking ---- */

bool
s3_may_object(struct s3_request *q, const struct store_bucket *bucket, const char *action,
              struct slice key, const struct store_object *object)
{
    struct asker asker = {q, bucket, object};
    struct access_request r = {.account = q->account,
                               .action = action,
                               .bucket = bucket,
                               .object = object,
                               .key = key,
                               .values = values,
                               .arg = &asker,
                               .memo = bucket == q->bucket ? q->policy_memo : NULL};
    return access_allowed(&r);
}

bool
s3_may(struct s3_request *q, const struct store_bucket *bucket, const char *action,
       struct slice key)
{
    return s3_may_object(q, bucket, action, key, NULL);
}

const char *
s3_version_action(const char *action)
{
    static const char *const pairs[][2] = {
        {"s3:GetObject", "s3:GetObjectVersion"},
        {"s3:DeleteObject", "s3:DeleteObjectVersion"},
        {"s3:GetObjectAcl", "s3:GetObjectVersionAcl"},
        {"s3:PutObjectAcl", "s3:PutObjectVersionAcl"},
        {"s3:GetObjectTagging", "s3:GetObjectVersionTagging"},
        {"s3:PutObjectTagging", "s3:PutObjectVersionTagging"},
        {"s3:DeleteObjectTagging", "s3:DeleteObjectVersionTagging"},
        {"s3:GetObjectAttributes", "s3:GetObjectVersionAttributes"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        if (strcmp(action, pairs[i][0]) == 0)
            return pairs[i][1];
    }
    return action;
}

/* The action of the row, for this request. */
static const char *
action_of(const struct s3_request *q)
{
    bool versioned = q->r->param_count > 0 && http_has_param(q->r, "versionId");
    return versioned ? s3_version_action(q->op->action) : q->op->action;
}

/* ---- the object a request is about ---- */

static int
look_up(struct s3_request *q, const struct store_object **out)
{
    struct slice version = q->r->param_count == 0 ? SLICE_NONE : http_param(q->r, "versionId");
    if (version.n == 0)
        return store_get(q->s->store, q->bucket->name, q->key, out);
    return store_get_version(q->s->store, q->bucket->name, q->key, version, out);
}

/* API_GetObject: a key that is missing is told to those who may list, whatever else they may not.
 * Only of a read: between this and a write's turn the key may be made. */
static bool
may_learn_absence(struct s3_request *q, int err)
{
    bool reads = q->r->method == HTTP_GET || q->r->method == HTTP_HEAD;
    return err == ERR_NOTFOUND && reads && s3_may(q, q->bucket, "s3:ListBucket", SLICE_NONE);
}

int
s3_object_find(struct s3_request *q, const struct store_object **out)
{
    *out = q->object;
    q->object = NULL;
    if (*out != NULL)
        return ERR_NONE;
    int err = look_up(q, out);
    if (s3_may_object(q, q->bucket, action_of(q), q->key, *out) || may_learn_absence(q, err))
        return err;
    store_object_unref(out);
    return ERR_DENIED;
}

/* ---- before everything else ---- */

/* Account ids have twelve digits on S3; ours may be other words, when we have such an account. */
static bool
account_id_ok(const struct s3_request *q, struct slice id)
{
    uint64_t n;
    return (id.n == 12 && slice_to_u64(id, &n) == ERR_NONE) ||
           accounts_by_id(q->s->accounts, id) != NULL;
}

bool
s3_expected_owner(struct s3_request *q, const char *header, const struct store_bucket *bucket)
{
    struct slice id = http_field(q->r, header);
    if (id.p == NULL)
        return true;
    if (!account_id_ok(q, id)) {
        s3_fail(q, S3_BAD_OWNER_ID);
        return false;
    }
    const struct account *a = accounts_by_id(q->s->accounts, id);
    if (a != NULL && slice_eqs(bucket->owner, a->canonical_id))
        return true;
    s3_fail(q, S3_ACCESS_DENIED);
    return false;
}

/* false: answered. */
static bool
bucket_find(struct s3_request *q)
{
    if (q->op->level == S3_SERVICE || (q->op->flags & S3_NEW_BUCKET))
        return true;
    int err =
        q->bucket != NULL ? ERR_NONE : store_bucket_get(q->s->store, q->bucket_name, &q->bucket);
    if (err == ERR_NONE)
        return s3_expected_owner(q, "x-amz-expected-bucket-owner", q->bucket);
    s3_fail_err(q, err == ERR_NOTFOUND ? ERR_NOPARENT : err);
    return false;
}

static bool
of_owner(const struct s3_request *q)
{
    return q->account != NULL &&
           (q->account->is_root || slice_eqs(q->bucket->owner, q->account->canonical_id));
}

bool
s3_permitted(struct s3_request *q)
{
    if (!bucket_find(q))
        return false;
    if (q->r->param_count > 0)
        q->version_id = http_param(q->r, "versionId");
    if (q->op->flags & S3_JUDGES)
        return true;
    /* What is not there, or not to be had, is the handler's to tell. */
    int err = (q->op->flags & S3_OF_OBJECT) ? look_up(q, &q->object) : ERR_NONE;
    if (err != ERR_NONE)
        q->object = NULL;
    if (!s3_may_object(q, q->bucket, action_of(q), q->key, q->object) &&
        !may_learn_absence(q, err)) {
        s3_fail(q, S3_ACCESS_DENIED);
        return false;
    }
    /* API_PutBucketPolicy: who has the permission without being of the owner's account gets 405. */
    if ((q->op->flags & S3_OWNER) && !of_owner(q)) {
        s3_fail(q, S3_METHOD_NOT_ALLOWED);
        return false;
    }
    return true;
}

/* ---- for other services ---- */

int
s3_may_get(struct s3_service *s, struct http_request *r, struct slice bucket, struct slice key,
           bool *may_list)
{
    const struct auth *a = r->auth;
    struct s3_request q = {.r = r, .s = s, .op = &s3_op_serve, .bucket_name = bucket, .key = key};
    *may_list = false;
    if (a->result != AUTH_ANONYMOUS && (a->result != AUTH_OK || !slice_eqs(a->service, "s3")))
        return ERR_DENIED;
    q.account = a->account;
    int err = store_bucket_get(s->store, bucket, &q.bucket);
    if (err != ERR_NONE)
        return err == ERR_NOTFOUND ? ERR_NOPARENT : err;
    err = store_get(s->store, bucket, key, &q.object);
    if (err == ERR_NONE || err == ERR_NOTFOUND) {
        err = s3_may_object(&q, q.bucket, q.op->action, key, q.object) ? ERR_NONE : ERR_DENIED;
        *may_list = s3_may(&q, q.bucket, "s3:ListBucket", SLICE_NONE);
    }
    store_object_unref(&q.object);
    store_bucket_unref(&q.bucket);
    return err;
}
