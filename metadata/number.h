/*
 * DynamoDB's numbers: 38 decimal digits, magnitude 1e-130 .. 9.99...e125, exact. Between the text
 * of item.h and the key bytes of key.h.
 */
#ifndef DARKROOM_METADATA_NUMBER_H
#define DARKROOM_METADATA_NUMBER_H

#include "metadata/item.h"

#define NUMBER_EXP_MIN (-130)
#define NUMBER_EXP_MAX 125
#define NUMBER_TEXT_MAX 192  /* "-0." + 129 zeros + 38 digits + NUL */
#define NUMBER_INPUT_MAX 512 /* bytes of text worth reading */

/* +-d0.d1d2d3... * 10^exp; d0 and the last digit are not 0. n = 0 is the number zero. */
struct number {
    bool negative;
    int exp;
    int n;
    uint8_t digits[ITEM_NUMBER_DIGITS_MAX];
};

/* ERR_INVALID: no number. ERR_TOOBIG: more than 38 significant digits. ERR_RANGE: out->exp tells
 * overflow (> 0) from underflow (< 0). */
int number_parse(struct slice text, struct number *out);
/* Canonical text: no exponent, no sign on zero, no needless zeros. Returns its length. */
size_t number_text(const struct number *v, char out[NUMBER_TEXT_MAX]);
int number_order(const struct number *a, const struct number *b);
/* Exact, or ERR_TOOBIG / ERR_RANGE as above. */
int number_add(const struct number *a, const struct number *b, struct number *out);

#endif
