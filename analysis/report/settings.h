/*
 * Settings as a flat list, "section.key" and value as text, from the YAML of a run of any version: nothing is checked,
 * so settings that this version does not know are there too.
 */
#ifndef VJ_REPORT_SETTINGS_H
#define VJ_REPORT_SETTINGS_H

#include "report/files.h"

typedef struct {
    char **keys, **values; /* [count], in the order of the file */
    int count;
} vj_flat_settings;

/**
 * Read YAML. `name` is the file, for problems. Returns false, with a problem, if it is no YAML map; what was read
 * before the mistake stays. Release with vj_flat_settings_release(). Prints nothing; not to be called by two threads
 * for the same object.
 */
bool vj_flat_settings_parse(vj_flat_settings *settings, const char *text, const char *name, vj_problems *problems);
bool vj_flat_settings_read(vj_flat_settings *settings, const char *path, vj_problems *problems);
void vj_flat_settings_release(vj_flat_settings *settings);

/** Value of a key as text; NULL: it is not there. */
const char *vj_flat_settings_find(const vj_flat_settings *settings, const char *key);
/** As a number; `fallback` if it is not there or no number. */
double vj_flat_settings_number(const vj_flat_settings *settings, const char *key, double fallback);

#endif
