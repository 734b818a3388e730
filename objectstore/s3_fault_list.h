/*
 * Every refusal of the S3 face, once: X(id, code, status, message). Codes, statuses and wording are
 * the protocol's: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
 * Payload and signature refusals carry their own lists (base/payload.h, base/auth.h).
 */
#ifndef DARKROOM_OBJECTSTORE_S3_FAULT_LIST_H
#define DARKROOM_OBJECTSTORE_S3_FAULT_LIST_H

#define S3_FAULT_LIST(X) \
    X(ACCESS_DENIED, "AccessDenied", 403, "Access Denied") \
    X(ACCESS_FORBIDDEN, "AccessForbidden", 403, "CORSResponse: CORS is not enabled for this bucket.") \
    X(ACL_NOT_SUPPORTED, "AccessControlListNotSupported", 400, "The bucket does not allow ACLs") \
    X(ACL_WITH_OWNERSHIP, "InvalidBucketAclWithObjectOwnership", 400, "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting") \
    X(BAD_OWNER_ID, "InvalidBucketOwnerAWSAccountID", 400, "The value of the expected bucket owner parameter must be an AWS account ID.") \
    X(BAD_DIGEST, "BadDigest", 400, "The Content-MD5 or checksum value that you specified did not match what the server received.") \
    X(BAD_REQUEST, "BadRequest", 400, "Bad Request") \
    X(BUCKET_EXISTS, "BucketAlreadyExists", 409, "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again.") \
    X(BUCKET_OWNED, "BucketAlreadyOwnedByYou", 409, "Your previous request to create the named bucket succeeded and you already own it.") \
    X(BUCKET_NOT_EMPTY, "BucketNotEmpty", 409, "The bucket you tried to delete is not empty.") \
    X(ENTITY_TOO_LARGE, "EntityTooLarge", 400, "Your proposed upload exceeds the maximum allowed size.") \
    X(ENTITY_TOO_SMALL, "EntityTooSmall", 400, "Your proposed upload is smaller than the minimum allowed size") \
    X(ILLEGAL_VERSIONING, "IllegalVersioningConfigurationException", 400, "The Versioning element must be specified") \
    X(INCOMPLETE_BODY, "IncompleteBody", 400, "You did not provide the number of bytes specified by the Content-Length HTTP header.") \
    X(INTERNAL, "InternalError", 500, "We encountered an internal error. Please try again.") \
    X(INVALID_ARGUMENT, "InvalidArgument", 400, "Invalid Argument") \
    X(INVALID_BUCKET_NAME, "InvalidBucketName", 400, "The specified bucket is not valid.") \
    X(INVALID_BUCKET_STATE, "InvalidBucketState", 409, "The request is not valid with the current state of the bucket.") \
    X(INVALID_LOCATION, "InvalidLocationConstraint", 400, "The specified location constraint is not valid.") \
    X(INVALID_PART, "InvalidPart", 400, "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.") \
    X(INVALID_PART_NUMBER, "InvalidPartNumber", 416, "The requested partnumber is not satisfiable") \
    X(INVALID_PART_ORDER, "InvalidPartOrder", 400, "The list of parts was not in ascending order. Parts must be ordered by part number.") \
    X(INVALID_POLICY_DOCUMENT, "InvalidPolicyDocument", 400, "The content of the form does not meet the conditions specified in the policy document.") \
    X(INVALID_RANGE, "InvalidRange", 416, "The requested range is not satisfiable") \
    X(INVALID_REDIRECT, "InvalidRedirectLocation", 400, "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.") \
    X(INVALID_REQUEST, "InvalidRequest", 400, "Invalid Request") \
    X(INVALID_RETENTION, "InvalidRetentionPeriod", 400, "The retention period must be a positive integer of at most 36500 days or 100 years.") \
    X(INVALID_STORAGE_CLASS, "InvalidStorageClass", 400, "The storage class you specified is not valid") \
    X(INVALID_TAG, "InvalidTag", 400, "The tag provided was not a valid tag.") \
    X(INVALID_URI, "InvalidURI", 400, "Couldn't parse the specified URI.") \
    X(KEY_TOO_LONG, "KeyTooLongError", 400, "Your key is too long") \
    X(MALFORMED_ACL, "MalformedACLError", 400, "The XML you provided was not well-formed or did not validate against our published schema") \
    X(MALFORMED_POLICY, "MalformedPolicy", 400, "This policy is not valid.") \
    X(MALFORMED_POST, "MalformedPOSTRequest", 400, "The body of your POST request is not well-formed multipart/form-data.") \
    X(MALFORMED_XML, "MalformedXML", 400, "The XML you provided was not well-formed or did not validate against our published schema") \
    X(METADATA_TOO_LARGE, "MetadataTooLarge", 400, "Your metadata headers exceed the maximum allowed metadata size") \
    X(METHOD_NOT_ALLOWED, "MethodNotAllowed", 405, "The specified method is not allowed against this resource.") \
    X(MISSING_BODY, "MissingRequestBodyError", 400, "Request Body is empty") \
    X(MISSING_HEADER, "MissingSecurityHeader", 400, "Your request was missing a required header") \
    X(MISSING_LENGTH, "MissingContentLength", 411, "You must provide the Content-Length HTTP header.") \
    X(NO_SUCH_BUCKET, "NoSuchBucket", 404, "The specified bucket does not exist") \
    X(NO_BUCKET_POLICY, "NoSuchBucketPolicy", 404, "The bucket policy does not exist") \
    X(NO_CORS, "NoSuchCORSConfiguration", 404, "The CORS configuration does not exist") \
    X(NO_ENCRYPTION, "ServerSideEncryptionConfigurationNotFoundError", 404, "The server side encryption configuration was not found") \
    X(NO_SUCH_KEY, "NoSuchKey", 404, "The specified key does not exist.") \
    X(NO_LIFECYCLE, "NoSuchLifecycleConfiguration", 404, "The lifecycle configuration does not exist") \
    X(NO_OBJECT_LOCK, "ObjectLockConfigurationNotFoundError", 404, "Object Lock configuration does not exist for this bucket") \
    X(NO_RETENTION, "NoSuchObjectLockConfiguration", 404, "The specified object does not have a ObjectLock configuration") \
    X(NO_OWNERSHIP, "OwnershipControlsNotFoundError", 404, "The bucket ownership controls were not found") \
    X(NO_ACCESS_BLOCK, "NoSuchPublicAccessBlockConfiguration", 404, "The public access block configuration was not found") \
    X(NO_REPLICATION, "ReplicationConfigurationNotFoundError", 404, "The replication configuration was not found") \
    X(NO_TAG_SET, "NoSuchTagSet", 404, "The TagSet does not exist") \
    X(NO_SUCH_UPLOAD, "NoSuchUpload", 404, "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.") \
    X(NO_SUCH_VERSION, "NoSuchVersion", 404, "The specified version does not exist.") \
    X(NO_WEBSITE, "NoSuchWebsiteConfiguration", 404, "The specified bucket does not have a website configuration") \
    X(NOT_IMPLEMENTED, "NotImplemented", 501, "A header or query you provided implies functionality that is not implemented") \
    X(OPERATION_ABORTED, "OperationAborted", 409, "A conflicting conditional operation is currently in progress against this resource. Try again.") \
    X(POST_FIELDS_TOO_LARGE, "MaxPostPreDataLengthExceeded", 400, "Your POST request fields preceeding the upload file was too large.") \
    X(PRECONDITION_FAILED, "PreconditionFailed", 412, "At least one of the pre-conditions you specified did not hold") \
    X(SERVICE_UNAVAILABLE, "ServiceUnavailable", 503, "The service cannot take this request now.") \
    X(SLOW_DOWN, "SlowDown", 503, "Please reduce your request rate.") \
    X(TOO_MANY_BUCKETS, "TooManyBuckets", 400, "You have attempted to create more buckets than allowed") \
    X(UNEXPECTED_CONTENT, "UnexpectedContent", 400, "This request does not support content.") \
    X(UNKNOWN_EMAIL, "UnresolvableGrantByEmailAddress", 400, "The e-mail address you provided does not match any account on record.")

#endif
