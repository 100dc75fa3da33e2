/*
 * The commands of vjepa-spectrum. Each is a function that gets the ranks, the options and the opened features from the
 * program. It writes its own HDF5 file, and puts the results that people look at into the report, which the program
 * prints as a table and writes as JSON.
 */
#ifndef VJ_SPECTRUM_COMMANDS_H
#define VJ_SPECTRUM_COMMANDS_H

#include <jansson.h>
#include <mpi.h>

#include "base/config.h"
#include "linear/matrix.h"
#include "source/source.h"

/** The attributes "format" and "version" of the files that the commands write. Their attribute "command" names the
 * command. */
#define VJ_ANALYSIS_FORMAT "vjepa-analysis"
enum { VJ_ANALYSIS_VERSION = 1 };

/* Options of the command line as texts; NULL: not given, "": a flag that was given. Each command reads its own ones. */
typedef struct {
    const char *components;   /* spectrum: how many principal components to keep */
    const char *whitening;    /* spectrum: flag, keep the whitening matrix */
    const char *neighbours;   /* knn: values of k, "1,5,20" */
    const char *distance;     /* knn: cosine, euclidean */
    const char *temperature;  /* knn: of weighted votes */
    const char *memory;       /* MiB that a rank may use for queries, regressions or sums of its own rows */
    const char *balanced;     /* ridge: flag, every class counts alike */
    const char *path;         /* ridge: penalties, "LOW,HIGH,COUNT" */
    const char *table;        /* ridge: folder for the table of results */
    const char *width, *rows; /* speed: sizes to measure with */
} vj_analysis_options;

typedef struct {
    MPI_Comm comm;
    int rank, size;
    const vj_config *config;            /* borrowed, like all other pointers here */
    const vj_analysis_options *options; /* the same on all ranks */
    const char *out;                    /* the HDF5 file to write; NULL: write none */
    bool dry_run;                       /* check everything, compute and write nothing */
    vj_source *source;                  /* open; NULL in a command that needs no features */
    vj_source *validation;              /* open, matched with source (vj_source_match()); NULL: not given */
    vj_ranks *ranks;                    /* ScaLAPACK's grid of the ranks of `comm` */
    json_t *report;                     /* complete on rank 0 (bench/report.h) */
} vj_analysis;

/** Compute the mean, the covariance, its spectrum and derived measures of each representation. Collective, agreed. */
vj_status vj_spectrum_run(vj_analysis *analysis);
/** Compute how similar all pairs of representations are: CKA, unbiased CKA, Procrustes distance. Collective, agreed. */
vj_status vj_compare_run(vj_analysis *analysis);
/** Compute the variance within and between the classes of every task, and neural collapse. Collective, agreed. */
vj_status vj_classes_run(vj_analysis *analysis);
/**
 * Find the nearest training clips of each validation clip, or, without validation, of each training clip, and count how
 * often their votes give its class. Collective, agreed.
 */
vj_status vj_knn_run(vj_analysis *analysis);
/** Fit ridge probes for the tasks, shares of the labels and seeds of section probe; needs validation. Collective,
 * agreed. */
vj_status vj_ridge_run(vj_analysis *analysis);
/** Measure how fast this machine adds products, finds eigenvalues and projects. Needs no features. Collective, agreed.
 */
vj_status vj_speed_run(vj_analysis *analysis);
/**
 * Forecast the time of a command before its work. If its matrix products have so many operations that it takes long,
 * measure sums of products and the BLAS on all ranks at once and log the time of the products; reading and other work
 * comes on top. Warns if the BLAS, which finds eigenvalues too, reaches only a small part of the processor's peak.
 *
 * @param sums    operations in sums of products and in projections, which have loops here
 * @param others  operations in other products
 * @param width   of the rows
 *
 * Collective.
 */
void vj_speed_forecast(const vj_analysis *analysis, const char *command, double sums, double others, int width);

#endif
