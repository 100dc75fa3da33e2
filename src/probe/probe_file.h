/*
 * A trained probe as a file (docs/formats.md): its weights under their published names, the names of its classes, and
 * what it was trained on. A probe file can be inspected, measured again without training, and converted from and to
 * files of the published code (io/convert). Not collective: one rank writes, each reads for itself.
 */
#ifndef VJ_PROBE_PROBE_FILE_H
#define VJ_PROBE_PROBE_FILE_H

#include "clips/classes.h"
#include "probe/head.h"
#include "probe/predictions.h"
#include "probe/token_probe.h"

/** The value of the attribute "format". */
#define VJ_PROBE_FORMAT "vjepa-probe"

typedef struct {
    char path[VJ_PATH];
    vj_head_facts facts; /* what it was trained on; facts of a measurement (counted, failed, store_digest) are not
                            stored. probe_digest: of the weights, set by reading and writing */
    int width, heads;    /* heads: 0 with average pooling */
    int depth;           /* blocks in all */
    int on_tokens;  /* bool: the further blocks are on all tokens, before the pooling (V-JEPA 2); else on the query,
                       after it */
    int norm_last;  /* bool: vj_head_shape.norm_last */
    int64_t tokens; /* tokens of a sample in training */
    vj_clips_classes classes; /* names of the classes of facts.task; count 0: none. Borrowed when writing, owned by the
                                 struct after reading */
} vj_probe_file;

/** Compute the digest of the present weights, as it is stored in files and predictions (docs/formats.md). */
vj_status vj_head_digest(uint64_t *digest, vj_backend *be, vj_head *head);
vj_status vj_token_probe_digest(uint64_t *digest, vj_backend *be, const vj_token_probe *probe);

/** Set the members that describe the shape of a head, or of a probe with blocks on the tokens. Does not change facts,
 * classes and path. */
void vj_probe_file_of_head(vj_probe_file *file, const vj_head_shape *shape);
void vj_probe_file_of_token_probe(vj_probe_file *file, const vj_token_probe_shape *shape);

/**
 * Write file->path with the present weights, first under a temporary name; an existing file is replaced. file->facts
 * must be set, with class_digest that of file->classes. Sets file->facts.probe_digest. After a failure, which is
 * reported, there is no new file.
 */
vj_status vj_probe_file_write_head(vj_probe_file *file, vj_backend *be, vj_head *head);
vj_status vj_probe_file_write_token_probe(vj_probe_file *file, vj_backend *be, const vj_token_probe *probe);

/** Read all but the weights. VJ_ERR_FORMAT, reported, for impossible contents. Release also after a failure. */
vj_status vj_probe_file_open(vj_probe_file *file, const char *path);
void vj_probe_file_release(vj_probe_file *file);

/** Return the shape of a head for samples of `tokens` tokens and updates on `batch` samples; with on_tokens its depth
 * counts the blocks on the tokens. */
vj_head_shape vj_probe_file_head_shape(const vj_probe_file *file, int64_t tokens, int64_t batch);

/** Read the weights into a head or probe of the file's shape. VJ_ERR_FORMAT, reported, if a tensor is missing, of
 * another size or damaged. */
vj_status vj_probe_file_read_head(const vj_probe_file *file, vj_backend *be, vj_head *head);
vj_status vj_probe_file_read_token_probe(const vj_probe_file *file, vj_backend *be, vj_token_probe *probe);

/**
 * Refuse (VJ_ERR_USAGE) samples whose class numbers mean other classes than the probe's: `classes` of `label` in the
 * store `path`; see vj_clips_check_classes(). *compared becomes false if one of the two has no names, so that nothing
 * could be checked.
 */
vj_status vj_probe_file_check_classes(const vj_probe_file *file, const char *label, const vj_clips_classes *classes,
                                      const char *path, bool *compared);

/** Print what a probe is, its tensors and classes. */
vj_status vj_probe_file_print(const char *path, FILE *out);
/** Verify the checksums of all tensors, and their digest. *blocks gets their number, *damaged the number of wrong ones,
 * each of which is reported. */
vj_status vj_probe_file_verify(const char *path, int64_t *blocks, int64_t *damaged);
/** Compare two probes tensor by tensor and by the names of their classes; print the differences, then "N tensors equal,
 * M different". *different gets M, plus 1 if the classes differ. */
vj_status vj_probe_file_compare(const char *a, const char *b, FILE *out, int64_t *different);

#endif
