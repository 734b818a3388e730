/*
 * Keys in the ini form that AWS tools read: the server's DIR/credentials, the user's shared
 * credentials file. https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-files.html
 */
#ifndef DARKROOM_PIPELINE_CREDENTIALS_H
#define DARKROOM_PIPELINE_CREDENTIALS_H

#include "base/buf.h"

#define CREDENTIALS_BYTES_MAX (64u << 10)

struct credentials {
    struct buf text; /* the file; the two slices point into it */
    struct slice access_key_id;
    struct slice secret_access_key;
};

/* ERR_NOTFOUND: no such file; ERR_INVALID: no such section, or it lacks one of the two keys. Call
 * credentials_fini() in any case. */
int credentials_read(struct credentials *c, const char *path, const char *profile);
/* Wipes the secret. */
void credentials_fini(struct credentials *c);

#endif
