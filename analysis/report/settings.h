/*
 * Settings as a flat list of "section.key" and values as texts, from the YAML of a run of any version. Nothing is
 * checked, so settings that this version does not know are included.
 */
#ifndef VJ_REPORT_SETTINGS_H
#define VJ_REPORT_SETTINGS_H

#include "report/files.h"

typedef struct {
    char **keys, **values; /* [count], in the order of the file */
    int count;
} vj_flat_settings;

/**
 * Read YAML from a text or a file. `name` is the file, for problems. Returns false and adds a problem if it is not a
 * YAML map; what was read before the error is kept. Release the settings with vj_flat_settings_release(). Prints
 * nothing. Two threads must not use the same object.
 */
bool vj_flat_settings_parse(vj_flat_settings *settings, const char *text, const char *name, vj_problems *problems);
bool vj_flat_settings_read(vj_flat_settings *settings, const char *path, vj_problems *problems);
void vj_flat_settings_release(vj_flat_settings *settings);

/** Return the value of a key as text; NULL if there is no such key. */
const char *vj_flat_settings_find(const vj_flat_settings *settings, const char *key);
/** Return the value of a key as a number; `fallback` if there is no such key or it is not a number. */
double vj_flat_settings_number(const vj_flat_settings *settings, const char *key, double fallback);

#endif
