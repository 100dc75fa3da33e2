/* Reads one section of the settings from a separate file, such as the description of a machine. */
#include <stdlib.h>
#include <string.h>

#include "base/settings.h"

/* Copy the section from `other`, which was read from `path` and must not have given settings of other sections. */
static vj_status take_section(vj_config *config, const vj_config *other, const char *path, const char *section)
{
    const size_t length = strlen(section);
    for (int i = 0; i < vj_settings_count; i++) {
        const vj_setting *row = &vj_settings[i];
        const int line = other->origin.line[i];
        const bool inside = strncmp(row->key, section, length) == 0 && row->key[length] == '.';
        if (!inside && line != 0)
            return vj_raise(VJ_ERR_USAGE, "%s:%d: %s: only settings of %s are read from this file", path, line,
                            row->key, section);
        if (!inside || config->origin.line[i] < 0) continue;
        VJ_ASSERT(row->type != VJ_SET_GENERATORS && row->type != VJ_SET_SHARES); /* which have a count beside them */
        memcpy((char *)config + row->at, (const char *)other + row->at, row->bytes);
        config->origin.line[i] = line;
    }
    return VJ_OK;
}

vj_status vj_config_read_section(vj_config *config, const char *path, const char *section)
{
    vj_config *other = malloc(sizeof *other);
    if (!other) return vj_raise(VJ_ERR_MEMORY, "no memory to read %s", path);
    vj_config_defaults(other);
    vj_status status = vj_config_read(other, path);
    if (status == VJ_OK) status = take_section(config, other, path, section);
    free(other);
    return status;
}
