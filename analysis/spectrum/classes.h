/* The classes of one task, and measures of how features separate them: the interface between the command (classes.c)
 * and its mathematics (class_pass.c). */
#ifndef VJ_SPECTRUM_CLASSES_H
#define VJ_SPECTRUM_CLASSES_H

#include "linear/matrix.h"
#include "spectrum/parts.h"

/* The classes of a label that have at least two clips, in ascending order of their numbers. Others are left out. */
typedef struct {
    const char *name; /* of the label. Borrowed */
    int label, count; /* index of the label; C, the number of classes */
    int32_t *number;  /* [C] label value of each class */
    int64_t *clips;   /* [C] clips of each class */
    int64_t all;      /* clips of all these classes */
    int values;       /* 1 + the largest label value */
    int32_t *place;   /* [values] index of the class, 0 ... C - 1, of a label value; -1: left out, or no clip has it */
    int64_t *counted; /* [values] clips with each label value */
} vj_task;

/* The measures of one representation and one task (docs/method.md, section 15.3). */
typedef struct {
    double within, between, total;    /* variance: sums over the features' components, means over clips */
    double ratio, signal_to_noise;    /* between / within; of the variance components */
    double nc1, nc2_norms;            /* tr(Sw pinv(Sb)) / C; coefficient of variation of the centred means' norms */
    double nc2_cosine, nc2_deviation; /* mean and standard deviation of the cosines between centred means */
    double nc4;                       /* share of clips whose nearest class mean is that of their own class */
    double *class_within;             /* [C] variance within each class. Owned, like the next two */
    int32_t *nearest;                 /* [C] index of the class whose mean is nearest */
    double *nearest_distance;         /* [C] distance to that mean */
} vj_class_measures;

/* The state of the two passes over the features. */
typedef struct vj_class_pass vj_class_pass;

/** Create the state. `task` is borrowed; D is the width. Free it with vj_class_pass_destroy(). Not collective. */
vj_status vj_class_pass_create(vj_class_pass **pass, const vj_task *task, int D);
void vj_class_pass_destroy(vj_class_pass *pass);
/** Return the bytes that a vj_class_pass needs on each rank. */
int64_t vj_class_pass_bytes(const vj_task *task, int D);

/** First pass: add rows x [count, D] of clips, where clip i has the label labels[i * stride]. Local. */
void vj_class_pass_add(vj_class_pass *pass, const float *x, const int32_t *labels, int64_t stride, int64_t count);
/** End the first pass: compute the class means over the rows of all ranks. Collective, agreed. */
vj_status vj_class_pass_means(vj_class_pass *pass, MPI_Comm comm, vj_ranks *ranks);

/** Second pass: add the same rows again. Local. */
void vj_class_pass_scatter(vj_class_pass *pass, const float *x, const int32_t *labels, int64_t stride, int64_t count);
/** End the second pass: compute the measures over the rows of all ranks. Release them with
 * vj_class_measures_release(). Collective, agreed. */
vj_status vj_class_pass_finish(vj_class_pass *pass, MPI_Comm comm, vj_class_measures *measures);
void vj_class_measures_release(vj_class_measures *measures);

#endif
