/*
 * The catalogue: every file of the manifests with its number, its source, as records in a file of the store's folder.
 * Rank 0 writes it while it reads the manifests, all ranks look sources up by number; none holds them in memory.
 * Files that are left out by their ids, or because they are listed twice, are sources too, with their verdict.
 */
#ifndef VJ_PACK_CATALOGUE_H
#define VJ_PACK_CATALOGUE_H

#include "base/config.h"
#include "pack/manifest.h"

/* What is known of a source before it is opened. */
typedef enum { VJ_SOURCE_TAKEN, VJ_SOURCE_HELD_OUT_ID, VJ_SOURCE_LISTED_TWICE } vj_source_fate;

enum { VJ_SOURCE_HELD_OUT = -1 }; /* the dataset of held-out videos: only their looks are wanted */

typedef struct {
    int32_t dataset;
    int32_t fate;          /* vj_source_fate */
    int64_t windows;       /* clips to make of it at most */
    int64_t first;         /* listed twice: the source that was listed first, else -1 */
    double start_s, end_s; /* negative: begin, end */
    int32_t labels[VJ_MAX_LABELS];
    char path[VJ_MEDIA_PATH];
} vj_source;

/* The same on all ranks; plain bytes, so that it can be broadcast. */
typedef struct {
    vj_media_names names;
    int64_t clips;                    /* at most, of the files that are not left out already */
    int64_t sources, held_out_videos; /* all; those whose dataset is VJ_SOURCE_HELD_OUT, the last ones */
    struct {
        int64_t files, held_out_ids, listed_twice;
        uint64_t digest; /* of its files as listed, with labels */
    } of_dataset[VJ_MAX_LIST];
    int64_t held_out_ids; /* entries of the lists of ids */
    uint64_t held_out_ids_digest, held_out_videos_digest;
    uint64_t digest; /* of everything else */
    struct {
        int64_t count;   /* 0: the label's numbers have no names */
        uint64_t digest; /* of the names in the order met, with their numbers */
    } classes[VJ_MAX_LABELS];
} vj_catalogue_summary;

/**
 * Read all manifests of config->pack and the lists of held-out ids; write the catalogue into the folder `dir`, or only
 * count (dir NULL). `classes` gets the names of classes, settled; the caller inits and releases it. Scratch files in
 * `scratch`. Bounded memory but for the names of classes. Not collective: one rank does it.
 */
vj_status vj_catalogue_build(vj_catalogue_summary *summary, vj_class_names *classes, const vj_config *config,
                             const char *dir, const char *scratch);

/** Remove the files of a catalogue; that there are none is no error. */
void vj_catalogue_remove(const char *dir);

typedef struct {
    int data, index; /* descriptors */
    int64_t sources;
    char dir[VJ_PATH];
} vj_catalogue;

/** Open to look sources up. Local. Close in any case. */
vj_status vj_catalogue_open(vj_catalogue *catalogue, const char *dir, int64_t sources);
vj_status vj_catalogue_find(const vj_catalogue *catalogue, int64_t source, vj_source *found);
void vj_catalogue_close(vj_catalogue *catalogue);

#endif
