/*
 * The body of a browser's form upload, multipart/form-data, read as it arrives: the fields before
 * the file are kept, the file's bytes go on at once, fields behind it are ignored.
 *
 * https://www.rfc-editor.org/rfc/rfc7578 (the form), https://www.rfc-editor.org/rfc/rfc2046
 * section 5.1.1 (delimiters); https://docs.aws.amazon.com/AmazonS3/latest/API/
 * sigv4-HTTPPOSTForms.html: one file, the last field that counts; everything else together at most
 * 20 KB; field names without regard to case.
 *
 * No system call, no clock; one thread at a time; memory comes from the caller's arena and two
 * bounded buffers.
 */
#ifndef DARKROOM_OBJECTSTORE_POST_FORM_H
#define DARKROOM_OBJECTSTORE_POST_FORM_H

#include "base/http.h"

#define POST_FORM_BYTES_MAX (20u << 10) /* everything but the file's content */
#define POST_FORM_FIELDS_MAX 100
#define POST_FORM_BOUNDARY_MAX 70 /* RFC 2046 section 5.1.1 */

enum post_form_fault {
    POST_FORM_OK,
    POST_FORM_MALFORMED,
    POST_FORM_TOO_LARGE, /* POST_FORM_BYTES_MAX, or too many fields */
    POST_FORM_TWO_FILES,
    POST_FORM_NOMEM,
    POST_FORM_STOPPED /* a callback said so */
};

struct post_form_sink {
    void *arg;
    /* Every field before the file has been read. False: stop. */
    bool (*begin)(void *arg);
    bool (*bytes)(void *arg, const void *p, size_t n);
};

struct post_form;

/* The boundary of a Content-Type; n = 0: it is not multipart/form-data (`*is_form` false), or one
 * without a usable boundary. Copied into the arena when it was quoted. */
struct slice post_form_boundary(struct arena *a, struct slice content_type, bool *is_form);

/* In the arena; NULL at its ceiling. post_form_fini() before the arena goes. */
struct post_form *post_form_new(struct arena *a, struct slice boundary,
                                const struct post_form_sink *sink);
void post_form_fini(struct post_form **f);
/* A fault sticks: later calls return it without looking at the bytes. */
enum post_form_fault post_form_feed(struct post_form *f, const void *bytes, size_t n);
/* The body is complete: POST_FORM_MALFORMED without its closing delimiter. */
enum post_form_fault post_form_end(struct post_form *f);

/* The fields so far, in the order they came; those of one name are joined by "," as S3 does. Lent;
 * the caller may change them. */
struct http_field *post_form_fields(struct post_form *f, size_t *count);
bool post_form_has_file(const struct post_form *f);
/* As sent, without directories; p = NULL when the file came without a name. */
struct slice post_form_filename(const struct post_form *f);

#endif
