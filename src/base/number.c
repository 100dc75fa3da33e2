/* Numbers from text, and as text. */
#include "base/number.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>

bool vj_parse_whole(const char *text, int64_t low, int64_t high, int64_t *value)
{
    char *end;
    if (isspace((unsigned char)*text)) return false; /* which strtoll() would skip */
    errno = 0;
    const long long number = strtoll(text, &end, 10);
    if (end == text || *end || errno != 0 || number < low || number > high) return false;
    *value = number;
    return true;
}

bool vj_parse_real(const char *text, double *value)
{
    char *end;
    if (isspace((unsigned char)*text)) return false;
    const double number = strtod(text, &end);
    if (end == text || *end || !isfinite(number)) return false;
    *value = number;
    return true;
}

int vj_parse_list(const char *text, int64_t low, int64_t high, int64_t *values, int capacity)
{
    for (int count = 0; count < capacity;) {
        char *end;
        errno = 0;
        const long long number = strtoll(text, &end, 10);
        if (end == text || errno != 0 || number < low || number > high) return -1;
        values[count++] = number;
        if (*end == '\0') return count;
        if (*end != ',') return -1;
        text = end + 1;
    }
    return -1;
}

void vj_print_real(FILE *out, double value, int digits)
{
    char text[40];
    for (; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    fputs(text, out);
}

vj_status vj_option_number(const char *option, const char *text, int64_t low, int64_t high, int64_t *value)
{
    if (!text || vj_parse_whole(text, low, high, value)) return VJ_OK;
    return vj_raise(VJ_ERR_USAGE, "%s %s: expected a whole number from %lld to %lld", option, text, (long long)low,
                    (long long)high);
}

vj_status vj_option_positive(const char *option, const char *text, double *value)
{
    if (!text || (vj_parse_real(text, value) && *value > 0.0)) return VJ_OK;
    return vj_raise(VJ_ERR_USAGE, "%s %s: expected a number above 0", option, text);
}
