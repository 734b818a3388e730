#include "objectstore/encoded_word.h"
#include "base/digest.h"
#include "base/err.h"

#define UTF8_Q "=?UTF-8?Q?"
#define UTF8_B "=?UTF-8?B?"
#define WORD_END "?="

/* ---- decoding ---- */

static void
put_latin1(struct buf *out, struct slice text)
{
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c >= 0x80)
            buf_putc(out, (char)(0xc0 | c >> 6));
        buf_putc(out, (char)(c >= 0x80 ? 0x80 | (c & 0x3f) : c));
    }
}

static bool
decode_q(struct slice text, struct buf *out)
{
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (c == '=') {
            if (text.n - i < 3 || hex_decode(slice_of(text.p + i + 1, 2), &c, 1) != ERR_NONE)
                return false;
            i += 2;
        } else if (c == '_') {
            c = ' ';
        }
        buf_putc(out, c);
    }
    return true;
}

/* What stands between "=?" and "?=": charset, encoding, text; false: no encoded-word. */
static bool
decode_inside(struct slice inside, struct buf *out)
{
    struct slice rest, text, charset = slice_cut(inside, '?', &rest);
    struct slice encoding = slice_cut(rest, '?', &text);
    bool utf8 = slice_ieqs(charset, "utf-8"), q = slice_ieqs(encoding, "Q");
    struct buf bytes;
    if (text.n == 0 || memchr(text.p, '?', text.n) != NULL || memchr(text.p, ' ', text.n) != NULL ||
        !(utf8 || slice_ieqs(charset, "iso-8859-1") || slice_ieqs(charset, "us-ascii")) ||
        !(q || slice_ieqs(encoding, "B")))
        return false;
    buf_init(&bytes, text.n);
    bool good = q ? decode_q(text, &bytes) : base64_decode(&bytes, text) == ERR_NONE;
    good = good && bytes.err == ERR_NONE && (!utf8 || slice_is_utf8(buf_slice(&bytes)));
    if (good && utf8)
        buf_put_slice(out, buf_slice(&bytes));
    else if (good)
        put_latin1(out, buf_slice(&bytes));
    buf_fini(&bytes);
    return good;
}

/* Nothing but encoded-words with blanks between them. */
static bool
decode_words(struct slice value, struct buf *out)
{
    while (value.n > 0) {
        struct slice rest, word = slice_cut(value, ' ', &rest);
        if (word.n < 4 || !slice_starts(word, SLICE_LIT("=?")) ||
            !slice_eqs(slice_skip(word, word.n - 2), WORD_END) ||
            !decode_inside(slice_of(word.p + 2, word.n - 4), out))
            return false;
        value = slice_trim(rest);
    }
    return true;
}

void
encoded_word_decode(struct slice value, struct buf *out)
{
    struct buf words;
    if (value.n >= 4 && slice_starts(value, SLICE_LIT("=?"))) {
        buf_init(&words, 2 * value.n);
        bool good = decode_words(value, &words) && words.err == ERR_NONE;
        if (good)
            buf_put_slice(out, buf_slice(&words));
        buf_fini(&words);
        if (good)
            return;
    }
    put_latin1(out, value);
}

/* ---- encoding ---- */

static bool
is_plain(char c)
{
    return ((unsigned char)c >= ' ' && (unsigned char)c < 0x7f) || c == '\t';
}

bool
encoded_word_needed(struct slice utf8)
{
    for (size_t i = 0; i < utf8.n; i++) {
        if (!is_plain(utf8.p[i]))
            return true;
    }
    return false;
}

/* More plain characters than others? */
static bool
mostly_plain(struct slice utf8)
{
    size_t plain = 0, others = 0;
    for (size_t i = 0; i < utf8.n; i++) {
        if (is_plain(utf8.p[i]))
            plain++;
        else if (((unsigned char)utf8.p[i] & 0xc0) != 0x80) /* the first byte of a character */
            others++;
    }
    return plain > others;
}

static void
put_q(struct buf *out, struct slice utf8)
{
    char hex[3];
    for (size_t i = 0; i < utf8.n; i++) {
        char c = utf8.p[i];
        if (c == ' ') {
            buf_putc(out, '_');
        } else if (is_plain(c) && c != '\t' && c != '=' && c != '_' && c != '?') {
            buf_putc(out, c);
        } else {
            hex_encode(&c, 1, hex);
            buf_printf(out, "=%c%c", hex[0] >= 'a' ? hex[0] - 'a' + 'A' : hex[0],
                       hex[1] >= 'a' ? hex[1] - 'a' + 'A' : hex[1]);
        }
    }
}

void
encoded_word_encode(struct slice utf8, struct buf *out)
{
    bool q = mostly_plain(utf8);
    buf_puts(out, q ? UTF8_Q : UTF8_B);
    if (q)
        put_q(out, utf8);
    else
        base64_encode(out, utf8.p, utf8.n);
    buf_puts(out, WORD_END);
}
