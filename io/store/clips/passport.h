/* Reads the passport of a store: what became of the files that it was made from. write.h writes it. */
#ifndef VJ_CLIPS_PASSPORT_H
#define VJ_CLIPS_PASSPORT_H

#include "clips/write.h"

typedef struct {
    bool there; /* the index has one; otherwise only code, config and the names of data sets are set */
    int datasets, verdicts;
    char dataset[VJ_MAX_DATASETS][VJ_DATASET_NAME], verdict[VJ_MAX_VERDICTS][VJ_VERDICT_NAME];
    int64_t files[VJ_MAX_DATASETS * VJ_MAX_VERDICTS],
        clips[VJ_MAX_DATASETS * VJ_MAX_VERDICTS]; /* [datasets, verdicts] */
    int64_t duplicates, held_out;                 /* files left out as copies, and as copies of held-out videos */
    uint64_t manifests, exclusions;               /* digests of the lists */
    char *summary, *code, *config;                /* owned; summary is NULL without a passport */
} vj_clips_passport;

/**
 * Read it from DIR/index.h5; the shards are not looked at. *passport is allocated; free it with
 * vj_clips_passport_free(), also after a failure. Not collective.
 */
vj_status vj_clips_passport_read(vj_clips_passport **passport, const char *dir);
void vj_clips_passport_free(vj_clips_passport *passport);

#endif
