/*
 * What a function is, and the two messages between the server and a worker. Free of image words:
 * user functions will stand beside the native ones.
 *
 *   server                                   worker
 *     | -- FN_MSG_INVOKE  request + source fd --> |   reads the header of the source
 *     | <-- FN_MSG_ADMIT  bytes it will need ---- |   (memory budget)
 *     | -- FN_MSG_GRANT -----------------------> |   does the work
 *     | <-- FN_MSG_RESULT results + memfds ----- |
 *
 * On start a worker sends FN_MSG_HELLO (what it can do, what confines it) and serves for ever. One
 * invocation at a time. Every size below is a hard limit on both sides; what a worker sends is
 * checked by fn_result_read() as if it came from the network.
 */
#ifndef DARKROOM_FUNCTIONS_FN_H
#define DARKROOM_FUNCTIONS_FN_H

#include "base/arena.h"
#include "base/wire.h"

enum fn_msg { FN_MSG_HELLO = 1, FN_MSG_INVOKE, FN_MSG_ADMIT, FN_MSG_GRANT, FN_MSG_RESULT };

#define FN_NAME_MAX 64
#define FN_PER_REQUEST_MAX 8
#define FN_OUTPUTS_MAX 32
#define FN_OUTPUT_BYTES_MAX ((int64_t)64 << 20)
#define FN_ATTRS_MAX 128
#define FN_TEXT_MAX 8192 /* one attribute or reason */
#define FN_CONFIG_MAX (16u << 10)
#define FN_REQUEST_ID_MAX 64

/* The native functions: name, memory MB, timeout s. Linked into both programs; the handlers are
 * bound in worker_main.c alone. */
struct fn_native {
    const char *name;
    int memory_mb;
    int timeout_s;
};
extern const struct fn_native fn_natives[];
extern const size_t fn_native_count;

struct fn_attr { /* one fact; a dot in the name means a map member: "exif.camera" */
    struct slice name;
    char type; /* 'S' text, 'N' number text, 'B' bytes, 'T' true, 'F' false */
    struct slice value;
};

struct fn_call {         /* one function of a request */
    struct slice name;   /* "thumbnail" */
    struct slice config; /* the function's own, opaque here (functions/preset.h) */
};

struct fn_request {
    int64_t id;
    struct slice request_id; /* of the S3 request behind it, for the log; may be empty */
    int64_t source_bytes;
    struct slice source_type;  /* Content-Type as stored; a hint only */
    struct slice source_hints; /* header list "name\0value\0": functions/hint.h reads it */
    int64_t pixels_frame_max;
    int64_t pixels_total_max;
    int64_t memory_bytes_max; /* of the function, and of the budget for all invocations */
    int64_t deadline_ms;      /* from receipt; enforced by SIGKILL from outside as well */
    struct fn_call calls[FN_PER_REQUEST_MAX];
    size_t call_count;
};

enum fn_status {
    FN_OK = 1,
    FN_SKIPPED, /* nothing to do for this source, final: reason says why (not an image...) */
    FN_FAILED,  /* the source is bad, final: reason says why; trying again would not help */
    FN_ERROR    /* this attempt went wrong; try again */
};

/* What a part of an invocation took, as the worker measured it: processor time of the whole process
 * and time by the clock. The server measures the invocation as a whole; these only divide it. */
struct fn_cost {
    int64_t cpu_us;
    int64_t run_us;
};

struct fn_output {
    struct slice name;      /* the preset's identity */
    struct slice extension; /* "webp" */
    struct slice content_type;
    struct slice config_hash; /* of the preset */
    enum fn_status status;    /* FN_OK: fd holds the bytes */
    struct slice reason;
    int64_t bytes;
    int width, height;
    struct fn_cost cost; /* to make and encode it */
    int fd;              /* sealed memfd, -1 unless FN_OK; the holder of the result closes */
};

struct fn_answer { /* one function's part of a result */
    struct slice name;
    enum fn_status status;
    struct slice reason;
    struct fn_cost cost; /* of the function, its outputs included */
    struct fn_output *outputs;
    size_t output_count;
    struct fn_attr *attrs;
    size_t attr_count;
};

struct fn_result {
    int64_t id;
    int64_t rss_peak_bytes;
    struct fn_cost decode; /* up to the decoded picture; all functions share it */
    struct fn_answer answers[FN_PER_REQUEST_MAX];
    size_t answer_count;
};

struct fn_hello {
    int64_t pid;
    struct slice formats;  /* it reads: "jpeg png webp gif tiff avif heic" */
    struct slice optional; /* it would read if told to: "jxl svg" */
    struct slice refused;  /* it knows by name and does not read */
    struct slice written;  /* "webp jpeg png avif" */
    struct slice missing;  /* parts of the sandbox the kernel lacks; n = 0: none */
    struct slice problem;  /* n > 0: cannot work, and why ("loader list is short: no heif") */
};

/* Writers: into a fresh message; the source fd of a request goes with it. */
void fn_request_write(struct wire_msg *m, const struct fn_request *req, int source_fd);
void fn_result_write(struct wire_msg *m, const struct fn_result *res);
void fn_hello_write(struct wire_msg *m, const struct fn_hello *hello);
void fn_admit_write(struct wire_msg *m, int64_t id, int64_t memory_bytes);
void fn_grant_write(struct wire_msg *m, int64_t id);

/* Readers of a received message; slices are copied into the arena. ERR_INVALID for anything out of
 * bounds; then no descriptor is left open. */
int fn_request_read(struct wire_reader *r, struct arena *a, struct fn_request *req, int *source_fd);
/* Also checks against the request: same id, only functions that were called, each exactly once,
 * names in bounds, fds sealed memfds (F_GET_SEALS) of exactly `bytes`. */
int fn_result_read(struct wire_reader *r, struct arena *a, const struct fn_request *req,
                   struct fn_result *res);
int fn_hello_read(struct wire_reader *r, struct arena *a, struct fn_hello *hello);
int fn_admit_read(struct wire_reader *r, int64_t *id, int64_t *memory_bytes);
int fn_grant_read(struct wire_reader *r, int64_t *id);
/* Closes the outputs' descriptors. */
void fn_result_close(struct fn_result *res);

#endif
