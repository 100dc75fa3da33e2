/*
 * What all programs share: starting and ending MPI, --help, --version, the configuration with --set, --print-config and
 * --dry-run, exit codes. A main() calls vj_program_begin(), does its work, and calls vj_program_end().
 */
#ifndef VJ_BASE_PROGRAM_H
#define VJ_BASE_PROGRAM_H

#include <mpi.h>

#include "base/config.h"

/* An option of one program, in addition to those that all programs have. */
typedef struct {
    const char *name;  /* "--compare" */
    const char *value; /* placeholder of its value, "FILE"; NULL: a flag */
    const char *help;
    const char **target; /* written: the value, or "" if a flag was given; must be NULL before. If `target` is NULL, the
                            option sets the setting of its name: --max-hours VALUE is --set max_hours=VALUE */
} vj_option;

typedef struct {
    const char *name;        /* "vjepa-pack" */
    const char *purpose;     /* one sentence */
    const char *usage;       /* "[options] CONFIG.yaml" */
    const char *description; /* paragraphs for --help, with an example and its expected output. --help breaks them into
                                lines, except lines that begin with a blank */
    const char *const *sections; /* sections of the configuration it reads, NULL-terminated; NULL: no configuration */
    const vj_option *options;    /* ends with a row whose name is NULL; may be NULL */
    const char *const *commands; /* allowed first arguments, NULL-terminated; NULL: the program has no commands */
    bool config_optional; /* with sections: the first further argument is the configuration file only if its name ends
                             in .yaml; otherwise the settings keep their defaults */
    bool dry_run;         /* it has --dry-run; without, the option is unknown */
    bool without_mpi;     /* never start MPI: the program also runs on login nodes, where MPI may not start */
    int min_files, max_files; /* number of further arguments; with sections the first is the configuration file */
} vj_program;

typedef struct {
    MPI_Comm comm; /* all ranks, numbered node by node; VJ_ALONE (parallel/parallel.h) in a program without MPI */
    MPI_Comm end;  /* a duplicate that only vj_program_end() uses */
    int rank, size;
    vj_config config; /* read and checked, if the program has sections */
    const char *config_path;
    const char *command;      /* the given one of program->commands; NULL if it has none */
    const char *const *files; /* arguments that are neither options nor the configuration file */
    int file_count;
    int dry_run; /* --dry-run */
} vj_run;

/**
 * Start MPI, parse the command line, read and check the configuration (rank 0 reads, all get it), install the MPI error
 * handler. --help, --version and --print-config print on rank 0 and exit with 0, a wrong command line exits with 2,
 * both before MPI is started; a wrong setting exits with 2 after MPI_Finalize() on all ranks. If a program without MPI
 * is started as several ranks, rank 0 continues and the others exit with 0. Collective.
 */
void vj_program_begin(vj_run *run, const vj_program *program, int argc, char **argv);

/**
 * End the job. With VJ_OK: finalise MPI and return `exit_code_when_ok`; a program without MPI, whose result is what it
 * prints, returns 1 if that could not be written. With VJ_ERR_USAGE on all ranks: finalise MPI
 * and return 2, so that no message of MPI_Abort() follows the error message. Otherwise: MPI_Abort() with 1 (2 for
 * VJ_ERR_USAGE), which also ends ranks that did not fail. Each rank passes its own status.
 */
int vj_program_end(vj_run *run, vj_status status, int exit_code_when_ok);

/** Return the seconds since vj_program_begin() was called, which include the start of MPI; 0 if it was not called. */
double vj_program_age_s(void);

/** Return "vjepa 0.1.0 (commit abc1234)" and the versions of the libraries, to be stored in outputs. Static storage. */
const char *vj_version(void);

#endif
