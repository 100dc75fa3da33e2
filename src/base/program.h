/*
 * What all programs share: MPI start and end, --help, --version, the configuration with --set, --print-config and
 * --dry-run, exit codes. A program's main is: begin, its work, end.
 */
#ifndef VJ_BASE_PROGRAM_H
#define VJ_BASE_PROGRAM_H

#include <mpi.h>

#include "base/config.h"

/* One option of a program's own, beside the shared ones. */
typedef struct {
    const char *name;  /* "--compare" */
    const char *value; /* placeholder of its value, "FILE"; NULL: a flag */
    const char *help;
    const char **target; /* gets the value, or "" for a flag that was given; starts NULL. No target: --max-hours is
                            short for --set max_hours=VALUE */
} vj_option;

typedef struct {
    const char *name;            /* "vjepa-pack" */
    const char *purpose;         /* one sentence */
    const char *usage;           /* "[options] CONFIG.yaml" */
    const char *description;     /* paragraphs, an example with expected output included */
    const char *const *sections; /* sections of the configuration it reads, NULL-terminated; NULL: it takes none */
    const vj_option *options;    /* ends with a row whose name is NULL; may be NULL */
    const char *const *commands; /* the first argument is one of these, NULL-terminated; NULL: the program has none */
    bool without_mpi;            /* it never starts MPI: it is for login nodes too, where MPI may not start */
    int min_files, max_files;    /* further arguments; with sections, the first of them is the configuration */
} vj_program;

typedef struct {
    MPI_Comm comm; /* all ranks, numbered node by node; VJ_ALONE (parallel/parallel.h) in a program without MPI */
    MPI_Comm end;  /* another, for vj_program_end() alone */
    int rank, size;
    vj_config config; /* read and checked, if the program has sections */
    const char *config_path;
    const char *command;      /* which of the program's commands */
    const char *const *files; /* the arguments that are not options, the configuration left out */
    int file_count;
    int dry_run; /* --dry-run */
} vj_run;

/**
 * Start MPI, parse the command line, read and check the configuration (rank 0 reads, all get it), install the MPI error
 * handler. --help, --version and --print-config print on rank 0 and exit(0), and a wrong command line exits 2, before
 * MPI is started; a wrong setting exits 2 after all ranks left MPI. Where a program without MPI is started as several
 * ranks, the first one works and the others exit(0). Collective.
 */
void vj_program_begin(vj_run *run, const vj_program *program, int argc, char **argv);

/**
 * End the job: VJ_OK finalises MPI and returns `exit_code_when_ok`; so does VJ_ERR_USAGE on all ranks, with 2, so that
 * the message stands alone. Anything else aborts all ranks with 1 (2 for VJ_ERR_USAGE). Each rank calls it with its own
 * status; a rank that failed alone takes the others down.
 */
int vj_program_end(vj_run *run, vj_status status, int exit_code_when_ok);

/** Seconds since vj_program_begin(), MPI's own start included; 0 where it was not called. */
double vj_program_age_s(void);

/** "vjepa 0.1.0 (commit abc1234)" and the versions of libraries, one string for provenance. Static storage. */
const char *vj_version(void);

#endif
