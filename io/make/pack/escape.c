/* Escapes and unescapes file names. */
#include "pack/escape.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Return the length of the UTF-8 character at `s` if it needs no escape; 0: escape one byte. */
static int plain_character(const unsigned char *s)
{
    if (s[0] < 0x80) return s[0] >= 0x20 && s[0] != 0x7f && s[0] != '\\';
    int length = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4) return 0;
    for (int i = 1; i < length; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if (s[0] == 0xc2 && s[1] < 0xa0) return 0;                                      /* C1 controls */
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90)) return 0;   /* overlong encodings */
    if ((s[0] == 0xed && s[1] >= 0xa0) || (s[0] == 0xf4 && s[1] >= 0x90)) return 0; /* surrogates, beyond Unicode */
    return length;
}

char *vj_escape(const char *text)
{
    char *escaped = malloc(4 * strlen(text) + 1), *to = escaped;
    if (!escaped) return NULL;
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        int length = plain_character(s);
        if (length > 0) {
            memcpy(to, s, (size_t)length);
            to += length;
            s += length;
        } else {
            to += *s == '\\' ? sprintf(to, "\\\\") : sprintf(to, "\\x%02x", *s);
            s++;
        }
    }
    *to = '\0';
    return escaped;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

int vj_unescape(const char *escaped, char *text, size_t bytes)
{
    size_t n = 0;
    for (const char *s = escaped; *s; s++, n++) {
        if (n + 1 >= bytes) return 0;
        text[n] = *s;
        if (*s != '\\') continue;
        if (*++s == '\\') continue;
        int high = *s == 'x' ? hex_digit(s[1]) : -1, low = high >= 0 ? hex_digit(s[2]) : -1;
        if (low < 0 || high + low == 0) return 0;
        text[n] = (char)(16 * high + low);
        s += 2;
    }
    text[n] = '\0';
    return 1;
}
