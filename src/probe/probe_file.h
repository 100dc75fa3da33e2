/*
 * A trained probe as a file (docs/formats.md): its weights under their published names, the names of its classes, and
 * what it was trained on. Such files are kept, inspected, measured without training, and converted from and to those of
 * the published code (io/convert). Not collective: one rank writes, each reads for itself.
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
    vj_head_facts facts; /* what it was trained on; of its measuring (counted, failed, store_digest) nothing is kept.
                            probe_digest: of the weights, filled in by reading and writing */
    int width, heads;    /* heads: 0 with average pooling */
    int depth;           /* blocks in all */
    int on_tokens;       /* bool: blocks on all tokens come first (V-JEPA 2); else they follow on the query */
    int norm_last;       /* bool: vj_head_shape.norm_last */
    int64_t tokens;      /* of a sample in training */
    vj_clips_classes classes; /* names of the classes of facts.task; count 0: none. Borrowed when writing, owned by the
                                 struct after reading */
} vj_probe_file;

/** The digest of the present weights, as files and predictions have it (docs/formats.md). */
vj_status vj_head_digest(uint64_t *digest, vj_backend *be, vj_head *head);
vj_status vj_token_probe_digest(uint64_t *digest, vj_backend *be, const vj_token_probe *probe);

/** Describe a head, or a probe with blocks on the tokens. Facts, classes and path stay as they are. */
void vj_probe_file_of_head(vj_probe_file *file, const vj_head_shape *shape);
void vj_probe_file_of_token_probe(vj_probe_file *file, const vj_token_probe_shape *shape);

/**
 * Write file->path, aside first, with the present weights; an existing file is replaced. file->facts must be filled in;
 * class_digest is that of file->classes. *file gets probe_digest. VJ_ERR_IO and so on, reported; then no file is left.
 */
vj_status vj_probe_file_write_head(vj_probe_file *file, vj_backend *be, vj_head *head);
vj_status vj_probe_file_write_token_probe(vj_probe_file *file, vj_backend *be, const vj_token_probe *probe);

/** Read all but the weights. VJ_ERR_FORMAT, reported, for what cannot be. Release also after a failure. */
vj_status vj_probe_file_open(vj_probe_file *file, const char *path);
void vj_probe_file_release(vj_probe_file *file);

/** The shape of a head for samples of so many tokens and updates on so many samples; with on_tokens its depth counts
 * the blocks on the tokens. Of a probe that is on_tokens likewise. */
vj_head_shape vj_probe_file_head_shape(const vj_probe_file *file, int64_t tokens, int64_t batch);
vj_token_probe_shape vj_probe_file_token_shape(const vj_probe_file *file, int64_t tokens);

/** Read the weights into a head or probe of the file's shape. VJ_ERR_FORMAT, reported, if a tensor is missing, of
 * another size or damaged. */
vj_status vj_probe_file_read_head(const vj_probe_file *file, vj_backend *be, vj_head *head);
vj_status vj_probe_file_read_token_probe(const vj_probe_file *file, vj_backend *be, vj_token_probe *probe);

/**
 * Refuse (VJ_ERR_USAGE) samples whose class numbers mean other classes than the probe's: `classes` of `label` in the
 * store `path`; see vj_clips_check_classes(). *compared: false if one of both has no names, and nothing could be
 * checked.
 */
vj_status vj_probe_file_check_classes(const vj_probe_file *file, const char *label, const vj_clips_classes *classes,
                                      const char *path, bool *compared);

/** Print what a probe is, its tensors and classes. */
vj_status vj_probe_file_print(const char *path, FILE *out);
/** Verify the checksums of all tensors, and their digest: *blocks, their number; *damaged, those that do not fit, each
 * reported. */
vj_status vj_probe_file_verify(const char *path, int64_t *blocks, int64_t *damaged);
/** Compare two probes tensor by tensor and by the names of their classes; print what differs, then "N tensors equal, M
 * different". *different: how many, plus 1 if the classes differ. */
vj_status vj_probe_file_compare(const char *a, const char *b, FILE *out, int64_t *different);

#endif
