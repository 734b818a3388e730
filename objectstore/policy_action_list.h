/*
 * Every S3 action that a bucket policy may name, by the kind of resource it acts on:
 * https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
 * A statement is refused when one of its actions applies to none of its resources.
 */
#ifndef DARKROOM_OBJECTSTORE_POLICY_ACTION_LIST_H
#define DARKROOM_OBJECTSTORE_POLICY_ACTION_LIST_H

/* In lower case: actions are compared without it. */
#define POLICY_OBJECT_ACTIONS(X)           \
    X("abortmultipartupload")              \
    X("bypassgovernanceretention")         \
    X("deleteobject")                      \
    X("deleteobjecttagging")               \
    X("deleteobjectversion")               \
    X("deleteobjectversiontagging")        \
    X("getobject")                         \
    X("getobjectacl")                      \
    X("getobjectattributes")               \
    X("getobjectlegalhold")                \
    X("getobjectretention")                \
    X("getobjecttagging")                  \
    X("getobjecttorrent")                  \
    X("getobjectversion")                  \
    X("getobjectversionacl")               \
    X("getobjectversionattributes")        \
    X("getobjectversionforreplication")    \
    X("getobjectversiontagging")           \
    X("getobjectversiontorrent")           \
    X("initiatereplication")               \
    X("listmultipartuploadparts")          \
    X("objectowneroverridetobucketowner")  \
    X("putobject")                         \
    X("putobjectacl")                      \
    X("putobjectlegalhold")                \
    X("putobjectretention")                \
    X("putobjecttagging")                  \
    X("putobjectversionacl")               \
    X("putobjectversiontagging")           \
    X("replicatedelete")                   \
    X("replicateobject")                   \
    X("replicatetags")                     \
    X("restoreobject")

#define POLICY_BUCKET_ACTIONS(X)               \
    X("createbucket")                          \
    X("createbucketmetadatatableconfiguration")\
    X("deletebucket")                          \
    X("deletebucketmetadatatableconfiguration")\
    X("deletebucketpolicy")                    \
    X("deletebucketwebsite")                   \
    X("getaccelerateconfiguration")            \
    X("getanalyticsconfiguration")             \
    X("getbucketacl")                          \
    X("getbucketcors")                         \
    X("getbucketlocation")                     \
    X("getbucketlogging")                      \
    X("getbucketmetadatatableconfiguration")   \
    X("getbucketnotification")                 \
    X("getbucketobjectlockconfiguration")      \
    X("getbucketownershipcontrols")            \
    X("getbucketpolicy")                       \
    X("getbucketpolicystatus")                 \
    X("getbucketpublicaccessblock")            \
    X("getbucketrequestpayment")               \
    X("getbuckettagging")                      \
    X("getbucketversioning")                   \
    X("getbucketwebsite")                      \
    X("getencryptionconfiguration")            \
    X("getintelligenttieringconfiguration")    \
    X("getinventoryconfiguration")             \
    X("getlifecycleconfiguration")             \
    X("getmetricsconfiguration")               \
    X("getreplicationconfiguration")           \
    X("listbucket")                            \
    X("listbucketmultipartuploads")            \
    X("listbucketversions")                    \
    X("putaccelerateconfiguration")            \
    X("putanalyticsconfiguration")             \
    X("putbucketacl")                          \
    X("putbucketcors")                         \
    X("putbucketlogging")                      \
    X("putbucketnotification")                 \
    X("putbucketobjectlockconfiguration")      \
    X("putbucketownershipcontrols")            \
    X("putbucketpolicy")                       \
    X("putbucketpublicaccessblock")            \
    X("putbucketrequestpayment")               \
    X("putbuckettagging")                      \
    X("putbucketversioning")                   \
    X("putbucketwebsite")                      \
    X("putencryptionconfiguration")            \
    X("putintelligenttieringconfiguration")    \
    X("putinventoryconfiguration")             \
    X("putlifecycleconfiguration")             \
    X("putmetricsconfiguration")               \
    X("putreplicationconfiguration")

#endif
