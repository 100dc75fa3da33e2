/* Reads configuration files. Settings that were read are printed as a text that reads back to the same settings, and
 * checking them twice changes nothing. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

static vj_config defaults;
static char path[VJ_PATH];

void vj_fuzz_begin(void)
{
    vj_config_defaults(&defaults);
    vj_fuzz_path(path, "input.yaml");
}

static void compare(const vj_config *a, const vj_config *b)
{
    VJ_FUZZ_CHECK(memcmp(a, b, offsetof(vj_config, origin)) == 0);
}

static void check_round_trip(const vj_config *config)
{
    static vj_config again;
    char *text = vj_config_text(config);
    VJ_FUZZ_CHECK(text);
    again = defaults;
    VJ_FUZZ_CHECK(vj_fuzz_told(vj_config_parse(&again, "printed", text)) == VJ_OK);
    compare(config, &again);
    free(text);
}

void vj_fuzz_input(const uint8_t *data, size_t size)
{
    static vj_config config, again;
    vj_fuzz_write(path, data, size);
    config = defaults;
    if (vj_fuzz_told(vj_config_read(&config, path)) != VJ_OK) return;
    check_round_trip(&config);
    if (vj_fuzz_told(vj_config_check(&config)) != VJ_OK) return;
    check_round_trip(&config);
    again = config;
    VJ_FUZZ_CHECK(vj_config_check(&again) == VJ_OK);
    compare(&config, &again);
}

void vj_fuzz_seeds(void (*seed)(const uint8_t *data, size_t size))
{
    char *text = vj_config_text(&defaults);
    VJ_FUZZ_CHECK(text);
    seed((const uint8_t *)text, strlen(text));
    free(text);
    vj_fuzz_seed_files("jobs/configs/*.yaml", seed);
    vj_fuzz_seed_files("tests/data/*.yaml", seed);
}
