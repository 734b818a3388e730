/*
 * How a face of the server says no: a row of the tables of auth.h, payload.h and s3_reply.h. The
 * code is S3's (API reference, "Error responses"), other faces translate it; static, for ever.
 */
#ifndef DARKROOM_BASE_REFUSAL_H
#define DARKROOM_BASE_REFUSAL_H

struct refusal {
    const char *code;
    int status; /* HTTP's */
    const char *message;
};

/* A row of a LIST(X) of name, code, status, message. */
#define REFUSAL_ROW(name, code, status, message) {code, status, message},

#endif
