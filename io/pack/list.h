/*
 * Media lists. Two forms: CSV after RFC 4180 with a header `path,LABEL,...`, or lines `path label` without a header
 * (the published form, label called "label"; the last blank divides). Paths are relative to the list's folder.
 */
#ifndef VJ_PACK_LIST_H
#define VJ_PACK_LIST_H

#include <mpi.h>

#include "base/config.h"
#include "clips/clips.h"

typedef struct {
    int64_t count;
    char **path;     /* [count], ready to open; owned */
    int32_t *labels; /* [count, label_count], -1: none; owned */
    int label_count;
    char label_names[VJ_MAX_LABELS][VJ_LABEL_NAME];
    uint64_t digest; /* of the lists' bytes, not of their names */
    int64_t room;
} vj_media_list;

/**
 * Read all lists, one after another; their labels must agree. Rank 0 reads the files, all ranks get the contents.
 * Errors name list and line. Collective. Free with vj_media_list_release(), also after a failure.
 */
vj_status vj_media_list_read(vj_media_list *list, const vj_strings *paths, MPI_Comm comm);
void vj_media_list_release(vj_media_list *list);

/** Parse one list held in memory, which is changed; `name` gives the folder and stands in errors. Local. */
vj_status vj_media_list_parse(vj_media_list *list, const char *name, char *text, int64_t bytes);

#endif
