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

#include "folder.h"
#include "pack/manifest.h"

enum { MAX_ENTRIES = 16 };

/* The entries that the sink received. */
static struct {
    int count, dataset[MAX_ENTRIES];
    char path[MAX_ENTRIES][256], listed[MAX_ENTRIES][256], id[MAX_ENTRIES][256], key[MAX_ENTRIES][256];
    double start_s[MAX_ENTRIES], end_s[MAX_ENTRIES];
    int32_t labels[MAX_ENTRIES][VJ_MAX_LABELS];
} got;
static vj_media_names names;
static vj_class_names classes;

static inline vj_status take(void *user, const vj_media *m)
{
    (void)user;
    int n = got.count++;
    if (n >= MAX_ENTRIES) return VJ_OK;
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

#endif
