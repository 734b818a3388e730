/*
 * Buckets: create, head, delete, list, where they are.
 */
#include "objectstore/s3_priv.h"
#include "base/err.h"

#define REGION_MAX 32
#define FIRST_REGION "us-east-1"
#define LIST_BUCKETS_MAX 10000

/* ---- create ---- */

struct creation {
    struct slice name;
    struct slice owner;
    struct slice region;
    struct slice acl; /* kept form */
    struct slice ownership;
    bool object_lock;
    bool owner_is_same;
};

/* "true" or "false", case ignored; or nothing. */
static bool
is_bool(struct slice text)
{
    return text.n == 0 || slice_ieqs(text, "true") || slice_ieqs(text, "false");
}

void
s3_prepare_create_bucket(struct s3_request *q)
{
    struct slice lock = http_field(q->r, "x-amz-bucket-object-lock-enabled");
    if (q->account == NULL)
        s3_fail(q, S3_ACCESS_DENIED);
    else if (!is_bool(lock))
        s3_fail(q, S3_INVALID_ARGUMENT);
}

/* Any region name will do: requests may be signed for any. */
static bool
region_ok(struct slice name)
{
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '_')
            return c >= 'A' && c <= 'Z' && slice_eqs(name, "EU");
    }
    return name.n > 0 && name.n <= REGION_MAX;
}

/* The region asked for; false: answered. */
static bool
region_read(struct s3_request *q, struct slice *region)
{
    *region = slice_str(q->s->region);
    if (q->doc.n == 0)
        return true;
    const struct xml_node *root = s3_doc_parse(q, "CreateBucketConfiguration");
    if (root == NULL)
        return false;
    struct slice name = slice_trim(xml_text(root, "LocationConstraint"));
    if (name.n == 0)
        return true;
    *region = name;
    if (!region_ok(name))
        s3_fail(q, S3_INVALID_LOCATION);
    return region_ok(name);
}

/* S3's oldest region answers a second creation by the owner as if it were the first, and sets the
 * ACL anew (API_CreateBucket). */
static int
apply_create(struct s3_request *q, struct db_conn *conn)
{
    struct creation *c = q->state;
    struct store *s = q->s->store;
    int err = store_apply_bucket_create(s, conn, c->name, c->owner, c->region, &c->owner_is_same);
    if (err == ERR_NONE && c->object_lock)
        err = store_apply_bucket_object_lock(s, conn, c->name);
    if (err == ERR_NONE && c->ownership.n > 0)
        err = store_apply_bucket_config_set(s, conn, c->name, "ownershipControls", c->ownership);
    if (err == ERR_EXISTS && c->owner_is_same && slice_eqs(c->region, FIRST_REGION))
        err = ERR_NONE;
    return err != ERR_NONE ? err : store_apply_bucket_config_set(s, conn, c->name, "acl", c->acl);
}

static void
answer_create(struct s3_request *q, int err)
{
    const struct creation *c = q->state;
    if (err == ERR_NONE) {
        http_headerf(q->r, "Location", "/%.*s", SLICE_FMT(c->name));
        s3_reply_empty(q, 200, 0);
    } else if (err == ERR_EXISTS) {
        s3_fail(q, c->owner_is_same ? S3_BUCKET_OWNED : S3_BUCKET_EXISTS);
    } else if (err == ERR_TOOBIG) {
        s3_fail(q, S3_TOO_MANY_BUCKETS);
    } else if (err == ERR_INVALID) {
        s3_fail(q, S3_INVALID_BUCKET_NAME);
    } else {
        s3_fail_err(q, err);
    }
}

void
s3_run_create_bucket(struct s3_request *q)
{
    struct slice region;
    if (!region_read(q, &region) || !s3_write_begin(q))
        return;
    struct creation *c = arena_alloc(q->r->arena, sizeof *c);
    if (c == NULL) {
        s3_fail_err(q, ERR_NOMEM);
        return;
    }
    c->name = q->bucket_name;
    c->owner = slice_str(q->account->canonical_id);
    c->region = region;
    c->object_lock = slice_ieqs(http_field(q->r, "x-amz-bucket-object-lock-enabled"), "true");
    q->state = c;
    if (s3_acl_fill_bucket(q, &c->acl, &c->ownership))
        s3_commit(q, apply_create, answer_create);
}

/* ---- delete, head, location ---- */

static int
apply_delete(struct s3_request *q, struct db_conn *conn)
{
    return store_apply_bucket_delete(q->s->store, conn, q->bucket_name);
}

static void
answer_delete(struct s3_request *q, int err)
{
    if (err == ERR_NOTEMPTY && q->bucket->versioning != STORE_VERSIONING_OFF)
        s3_fail_why(q, S3_BUCKET_NOT_EMPTY,
                    "The bucket you tried to delete is not empty. You must delete all versions in "
                    "the bucket.");
    else if (err != ERR_NONE)
        s3_fail_err(q, err == ERR_NOTFOUND ? ERR_NOPARENT : err);
    else
        s3_reply_empty(q, 204, -1);
}

void
s3_run_delete_bucket(struct s3_request *q)
{
    if (s3_write_begin(q))
        s3_commit(q, apply_delete, answer_delete);
}

void
s3_run_head_bucket(struct s3_request *q)
{
    http_header(q->r, "x-amz-bucket-region", q->bucket->region);
    http_header(q->r, "x-amz-access-point-alias", SLICE_LIT("false"));
    http_header(q->r, "Content-Type", SLICE_LIT("application/xml"));
    s3_reply_empty(q, 200, 0);
}

void
s3_run_get_location(struct s3_request *q)
{
    struct buf b;
    bool first = slice_eqs(q->bucket->region, FIRST_REGION);
    buf_init(&b, S3_REPLY_BYTES_MAX);
    xml_head(&b);
    xml_open(&b, "LocationConstraint" S3_XMLNS);
    xml_escape(&b, first ? SLICE_NONE : q->bucket->region);
    xml_close(&b, "LocationConstraint");
    s3_reply_xml(q, 200, &b);
}

/* ---- list ---- */

struct bucket_page {
    struct buf *b;
    struct slice prefix;
    struct slice region; /* n = 0: any */
    int max;
    int count;
    char last[64]; /* name of the last entry */
    bool truncated;
};

static int
list_one(void *arg, const struct store_bucket *bucket)
{
    struct bucket_page *page = arg;
    if (!slice_starts(bucket->name, page->prefix))
        return slice_cmp(bucket->name, page->prefix) > 0; /* past the prefix: no more to come */
    if (page->region.n > 0 && !slice_eq(bucket->region, page->region))
        return 0;
    if (page->count == page->max) {
        page->truncated = true;
        return 1;
    }
    page->count++;
    memcpy(page->last, bucket->name.p, bucket->name.n);
    page->last[bucket->name.n] = '\0';
    xml_open(page->b, "Bucket");
    xml_put(page->b, "Name", bucket->name);
    s3_time_xml(page->b, "CreationDate", bucket->created_ms);
    xml_put(page->b, "BucketRegion", bucket->region);
    xml_close(page->b, "Bucket");
    return 0;
}

void
s3_run_list_buckets(struct s3_request *q)
{
    struct buf b;
    struct slice token = http_param(q->r, "continuation-token");
    struct bucket_page page = {
        .b = &b, .prefix = http_param(q->r, "prefix"), .region = http_param(q->r, "bucket-region")};
    if (q->account == NULL) {
        s3_fail(q, S3_ACCESS_DENIED);
        return;
    }
    if (!s3_param_int(q, "max-buckets", 1, LIST_BUCKETS_MAX, false, LIST_BUCKETS_MAX, &page.max))
        return;
    if (token.n > 0 && !store_bucket_name_ok(token)) { /* the last name of the page before */
        s3_fail_why(q, S3_INVALID_ARGUMENT, "The continuation token provided is incorrect");
        return;
    }
    struct slice owner = slice_str(q->account->canonical_id);
    buf_init(&b, S3_REPLY_BYTES_MAX);
    xml_head(&b);
    xml_open(&b, "ListAllMyBucketsResult" S3_XMLNS);
    s3_owner_xml(q, &b, "Owner", owner);
    xml_open(&b, "Buckets");
    int err = store_bucket_list(q->s->store, owner, token, list_one, &page);
    xml_close(&b, "Buckets");
    if (page.prefix.n > 0)
        xml_put(&b, "Prefix", page.prefix);
    if (page.truncated)
        xml_puts(&b, "ContinuationToken", page.last);
    xml_close(&b, "ListAllMyBucketsResult");
    if (err < ERR_NONE) {
        buf_fini(&b);
        s3_fail_err(q, err);
        return;
    }
    s3_reply_xml(q, 200, &b);
}
