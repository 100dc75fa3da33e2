/* Shared by tests of manifests: a folder for files, and the entries that reading a manifest gives. */
#ifndef VJ_TEST_MANIFEST_H
#define VJ_TEST_MANIFEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "pack/manifest.h"

enum { MOST = 16 };

static char folder[] = "/tmp/vjepa_manifest_XXXXXX";

/* The entries that the sink received. */
static struct {
    int count, dataset[MOST];
    char path[MOST][256], listed[MOST][256], id[MOST][256], key[MOST][256];
    double start_s[MOST], end_s[MOST];
    int32_t labels[MOST][VJ_MAX_LABELS];
} got;
static vj_media_names names;
static vj_class_names classes;

static inline vj_status take(void *user, const vj_media *m)
{
    (void)user;
    int n = got.count++;
    if (n >= MOST) return VJ_OK;
    got.dataset[n] = m->dataset;
    snprintf(got.path[n], 256, "%s", m->path);
    snprintf(got.listed[n], 256, "%s", m->listed);
    snprintf(got.id[n], 256, "%s", m->id);
    snprintf(got.key[n], 256, "%s", m->key);
    got.start_s[n] = m->start_s;
    got.end_s[n] = m->end_s;
    memcpy(got.labels[n], m->labels, sizeof got.labels[n]);
    return VJ_OK;
}

static inline void in_folder(char path[VJ_PATH], const char *name)
{
    snprintf(path, VJ_PATH, "%s/%s", folder, name);
}

static inline void write_bytes(const char *name, const char *text, size_t bytes)
{
    char path[VJ_PATH];
    in_folder(path, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, bytes, f), bytes);
    assert_int_equal(fclose(f), 0);
}

static inline void begin(void)
{
    memset(&got, 0, sizeof got);
    memset(&names, 0, sizeof names);
    vj_class_names_release(&classes);
    vj_class_names_init(&classes, folder);
}

static inline int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static inline int remove_folder(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

#endif
