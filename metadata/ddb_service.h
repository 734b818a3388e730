/*
 * The DynamoDB JSON face (AWS JSON 1.0): X-Amz-Target picks the operation.
 * https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.LowLevelAPI.html
 */
#ifndef DARKROOM_METADATA_DDB_SERVICE_H
#define DARKROOM_METADATA_DDB_SERVICE_H

#include "base/account.h"
#include "base/db.h"
#include "base/http.h"

struct ddb_options {
    struct db *db;
    const char *region;              /* in ARNs */
    const struct accounts *accounts; /* for auth_check_body() */
};

struct ddb_service;

struct ddb_service *ddb_service_new(const struct ddb_options *options);
void ddb_service_free(struct ddb_service **s);

/* The router sets r->service to this and r->service_arg to the struct ddb_service. */
extern const struct http_service ddb_http_service;

#endif
