/*
 * The whole way: a signed request over a socket to a real server, into a real database and back.
 * With an argument, `test_ddb serve`, it serves 127.0.0.1 with the keys AKIDTEST / secret until
 * its standard input ends, for trying other clients by hand.
 */
#include "base/auth.h"
#include "base/chk.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/log.h"
#include "base/sign.h"
#include "metadata/ddb_json.h"
#include "metadata/ddb_service.h"
#include "metadata/expr.h"
#include "tests/lib/testdir.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static char *dir;
static struct db *db;
static struct http_server *server;
static struct ddb_service *service;
static struct accounts *accounts;

/* ---- the server ---- */

static void
router(void *arg, struct http_request *r)
{
    (void)arg;
    struct auth_options options = {.accounts = accounts, .now_ms = clock_wall_ms()};
    CHK(auth_check(r, &options) == ERR_NONE);
    r->service = &ddb_http_service;
    r->service_arg = service;
}

static void
thread_end(void *arg)
{
    (void)arg;
    db_thread_end(db);
}

static int
start(void **state)
{
    (void)state;
    static const char *steps[1];
    static const struct account root = {"000000000000", NULL,     "root", "root@localhost",
                                        "AKIDTEST",     "secret", true};
    static const struct account other = {"111111111111", NULL,      "o",  "o@localhost",
                                         "AKIDOTHER",    "secret2", false};
    steps[0] = table_schema(1);
    log_set_level(LOG_ERROR);
    dir = testdir_make();
    accounts = accounts_new();
    CHK(accounts_add(accounts, &root) == ERR_NONE && accounts_add(accounts, &other) == ERR_NONE);
    struct db_options options = {.path = testdir_path(dir, "db"), .schema = {steps, 1}};
    CHK(db_open(&db, &options) == ERR_NONE);
    service = ddb_service_new(
        &(struct ddb_options){.db = db, .region = "us-east-1", .accounts = accounts});
    struct http_options http = {.host = "127.0.0.1",
                                .threads = 2,
                                .connections_max = 100,
                                .connections_per_address_max = 100,
                                .header_deadline_ms = 10000,
                                .idle_timeout_ms = 10000,
                                .router = router,
                                .thread_end = thread_end};
    return http_start(&server, &http);
}

static int
stop(void **state)
{
    (void)state;
    http_stop(&server);
    db_thread_end(db);
    db_close(&db);
    ddb_service_free(&service);
    accounts_free(&accounts);
    testdir_remove(&dir);
    return 0;
}

/* ---- a client ---- */

struct answer {
    int status;
    char *head;
    json_t *body;
};

static int
dial(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET};
    const char *colon = strrchr(http_address(server), ':');
    to.sin_port = htons((uint16_t)strtol(colon + 1, NULL, 10));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static struct answer
exchange(const struct buf *request)
{
    struct answer a = {0};
    struct buf in;
    buf_init(&in, 64u << 20);
    int fd = dial();
    for (size_t at = 0; at < request->n;) {
        ssize_t n = send(fd, request->p + at, request->n - at, MSG_NOSIGNAL);
        if (n <= 0)
            break; /* refused before it was all sent: the answer tells */
        at += (size_t)n;
    }
    for (;;) {
        char piece[16384];
        ssize_t n = recv(fd, piece, sizeof piece, 0);
        if (n <= 0)
            break;
        buf_put(&in, piece, (size_t)n);
    }
    close(fd);
    assert_true(in.n > 12);
    ptrdiff_t end = slice_find(buf_slice(&in), SLICE_LIT("\r\n\r\n"));
    assert_true(end > 0);
    struct slice body = slice_skip(buf_slice(&in), (size_t)end + 4);
    a.status = (int)strtol(in.p + 9, NULL, 10);
    a.head = strndup(in.p, (size_t)end);
    a.body = json_read(body, NULL);
    char crc[64];
    snprintf(crc, sizeof crc, "x-amz-crc32: %u\r", digest_crc32(0, body.p, body.n));
    char *line = strcasestr(a.head, "x-amz-crc32:");
    assert_non_null(line);
    assert_int_equal(strncasecmp(line, crc, strlen(crc) - 1), 0);
    assert_non_null(strcasestr(a.head, "x-amzn-RequestId:"));
    assert_non_null(strcasestr(a.head, "application/x-amz-json-1.0"));
    buf_fini(&in);
    return a;
}

static void
answer_fini(struct answer *a)
{
    free(a->head);
    json_decref(a->body);
}

/* `sign_body` is what the signature is made for. */
static struct answer
send_signed(const char *key, const char *secret, const char *target, struct slice body,
            struct slice sign_body)
{
    char date[CLOCK_TEXT_MAX], hash[65];
    uint8_t digest[32];
    struct buf authorization, out;
    buf_init(&authorization, 4096);
    buf_init(&out, 64u << 20);
    clock_basic(clock_wall_ms(), date);
    digest_sha256(sign_body.p, sign_body.n, digest);
    hex_encode(digest, 32, hash);
    const struct sign_header headers[] = {{"content-type", SLICE_LIT("application/x-amz-json-1.0")},
                                          {"host", slice_str(http_address(server))},
                                          {"x-amz-date", slice_str(date)},
                                          {"x-amz-target", slice_str(target)}};
    struct sign_request sign = {.method = "POST",
                                .raw_path = SLICE_LIT("/"),
                                .headers = headers,
                                .header_count = ARRAY_LEN(headers),
                                .payload_hash = hash,
                                .region = "us-east-1",
                                .service = "dynamodb",
                                .access_key_id = slice_str(key),
                                .secret_access_key = slice_str(secret),
                                .now_ms = clock_wall_ms()};
    if (key != NULL)
        assert_int_equal(sign_v4_header(&sign, &authorization), ERR_NONE);
    buf_puts(&out, "POST / HTTP/1.1\r\nConnection: close\r\n");
    for (size_t i = 0; i < ARRAY_LEN(headers); i++)
        buf_printf(&out, "%s: %.*s\r\n", headers[i].name, SLICE_FMT(headers[i].value));
    if (key != NULL)
        buf_printf(&out, "Authorization: %s\r\n", authorization.p);
    buf_printf(&out, "Content-Length: %zu\r\n\r\n", body.n);
    buf_put_slice(&out, body);
    struct answer a = exchange(&out);
    buf_fini(&out);
    buf_fini(&authorization);
    return a;
}

/* JSON with ' for ". */
static char *
quotes(const char *text)
{
    char *copy = strdup(text);
    for (char *p = copy; *p != '\0'; p++)
        *p = *p == '\'' ? '"' : *p;
    return copy;
}

static struct answer
ask(const char *operation, const char *text)
{
    char target[100];
    char *body = quotes(text);
    snprintf(target, sizeof target, "DynamoDB_20120810.%s", operation);
    struct answer a = send_signed("AKIDTEST", "secret", target, slice_str(body), slice_str(body));
    free(body);
    return a;
}

static void
check_json(const json_t *got, const char *want_text)
{
    char *text = quotes(want_text);
    json_t *want = json_loads(text, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
    assert_non_null(want);
    if (!json_equal((json_t *)got, want)) {
        char *shown = json_dumps(got, JSON_COMPACT);
        fail_msg("got  %s\nwant %s", shown == NULL ? "nothing" : shown, text);
    }
    json_decref(want);
    free(text);
}

static void
check(const char *operation, const char *body, const char *want)
{
    struct answer a = ask(operation, body);
    if (a.status != 200)
        fail_msg("%s %s: %d %s", operation, body, a.status, json_dumps(a.body, JSON_COMPACT));
    check_json(a.body, want);
    answer_fini(&a);
}

/* `type` is what stands behind '#'. */
static void
check_error(const char *operation, const char *body, const char *type, const char *message)
{
    struct answer a = ask(operation, body);
    if (a.status != 400)
        fail_msg("%s %s: %d", operation, body, a.status);
    const char *got = json_string_value(json_object_get(a.body, "__type"));
    assert_non_null(got);
    assert_string_equal(strchr(got, '#') + 1, type);
    const char *text = json_string_value(json_object_get(a.body, "message"));
    if (text == NULL)
        text = json_string_value(json_object_get(a.body, "Message"));
    assert_non_null(text);
    if (message != NULL)
        assert_string_equal(text, message);
    answer_fini(&a);
}

static void
make_table(const char *name)
{
    char body[600];
    snprintf(body, sizeof body,
             "{'TableName':'%s','BillingMode':'PAY_PER_REQUEST','KeySchema':[{'AttributeName':'pk',"
             "'KeyType':'HASH'},{'AttributeName':'sk','KeyType':'RANGE'}],'AttributeDefinitions':["
             "{'AttributeName':'pk','AttributeType':'S'},{'AttributeName':'sk','AttributeType':"
             "'N'}]}",
             name);
    struct answer a = ask("CreateTable", body);
    assert_int_equal(a.status, 200);
    answer_fini(&a);
}

/* ---- tests ---- */

static void
tables_are_described(void **state)
{
    (void)state;
    make_table("life");
    struct answer a = ask("DescribeTable", "{'TableName':'life'}");
    const json_t *t = json_object_get(a.body, "Table");
    check_json(json_object_get(t, "TableStatus"), "'ACTIVE'");
    check_json(json_object_get(t, "KeySchema"), "[{'AttributeName':'pk','KeyType':'HASH'},"
                                                "{'AttributeName':'sk','KeyType':'RANGE'}]");
    check_json(json_object_get(t, "BillingModeSummary"), "{'BillingMode':'PAY_PER_REQUEST'}");
    check_json(json_object_get(t, "TableArn"),
               "'arn:aws:dynamodb:us-east-1:000000000000:table/life'");
    assert_true(json_is_number(json_object_get(t, "CreationDateTime")));
    check_json(json_object_get(t, "ItemCount"), "0");
    answer_fini(&a);
    check_error("CreateTable",
                "{'TableName':'life','BillingMode':'PAY_PER_REQUEST','KeySchema':[{'AttributeName':"
                "'pk','KeyType':'HASH'}],'AttributeDefinitions':[{'AttributeName':'pk',"
                "'AttributeType':'S'}]}",
                "ResourceInUseException", "Table already exists: life");
    make_table("alpha");
    make_table("zulu");
    check("ListTables", "{'Limit':1}", "{'TableNames':['alpha'],'LastEvaluatedTableName':'alpha'}");
    check("ListTables", "{'ExclusiveStartTableName':'life'}", "{'TableNames':['zulu']}");
    a = ask("DeleteTable", "{'TableName':'arn:aws:dynamodb:us-east-1:000000000000:table/zulu'}");
    assert_int_equal(a.status, 200);
    check_json(json_object_get(json_object_get(a.body, "TableDescription"), "TableStatus"),
               "'DELETING'");
    answer_fini(&a);
    check_error("DescribeTable", "{'TableName':'zulu'}", "ResourceNotFoundException",
                "Requested resource not found: Table: zulu not found");
    check("ListTables", "{}", "{'TableNames':['alpha','life']}");
}

static void
tables_are_refused(void **state)
{
    (void)state;
#define KEYS "'KeySchema':[{'AttributeName':'pk','KeyType':'HASH'}],"
#define DEFS "'AttributeDefinitions':[{'AttributeName':'pk','AttributeType':'S'}]"
#define PAY "'TableName':'new','BillingMode':'PAY_PER_REQUEST',"
    static const char *const table[][2] = {
        {"{" KEYS DEFS "}", "1 validation error detected: Value null at 'tableName' failed to"
                            " satisfy constraint: Member must not be null"},
        {"{'TableName':'ab'," KEYS DEFS "}",
         "TableName must be at least 3 characters long and at most 255 characters long"},
        {"{'TableName':'a/b'," KEYS DEFS "}",
         "1 validation error detected: Value 'a/b' at 'tableName' failed to satisfy constraint:"
         " Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"},
        {"{'TableName':'new'," KEYS DEFS "}",
         "One or more parameter values were invalid: ReadCapacityUnits and WriteCapacityUnits must"
         " both be specified when BillingMode is PROVISIONED"},
        {"{" PAY KEYS DEFS ",'GlobalSecondaryIndexes':[{}]}",
         "GlobalSecondaryIndexes: secondary indexes are not supported yet"},
        {"{" PAY KEYS DEFS ",'StreamSpecification':{'StreamEnabled':true}}",
         "StreamSpecification is not supported yet"},
        {"{" PAY KEYS "'AttributeDefinitions':[]}",
         "One or more parameter values were invalid: Some index key attributes are not defined in"
         " AttributeDefinitions. Keys: [pk]"},
        {"{" PAY KEYS "'AttributeDefinitions':[{'AttributeName':'pk','AttributeType':'M'}]}", NULL},
        {"{" PAY "'KeySchema':[{'AttributeName':'pk','KeyType':'RANGE'}]," DEFS "}",
         "Invalid KeySchema: The first KeySchemaElement is not a HASH key type"},
        {"{" PAY "'KeySchema':[]," DEFS "}", NULL},
        {"{" PAY "'KeySchema':[{'AttributeName':'pk','KeyType':'HASH'},{'AttributeName':'pk',"
         "'KeyType':'RANGE'}]," DEFS "}",
         "Both the Hash Key and the Range Key element in the KeySchema have the same name"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        check_error("CreateTable", table[i][0], "ValidationException", table[i][1]);
}

#define KEY(pk, sk) "'Key':{'pk':{'S':'" pk "'},'sk':{'N':'" sk "'}}"
#define IN(t) "{'TableName':'" t "',"

static void
items_are_put_and_got(void **state)
{
    (void)state;
#define ITEM                                                                                       \
    "{'pk':{'S':'a'},'sk':{'N':'%s'},'bin':{'B':'AAEC'},'list':{'L':[{'BOOL':true},{'NULL':true}," \
    "{'M':{'x':{'S':'\\u0000\xc3\xa9 \\n'}}}]},'set':{'SS':['a','b']},'ns':{'NS':['-1','2']},"     \
    "'bs':{'BS':['AA==','AQ==']},'empty':{'S':''},'deep':{'M':{}},'none':{'L':[]}}"
    char body[1000], want[1000];
    make_table("items");
    snprintf(body, sizeof body, IN("items") "'ReturnConsumedCapacity':'TOTAL','Item':" ITEM "}",
             "150e-2");
    check("PutItem", body, "{'ConsumedCapacity':{'TableName':'items','CapacityUnits':1.0}}");
    snprintf(want, sizeof want, "{'Item':" ITEM "}", "1.5");
    check("GetItem", IN("items") KEY("a", "15e-1") "}", want);
    check("GetItem", IN("items") KEY("a", "1") "}", "{}");
    check("GetItem",
          IN("items") KEY("a", "1.5") ",'ProjectionExpression':'#l[2].x, bin',"
                                      "'ExpressionAttributeNames':{'#l':'list'},"
                                      "'ReturnConsumedCapacity':'INDEXES','ConsistentRead':true}",
          "{'Item':{'bin':{'B':'AAEC'},'list':{'L':[{'M':{'x':{'S':'\\u0000\xc3\xa9 \\n'}}}]}},"
          "'ConsumedCapacity':{'TableName':'items','CapacityUnits':1.0,'Table':{'CapacityUnits':"
          "1.0}}}");
    snprintf(want, sizeof want, "{'Attributes':" ITEM "}", "1.5");
    check("PutItem",
          IN("items") "'Item':{'pk':{'S':'a'},'sk':{'N':'1.5'},'v':{'N':'1'}},"
                      "'ReturnValues':'ALL_OLD'}",
          want);
    check("DeleteItem", IN("items") KEY("a", "1.5") ",'ReturnValues':'ALL_OLD'}",
          "{'Attributes':{'pk':{'S':'a'},'sk':{'N':'1.5'},'v':{'N':'1'}}}");
    check("DeleteItem", IN("items") KEY("a", "1.5") ",'ReturnValues':'ALL_OLD'}", "{}");
    check("GetItem", IN("items") KEY("a", "1.5") "}", "{}");
}

static void
values_are_refused(void **state)
{
    (void)state;
    static const char *const table[][3] = {
        {"{}", "ValidationException",
         "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"},
        {"{'S':'a','N':'1'}", "ValidationException",
         "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the"
         " supported datatypes"},
        {"{'N':'x'}", "ValidationException",
         "The parameter cannot be converted to a numeric value: x"},
        {"{'N':''}", "ValidationException", "The parameter cannot be converted to a numeric value"},
        {"{'N':'1e126'}", "ValidationException",
         "Number overflow. Attempting to store a number with magnitude larger than supported "
         "range"},
        {"{'N':'1e-131'}", "ValidationException",
         "Number underflow. Attempting to store a number with magnitude smaller than supported"
         " range"},
        {"{'N':'0.123456789012345678901234567890123456789'}", "ValidationException",
         "Attempting to store more than 38 significant digits in a Number"},
        {"{'N':1}", "SerializationException",
         "class java.lang.Integer can not be converted to an String"},
        {"{'S':['a']}", "SerializationException", "Start of list found where not expected"},
        {"{'B':'x'}", "SerializationException", NULL},
        {"{'SS':[]}", "ValidationException",
         "One or more parameter values were invalid: An AttributeValue may not contain an empty"
         " set."},
        {"{'SS':['a','b','a']}", "ValidationException",
         "One or more parameter values were invalid: Input collection [a, b, a] contains"
         " duplicates."},
        {"{'NS':['1','1.0']}", "ValidationException", "Input collection contains duplicates"},
        {"{'BS':['AA==','AA==']}", "ValidationException",
         "One or more parameter values were invalid: Input collection [AA==, AA==]of type BS"
         " contains duplicates."},
        {"{'NULL':false}", "ValidationException",
         "One or more parameter values were invalid: Null attribute value types must have the value"
         " of true"},
        {"{'X':'a'}", "ValidationException",
         "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"},
    };
    char body[600];
    make_table("refuse");
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        snprintf(body, sizeof body, IN("refuse") "'Item':{'pk':{'S':'a'},'sk':{'N':'1'},'v':%s}}",
                 table[i][0]);
        check_error("PutItem", body, table[i][1], table[i][2]);
    }
    check_error("PutItem", IN("refuse") "'Item':{'pk':{'S':'a'}}}", "ValidationException",
                "One or more parameter values were invalid: Missing the key sk in the item");
    check_error("GetItem", IN("refuse") "'Key':{'pk':{'S':'a'}}}", "ValidationException",
                "The provided key element does not match the schema");
    check_error("GetItem", IN("absent") KEY("a", "1") "}", "ResourceNotFoundException",
                "Requested resource not found: Table: absent not found");
    check_error("GetItem", IN("refuse") KEY("a", "1") ",'ProjectionExpression':'bucket'}",
                "ValidationException",
                "Invalid ProjectionExpression: Attribute name is a reserved keyword; reserved"
                " keyword: bucket");
    check_error("PutItem", IN("refuse") "'Item':{'pk':{'S':'a'},'sk':{'N':'1'}},'Expected':{}}",
                "ValidationException", "The parameter Expected is not supported");
    check_error("PutItem",
                IN("refuse") "'Item':{'pk':{'S':'a'},'sk':{'N':'1'}},"
                             "'ReturnValues':'ALL_NEW'}",
                "ValidationException", "ReturnValues can only be ALL_OLD or NONE");
    check_error("PutItem",
                IN("refuse") "'Item':{'pk':{'S':'a'},'sk':{'N':'1'}},"
                             "'ExpressionAttributeNames':{'#a':'b'}}",
                "ValidationException",
                "ExpressionAttributeNames can only be specified when using expressions");
    check_error("GetItem", "{'TableName':1}", "SerializationException", NULL);
    check_error("GetItem", "{'TableName'", "SerializationException", NULL);
    check_error("GetItem", "[]", "SerializationException", NULL);
    check_error("GetItem", "", "SerializationException", NULL);
    check_error("TransactWriteItems", "{}", "UnknownOperationException", "");
}

static void
size_and_depth_are_bounded(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 32u << 20);
    make_table("bounds");
    for (int depth = 31; depth <= 33; depth++) {
        buf_reset(&b);
        buf_puts(&b, IN("bounds") "'Item':{'pk':{'S':'a'},'sk':{'N':'1'},'v':");
        for (int i = 1; i < depth; i++)
            buf_puts(&b, "{'M':{'m':");
        buf_puts(&b, "{'S':'x'}");
        for (int i = 1; i < depth; i++)
            buf_puts(&b, "}}");
        buf_puts(&b, "}}");
        if (depth <= ITEM_DEPTH_MAX)
            check("PutItem", b.p, "{}");
        else
            check_error("PutItem", b.p, "ValidationException",
                        "Nesting Levels have exceeded supported limits");
    }
    buf_reset(&b);
    buf_puts(&b, IN("bounds") "'Item':{'pk':{'S':'a'},'sk':{'N':'1'},'v':{'S':'");
    for (int i = 0; i < 410; i++)
        buf_printf(&b, "%01000d", 7);
    buf_puts(&b, "'}}}");
    check_error("PutItem", b.p, "ValidationException",
                "Item size has exceeded the maximum allowed size");
    buf_reset(&b);
    buf_puts(&b, IN("bounds") "'Item':{'pk':{'S':'a'},'sk':{'N':'1'},'v':{'L':[{'S':''}");
    for (int i = 0; i < 200000; i++)
        buf_puts(&b, ",{'S':''}");
    buf_puts(&b, "]}}}");
    check_error("PutItem", b.p, "SerializationException", "The request holds too many values");
    buf_reset(&b);
    for (int i = 0; i < 5000; i++)
        buf_printf(&b, "%01000d", 7);
    struct answer a = ask("PutItem", b.p);
    assert_int_equal(a.status, 413);
    answer_fini(&a);
    buf_fini(&b);
}

static void
conditions_guard_writes(void **state)
{
    (void)state;
#define NEW "'ConditionExpression':'attribute_not_exists(pk)'"
    make_table("cond");
    check("PutItem", IN("cond") NEW ",'Item':{'pk':{'S':'a'},'sk':{'N':'1'},'v':{'N':'1'}}}", "{}");
    check_error("PutItem", IN("cond") NEW ",'Item':{'pk':{'S':'a'},'sk':{'N':'1'}}}",
                "ConditionalCheckFailedException", "The conditional request failed");
    struct answer a =
        ask("PutItem", IN("cond") NEW ",'Item':{'pk':{'S':'a'},'sk':{'N':'1'}},"
                                      "'ReturnValuesOnConditionCheckFailure':'ALL_OLD'}");
    assert_int_equal(a.status, 400);
    check_json(json_object_get(a.body, "Item"), "{'pk':{'S':'a'},'sk':{'N':'1'},'v':{'N':'1'}}");
    answer_fini(&a);
    check_error("DeleteItem",
                IN("cond") KEY("a", "1") ",'ConditionExpression':'v > :two',"
                                         "'ExpressionAttributeValues':{':two':{'N':'2'}}}",
                "ConditionalCheckFailedException", NULL);
    check_error("DeleteItem",
                IN("cond") KEY("b", "1") ",'ConditionExpression':'attribute_exists(pk)'}",
                "ConditionalCheckFailedException", NULL);
    check("DeleteItem",
          IN("cond") KEY("a", "1") ",'ConditionExpression':'v < :two',"
                                   "'ExpressionAttributeValues':{':two':{'N':'2'}}}",
          "{}");
}

static void
items_are_updated(void **state)
{
    (void)state;
    make_table("upd");
    check("UpdateItem",
          IN("upd") KEY("a", "1") ",'UpdateExpression':'ADD hits :one SET #m = :m',"
                                  "'ExpressionAttributeNames':{'#m':'map'},"
                                  "'ExpressionAttributeValues':{':one':{'N':'1'},':m':{'M':{}}},"
                                  "'ReturnValues':'ALL_NEW'}",
          "{'Attributes':{'pk':{'S':'a'},'sk':{'N':'1'},'hits':{'N':'1'},'map':{'M':{}}}}");
    check("UpdateItem",
          IN("upd") KEY("a", "1") ",'UpdateExpression':'SET hits = hits + :ten, #m.x = :ten',"
                                  "'ExpressionAttributeNames':{'#m':'map'},"
                                  "'ExpressionAttributeValues':{':ten':{'N':'10'}},"
                                  "'ReturnValues':'UPDATED_NEW'}",
          "{'Attributes':{'hits':{'N':'11'},'map':{'M':{'x':{'N':'10'}}}}}");
    check("UpdateItem",
          IN("upd") KEY("a", "1") ",'UpdateExpression':'REMOVE #m','ReturnValues':'UPDATED_OLD',"
                                  "'ExpressionAttributeNames':{'#m':'map'}}",
          "{'Attributes':{'map':{'M':{'x':{'N':'10'}}}}}");
    check_error("UpdateItem",
                IN("upd") KEY("a", "1") ",'UpdateExpression':'SET sk = :one',"
                                        "'ExpressionAttributeValues':{':one':{'N':'1'}}}",
                "ValidationException",
                "One or more parameter values were invalid: Cannot update attribute sk. This"
                " attribute is part of the key");
    check_error("UpdateItem", IN("upd") KEY("a", "1") ",'UpdateExpression':'SET v = nothing'}",
                "ValidationException",
                "The provided expression refers to an attribute that does not exist in the item");
    check_error("UpdateItem",
                IN("upd") KEY("z", "1") ",'UpdateExpression':'SET v = :v','ConditionExpression':"
                                        "'attribute_exists(pk)','ExpressionAttributeValues':"
                                        "{':v':{'S':'x'}}}",
                "ConditionalCheckFailedException", NULL);
    check("UpdateItem", IN("upd") KEY("z", "1") ",'UpdateExpression':'REMOVE v'}", "{}");
    check("GetItem", IN("upd") KEY("z", "1") "}", "{}");
    check("UpdateItem", IN("upd") KEY("z", "1") "}", "{}");
    check("GetItem", IN("upd") KEY("z", "1") "}", "{'Item':{'pk':{'S':'z'},'sk':{'N':'1'}}}");
}

static void
queries_page(void **state)
{
    (void)state;
    char body[300];
    make_table("query");
    for (int i = 1; i <= 6; i++) {
        snprintf(body, sizeof body,
                 IN("query") "'Item':{'pk':{'S':'a'},'sk':{'N':'%d'},'even':{'BOOL':%s}}}", i * 2,
                 i % 2 == 0 ? "true" : "false");
        check("PutItem", body, "{}");
    }
#define QUERY(condition, more)                                              \
    IN("query")                                                             \
    "'KeyConditionExpression':'" condition "','ProjectionExpression':'sk'," \
    "'ExpressionAttributeValues':{':a':{'S':'a'}" more
#define SK(n) "{'sk':{'N':'" n "'}}"
    check("Query", QUERY("pk = :a", "}") ",'Limit':2}",
          "{'Items':[" SK("2") "," SK("4") "],'Count':2,'ScannedCount':2,'LastEvaluatedKey':"
                                           "{'pk':{'S':'a'},'sk':{'N':'4'}}}");
    check("Query",
          QUERY("pk = :a", "}") ",'Limit':2,'ScanIndexForward':false,"
                                "'ExclusiveStartKey':{'pk':{'S':'a'},'sk':{'N':'10'}}}",
          "{'Items':[" SK("8") "," SK("6") "],'Count':2,'ScannedCount':2,'LastEvaluatedKey':"
                                           "{'pk':{'S':'a'},'sk':{'N':'6'}}}");
    check("Query", QUERY("pk = :a AND sk BETWEEN :l AND :h", ",':l':{'N':'3'},':h':{'N':'8'}}") "}",
          "{'Items':[" SK("4") "," SK("6") "," SK("8") "],'Count':3,'ScannedCount':3}");
    check("Query",
          QUERY("pk = :a", ",':t':{'BOOL':true}}") ",'FilterExpression':'even = :t','Limit':3}",
          "{'Items':[" SK("4") "],'Count':1,'ScannedCount':3,'LastEvaluatedKey':"
                               "{'pk':{'S':'a'},'sk':{'N':'6'}}}");
    check("Query",
          IN("query") "'KeyConditionExpression':'pk = :a','Select':'COUNT',"
                      "'ExpressionAttributeValues':{':a':{'S':'a'}}}",
          "{'Count':6,'ScannedCount':6}");
    check("Query",
          IN("query") "'KeyConditionExpression':'pk = :a',"
                      "'ExpressionAttributeValues':{':a':{'S':'b'}}}",
          "{'Items':[],'Count':0,'ScannedCount':0}");
    check_error("Query",
                QUERY("pk = :a", "}") ",'ExclusiveStartKey':{'pk':{'S':'b'},'sk':{'N':"
                                      "'10'}}}",
                "ValidationException",
                "The provided starting key is outside query boundaries based on provided"
                " conditions");
    check_error("Query", QUERY("pk = :a", "}") ",'FilterExpression':'sk = :a'}",
                "ValidationException",
                "Filter Expression can only contain non-primary key attributes: Primary key"
                " attribute: sk");
    check_error("Query", QUERY("pk = :a", "}") ",'IndexName':'by-date'}", "ValidationException",
                "The table does not have the specified index: by-date");
    check_error("Query", QUERY("pk = :a", ",':u':{'S':'x'}}") "}", "ValidationException",
                "Value provided in ExpressionAttributeValues unused in expressions: keys: {:u}");
    check_error("Query", QUERY("pk = :a", "}") ",'Limit':0}", "ValidationException",
                "1 validation error detected: Value '0' at 'limit' failed to satisfy constraint:"
                " Member must have value greater than or equal to 1");
    check_error("Query", "{'TableName':'query'}", "ValidationException",
                "Either the KeyConditions or KeyConditionExpression parameter must be specified in"
                " the request.");
}

/* Reads a table to its end; returns items and pages. */
static int
scan_all(const char *more, int *pages)
{
    int items = 0;
    char *start = NULL;
    *pages = 0;
    do {
        struct buf body;
        buf_init(&body, 1 << 20);
        buf_printf(&body, IN("scan") "%s", more);
        if (start != NULL)
            buf_printf(&body, "'ExclusiveStartKey':%s,", start);
        buf_puts(&body, "'ReturnConsumedCapacity':'NONE'}");
        free(start);
        start = NULL;
        struct answer a = ask("Scan", body.p);
        assert_int_equal(a.status, 200);
        items += (int)json_integer_value(json_object_get(a.body, "Count"));
        assert_int_equal(json_array_size(json_object_get(a.body, "Items")),
                         json_integer_value(json_object_get(a.body, "Count")));
        const json_t *last = json_object_get(a.body, "LastEvaluatedKey");
        if (last != NULL)
            start = json_dumps(last, JSON_COMPACT);
        answer_fini(&a);
        buf_fini(&body);
        ++*pages;
    } while (start != NULL);
    return items;
}

static void
scans_end_at_a_megabyte(void **state)
{
    (void)state;
    int pages;
    struct buf b;
    buf_init(&b, 1 << 20);
    make_table("scan");
    for (int i = 0; i < 10; i++) {
        buf_reset(&b);
        buf_printf(&b, IN("scan") "'Item':{'pk':{'S':'p%d'},'sk':{'N':'1'},'v':{'S':'%0300000d'}}}",
                   i, 1);
        check("PutItem", b.p, "{}");
    }
    assert_int_equal(scan_all("", &pages), 10);
    assert_int_equal(pages, 3); /* 4, 4, 2 */
    assert_int_equal(scan_all("'Limit':3,", &pages), 10);
    assert_int_equal(pages, 4);
    int sum = 0;
    for (int i = 0; i < 3; i++) {
        char more[100];
        snprintf(more, sizeof more, "'TotalSegments':3,'Segment':%d,", i);
        int n = scan_all(more, &pages);
        assert_true(n < 10);
        sum += n;
    }
    assert_int_equal(sum, 10);
    check_error("Scan", IN("scan") "'TotalSegments':3,'Segment':3}", "ValidationException",
                "The Segment parameter is zero-based and must be less than parameter TotalSegments:"
                " Segment: 3 is not less than TotalSegments: 3");
    check("Scan",
          IN("scan") "'FilterExpression':'begins_with(pk, :p) AND size(v) > :n','Select':'COUNT',"
                     "'ExpressionAttributeValues':{':p':{'S':'p'},':n':{'N':'300000'}}}",
          "{'Count':0,'ScannedCount':4,'LastEvaluatedKey':{'pk':{'S':'p3'},'sk':{'N':'1'}}}");
    buf_fini(&b);
}

static void
batches_work(void **state)
{
    (void)state;
    make_table("batch");
    check("BatchWriteItem",
          "{'RequestItems':{'batch':[{'PutRequest':{'Item':{'pk':{'S':'a'},'sk':{'N':'1'},'v':"
          "{'S':'x'}}}},{'PutRequest':{'Item':{'pk':{'S':'a'},'sk':{'N':'2'}}}},{'DeleteRequest':"
          "{'Key':{'pk':{'S':'a'},'sk':{'N':'3'}}}}]}}",
          "{'UnprocessedItems':{}}");
    check("BatchGetItem",
          "{'RequestItems':{'batch':{'Keys':[{'pk':{'S':'a'},'sk':{'N':'1'}},{'pk':{'S':'a'},'sk':"
          "{'N':'9'}}],'ProjectionExpression':'v'}}}",
          "{'Responses':{'batch':[{'v':{'S':'x'}}]},'UnprocessedKeys':{}}");
    check_error("BatchWriteItem",
                "{'RequestItems':{'batch':[{'PutRequest':{'Item':{'pk':{'S':'a'},'sk':{'N':'7'}}}},"
                "{'DeleteRequest':{'Key':{'pk':{'S':'a'},'sk':{'N':'7.0'}}}}]}}",
                "ValidationException", "Provided list of item keys contains duplicates");
    /* One bad write undoes the whole batch. */
    check_error(
        "BatchWriteItem",
        "{'RequestItems':{'batch':[{'PutRequest':{'Item':{'pk':{'S':'a'},'sk':{'N':'8'}}}}],"
        "'absent':[{'PutRequest':{'Item':{'pk':{'S':'a'},'sk':{'N':'8'}}}}]}}",
        "ResourceNotFoundException", NULL);
    check("GetItem", IN("batch") KEY("a", "8") "}", "{}");
    check_error("BatchGetItem", "{'RequestItems':{}}", "ValidationException", NULL);
}

static void
signatures_are_checked(void **state)
{
    (void)state;
    static const struct {
        const char *key, *secret, *body, *signed_body, *type;
    } table[] = {
        {NULL, NULL, "{}", "{}", "MissingAuthenticationTokenException"},
        {"AKIDNOBODY", "secret", "{}", "{}", "UnrecognizedClientException"},
        {"AKIDTEST", "wrong", "{}", "{}", "InvalidSignatureException"},
        {"AKIDTEST", "secret", "{\"Limit\":1}", "{}", "InvalidSignatureException"},
        {"AKIDOTHER", "secret2", "{}", "{}", "AccessDeniedException"},
        {"AKIDTEST", "secret", "{}", "{}", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct answer a = send_signed(table[i].key, table[i].secret, "DynamoDB_20120810.ListTables",
                                      slice_str(table[i].body), slice_str(table[i].signed_body));
        const char *type = json_string_value(json_object_get(a.body, "__type"));
        assert_int_equal(a.status, table[i].type == NULL ? 200 : 400);
        if (table[i].type != NULL)
            assert_string_equal(strchr(type, '#') + 1, table[i].type);
        answer_fini(&a);
    }
    struct answer a = send_signed("AKIDTEST", "secret", "DynamoDB_20111205.ListTables",
                                  SLICE_LIT("{}"), SLICE_LIT("{}"));
    check_json(a.body, "{'__type':'com.amazon.coral.service#UnknownOperationException',"
                       "'message':''}");
    answer_fini(&a);
}

/* Many threads add to one item: no addition is lost, each sees its own. */
#define ADDERS 8
#define ADDS 25

static void *
adder(void *arg)
{
    (void)arg;
    for (int i = 0; i < ADDS; i++) {
        struct answer a =
            ask("UpdateItem",
                IN("race") KEY("a", "1") ",'UpdateExpression':'ADD hits :one',"
                                         "'ExpressionAttributeValues':{':one':{'N':'1'}}}");
        CHK(a.status == 200);
        answer_fini(&a);
    }
    return NULL;
}

static void
additions_are_not_lost(void **state)
{
    (void)state;
    pthread_t threads[ADDERS];
    make_table("race");
    for (int i = 0; i < ADDERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, adder, NULL), 0);
    for (int i = 0; i < ADDERS; i++)
        pthread_join(threads[i], NULL);
    check("GetItem", IN("race") KEY("a", "1") "}",
          "{'Item':{'pk':{'S':'a'},'sk':{'N':'1'},'hits':{'N':'200'}}}");
}

static int
serve(void)
{
    char byte;
    start(NULL);
    printf("http://%s\n", http_address(server));
    fflush(stdout);
    while (read(0, &byte, 1) > 0)
        continue;
    return stop(NULL);
}

int
main(int argc, char **argv)
{
#define T(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        T(tables_are_described),       T(tables_are_refused),
        T(items_are_put_and_got),      T(values_are_refused),
        T(size_and_depth_are_bounded), T(conditions_guard_writes),
        T(items_are_updated),          T(queries_page),
        T(scans_end_at_a_megabyte),    T(batches_work),
        T(signatures_are_checked),     T(additions_are_not_lost),
    };
    if (argc == 2 && strcmp(argv[1], "serve") == 0)
        return serve();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
