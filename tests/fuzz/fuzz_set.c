/* Applies the values of --set options, one in each line, until one is refused. */
#include <stdlib.h>
#include <string.h>

#include "base/settings.h"
#include "fuzz.h"

static vj_config defaults;

void vj_fuzz_begin(void)
{
    vj_config_defaults(&defaults);
}

void vj_fuzz_input(const uint8_t *data, size_t size)
{
    static vj_config config, again;
    char *all = malloc(size + 1), *rest = all, *line;
    VJ_FUZZ_CHECK(all);
    if (size) memcpy(all, data, size);
    all[size] = '\0';
    config = defaults;
    vj_status status = VJ_OK;
    while (status == VJ_OK && (line = strsep(&rest, "\n")) != NULL) status = vj_fuzz_told(vj_config_set(&config, line));
    free(all);
    if (status != VJ_OK) return;
    char *text = vj_config_text(&config);
    again = defaults;
    VJ_FUZZ_CHECK(text && vj_fuzz_told(vj_config_parse(&again, "printed", text)) == VJ_OK);
    VJ_FUZZ_CHECK(memcmp(&config, &again, offsetof(vj_config, origin)) == 0);
    free(text);
    vj_fuzz_told(vj_config_check(&config));
}

/* Each setting with its default. */
void vj_fuzz_seeds(void (*seed)(const uint8_t *data, size_t size))
{
    char line[512];
    for (int i = 0; i < vj_settings_count; i++) {
        int bytes = snprintf(line, sizeof line, "%s=%s", vj_settings[i].key, vj_settings[i].initial);
        VJ_FUZZ_CHECK(bytes < (int)sizeof line);
        seed((const uint8_t *)line, (size_t)bytes);
    }
}
