/* The classes of one task, and what features say of them: between the command (classes.c) and its mathematics. */
#ifndef VJ_SPECTRUM_CLASSES_H
#define VJ_SPECTRUM_CLASSES_H

#include "linear/matrix.h"
#include "spectrum/parts.h"

/* The classes of a label that have two clips or more, in ascending order of their numbers; the others are left out. */
typedef struct {
    const char *name; /* of the label. Borrowed */
    int label, count; /* its number; C */
    int32_t *number;  /* [C] the label's value */
    int64_t *clips;   /* [C] */
    int64_t all;      /* clips of these classes */
    int values;       /* 1 + the largest label */
    int32_t *place;   /* [values] number to 0 ... C - 1; -1: left out, or no clip has it */
    int64_t *counted; /* [values] clips of every value */
} vj_task;

/** Count the classes of a label. VJ_ERR_FORMAT if fewer than two have two clips. Release in any case. */
vj_status vj_task_init(vj_task *task, const vj_source *source, int label);
void vj_task_release(vj_task *task);

/* What one representation says of one task (docs/method.md, section 15.3). */
typedef struct {
    double within, between, total;    /* variance: sums over the features' components, means over clips */
    double ratio, signal_to_noise;    /* between / within; of the variance components */
    double nc1, nc2_norms;            /* tr(Sw pinv(Sb)) / C; coefficient of variation of the centred means' norms */
    double nc2_cosine, nc2_deviation; /* mean and standard deviation of their cosines */
    double nc4;                       /* share of clips whose nearest class mean is their own's */
    double *class_within;             /* [C] variance inside each class. Owned, as what follows */
    int32_t *nearest;                 /* [C] place of the class whose mean is nearest */
    double *nearest_distance;         /* [C] */
} vj_class_measures;

/* The state of both passes. */
typedef struct vj_class_pass vj_class_pass;

/** `task` is borrowed; D: width. Not collective. Free with vj_class_pass_destroy(). */
vj_status vj_class_pass_create(vj_class_pass **pass, const vj_task *task, int D);
void vj_class_pass_destroy(vj_class_pass *pass);
/** Bytes that one takes on each rank. */
int64_t vj_class_pass_bytes(const vj_task *task, int D);

/** First pass: add rows x [count, D] of clips with labels[i * stride]; then make the means of all ranks' rows. */
void vj_class_pass_add(vj_class_pass *pass, const float *x, const int32_t *labels, int64_t stride, int64_t count);
/** Collective, agreed. */
vj_status vj_class_pass_means(vj_class_pass *pass, MPI_Comm comm, vj_ranks *ranks);

/** Second pass: the same rows again; then the results of all ranks. */
void vj_class_pass_scatter(vj_class_pass *pass, const float *x, const int32_t *labels, int64_t stride, int64_t count);
/** `measures`: release with vj_class_measures_release(). Collective, agreed. */
vj_status vj_class_pass_finish(vj_class_pass *pass, MPI_Comm comm, vj_class_measures *measures);
void vj_class_measures_release(vj_class_measures *measures);

#endif
