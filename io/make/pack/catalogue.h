/*
 * The catalogue: a file in the store's folder with one record for every file of the manifests. A manifest file is
 * called a source here and is identified by its number. Rank 0 writes the catalogue while it reads the manifests; all
 * ranks look sources up by number, without holding the catalogue in memory. Files that are excluded by id, or listed
 * twice, are sources too; the member `exclusion` says so.
 */
#ifndef VJ_PACK_CATALOGUE_H
#define VJ_PACK_CATALOGUE_H

#include "base/config.h"
#include "pack/manifest.h"

/* Whether a source is to be packed, as known before its file is opened. */
typedef enum { VJ_SOURCE_TAKEN, VJ_SOURCE_HELD_OUT_ID, VJ_SOURCE_LISTED_TWICE } vj_pack_exclusion;

enum { VJ_SOURCE_HELD_OUT = -1 }; /* dataset number of held-out videos, for which only perceptual hashes are computed */

typedef struct {
    int32_t dataset;
    int32_t exclusion;     /* vj_pack_exclusion */
    int64_t windows;       /* clips to make of this source, at most */
    int64_t first;         /* for VJ_SOURCE_LISTED_TWICE, the source that was listed first; else -1 */
    double start_s, end_s; /* part to take, in seconds; negative: from the beginning, to the end */
    int32_t labels[VJ_MAX_LABELS];
    char path[VJ_MEDIA_PATH];
} vj_pack_source;

/* Summary of the catalogue, the same on all ranks; has no pointers, so that it can be broadcast as bytes. */
typedef struct {
    vj_media_names names;
    int64_t clips;                    /* upper limit of the clips of all sources that are not excluded */
    int64_t sources, held_out_videos; /* all; those of dataset VJ_SOURCE_HELD_OUT, numbered last */
    struct {
        int64_t files, held_out_ids, listed_twice;
        uint64_t digest; /* digest of the dataset's files as listed, with labels */
    } of_dataset[VJ_MAX_LIST];
    int64_t held_out_ids; /* number of entries in the lists of held-out ids */
    uint64_t held_out_ids_digest, held_out_videos_digest;
    uint64_t digest; /* digest of all other fields */
    struct {
        int64_t count;   /* 0: the label's numbers have no names */
        uint64_t digest; /* digest of the names in the order in which they were first read, with their numbers */
    } classes[VJ_MAX_LABELS];
} vj_catalogue_summary;

/**
 * Read all manifests of config->pack and the lists of held-out ids, and write the catalogue into the folder `dir`; if
 * dir is NULL, only count. `classes` receives the class names with their final numbers; the caller inits and releases
 * it. Scratch files go to the folder `scratch`. Memory is bounded, except for the class names. Not collective: one rank
 * does it.
 */
vj_status vj_catalogue_build(vj_catalogue_summary *summary, vj_class_names *classes, const vj_config *config,
                             const char *dir, const char *scratch);

/** Remove the files of a catalogue; not an error if there are none. */
void vj_catalogue_remove(const char *dir);

typedef struct {
    int data, index; /* descriptors */
    int64_t sources;
    char dir[VJ_PATH];
} vj_catalogue;

/** Open a catalogue to look sources up. Not collective. Call vj_catalogue_close() also after a failure. */
vj_status vj_catalogue_open(vj_catalogue *catalogue, const char *dir, int64_t sources);
vj_status vj_catalogue_find(const vj_catalogue *catalogue, int64_t source, vj_pack_source *found);
void vj_catalogue_close(vj_catalogue *catalogue);

#endif
