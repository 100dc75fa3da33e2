/*
 * Start and end of every program: MPI, command line, configuration, exit codes. All ranks parse the same command line;
 * only rank 0 reads files and prints, and it broadcasts the result, so that all ranks continue or exit together.
 */
#include "base/program.h"

#include <errno.h>
#include <fcntl.h>
#include <hdf5.h>
#include <libavutil/avutil.h>
#include <omp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

#include "base/fold.h"
#include "base/settings.h"
#include "build_info.h"

enum { MAX_SETS = 256 };

typedef enum { GO_ON, STOP_DONE, STOP_USAGE, STOP_FAILED } outcome;

/* The command line, taken apart. Texts point into argv. */
typedef struct {
    const vj_program *program;
    bool help, version, print_config, dry_run;
    struct {
        const char *option,
            *text;    /* the name of an option that is a setting, and its value; or NULL and what --set said */
    } sets[MAX_SETS]; /* in order */
    int set_count;
    const char *command;
    const char **files; /* arguments that are not options, kept in argv's own first places */
    int file_count;
} command_line;

/* The options that programs share; see is_offered(). */
enum { HELP, VERSION, SET, PRINT_CONFIG, DRY_RUN, SHARED_COUNT };
static const struct {
    const char *name, *value, *help;
} shared[SHARED_COUNT] = {
    [HELP] = {"--help", NULL, "print this and stop"},
    [VERSION] = {"--version", NULL, "print the release, commit and versions of libraries and stop"},
    [SET] = {"--set", "SECTION.KEY=VALUE", "change a setting; may be repeated, the last one counts"},
    [PRINT_CONFIG] = {"--print-config", NULL, "print the configuration as it will be used and stop"},
    [DRY_RUN] = {"--dry-run", NULL, "check everything, write nothing"},
};

/* Return whether a program has a shared option: some need a configuration. */
static bool is_offered(const vj_program *program, int which)
{
    if (which == SET || which == PRINT_CONFIG) return program->sections != NULL;
    return which != DRY_RUN || program->dry_run;
}

/* ------------------------------------------------------------------------------------------------ texts */

const char *vj_version(void)
{
    static char text[512];
    char mpi[MPI_MAX_LIBRARY_VERSION_STRING];
    unsigned major, minor, release;
    int length;
    if (*text) return text;
    MPI_Get_library_version(mpi, &length);
    mpi[strcspn(mpi, ",\n")] = '\0'; /* the first item names the library and its version */
    H5get_libversion(&major, &minor, &release);
    snprintf(text, sizeof text, "vjepa %s (commit %s; %s; %.120s; HDF5 %u.%u.%u; FFmpeg %s; libyaml %s)", VJ_RELEASE,
             VJ_COMMIT, VJ_BUILD, mpi, major, minor, release, av_version_info(), yaml_get_version_string());
    return text;
}

static void print_option(const char *name, const char *value, const char *help)
{
    enum { INDENT = 29 };
    char left[64];
    snprintf(left, sizeof left, "%s%s%s", name, value ? " " : "", value ? value : "");
    const int column = printf("  %-*s ", INDENT - 3, left);
    vj_print_help(stdout, help, strlen(help), column, INDENT);
}

/* Print a description. A paragraph is broken into lines; empty lines, and lines that begin with a blank, stay. */
static void print_paragraphs(const char *text)
{
    while (*text) {
        size_t bytes = strcspn(text, "\n");
        if (*text == ' ' || *text == '\n') {
            printf("%.*s\n", (int)bytes, text);
        } else {
            while (text[bytes] && !strchr(" \n", text[bytes + 1])) bytes += 1 + strcspn(text + bytes + 1, "\n");
            vj_print_help(stdout, text, bytes, 0, 0);
        }
        text += bytes + (text[bytes] != '\0');
    }
}

static void print_help(const vj_program *program)
{
    printf("%s - %s\n\nUsage: %s%s %s\n\n", program->name, program->purpose,
           program->without_mpi ? "" : "[mpirun -n RANKS] ", program->name, program->usage);
    print_paragraphs(program->description);
    printf("\nOptions:\n");
    for (const vj_option *o = program->options; o && o->name; o++) print_option(o->name, o->value, o->help);
    for (int i = 0; i < SHARED_COUNT; i++)
        if (is_offered(program, i)) print_option(shared[i].name, shared[i].value, shared[i].help);
    if (program->sections) {
        printf("\nSettings that it reads, with their defaults (the file may hold those of other programs too):\n");
        vj_config_help(stdout, program->sections);
    }
    if (!strstr(program->description, "Exit codes: ")) /* else the description says what they mean */
        printf("\nExit codes: 0 done, 1 failed, 2 wrong command line or setting.\n");
}

/* ------------------------------------------------------------------------------------------------ command line */

/* A mistake on the command line: one line of the program's name, from rank 0. */
__attribute__((format(printf, 3, 4))) static outcome wrong(const command_line *line, int rank, const char *format, ...)
{
    char message[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (rank == 0) fprintf(stderr, "%s: %s; see %s --help\n", line->program->name, message, line->program->name);
    return STOP_USAGE;
}

static outcome wrong_option(const command_line *line, int rank, const char *given)
{
    vj_guess guess;
    vj_guess_init(&guess, given);
    for (const vj_option *o = line->program->options; o && o->name; o++) vj_guess_consider(&guess, o->name);
    for (int i = 0; i < SHARED_COUNT; i++)
        if (is_offered(line->program, i)) vj_guess_consider(&guess, shared[i].name);
    if (guess.best) return wrong(line, rank, "unknown option %s; did you mean %s?", given, guess.best);
    return wrong(line, rank, "unknown option %s", given);
}

static outcome take_setting(command_line *line, int rank, const char *option, const char *text)
{
    if (line->set_count == MAX_SETS) return wrong(line, rank, "more than %d settings", MAX_SETS);
    line->sets[line->set_count].option = option;
    line->sets[line->set_count++].text = text;
    return GO_ON;
}

/* Store an option of either kind; `value` is NULL for a flag. */
static outcome take_shared(command_line *line, int rank, int which, const char *value)
{
    switch (which) {
    case HELP:
        line->help = true;
        break;
    case VERSION:
        line->version = true;
        break;
    case SET:
        return take_setting(line, rank, NULL, value);
    case PRINT_CONFIG:
        line->print_config = true;
        break;
    case DRY_RUN:
        line->dry_run = true;
        break;
    default:
        break;
    }
    return GO_ON;
}

static outcome take_own(command_line *line, int rank, const vj_option *option, const char *value)
{
    if (!option->target) return take_setting(line, rank, option->name, value);
    if (*option->target) return wrong(line, rank, "%s is given twice", option->name);
    *option->target = value ? value : "";
    return GO_ON;
}

/* One option at argv[*at]; its value may follow behind '=' or as the next argument. */
static outcome parse_option(command_line *line, int rank, int argc, char **argv, int *at)
{
    char name[64];
    const char *equals = strchr(argv[*at], '='), *value = equals ? equals + 1 : NULL, *wants = NULL;
    const vj_option *own = line->program->options;
    int which = 0;

    size_t length = equals ? (size_t)(equals - argv[*at]) : strlen(argv[*at]);
    if (length >= sizeof name) return wrong(line, rank, "unknown option %.100s", argv[*at]);
    snprintf(name, sizeof name, "%.*s", (int)length, argv[*at]);
    while (own && own->name && strcmp(own->name, name) != 0) own++;
    if (own && !own->name) own = NULL;
    while (which < SHARED_COUNT && (strcmp(shared[which].name, name) != 0 || !is_offered(line->program, which)))
        which++;
    if (!own && which == SHARED_COUNT) return wrong_option(line, rank, name);

    wants = own ? own->value : shared[which].value;
    if (!wants && value) return wrong(line, rank, "%s takes no value", name);
    if (wants && !value) {
        if (*at + 1 == argc) return wrong(line, rank, "%s takes a value, %s", name, wants);
        value = argv[++*at];
    }
    return own ? take_own(line, rank, own, value) : take_shared(line, rank, which, value);
}

/* The first argument chooses what the program does. */
static outcome take_command(command_line *line, int rank)
{
    char list[256] = "";
    size_t used = 0;
    if (line->file_count == 0)
        return wrong(line, rank, "missing argument; usage: %s %s", line->program->name, line->program->usage);
    line->command = *line->files++;
    line->file_count--;
    for (const char *const *c = line->program->commands; *c; c++) {
        if (strcmp(*c, line->command) == 0) return GO_ON;
        if (used < sizeof list) used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", *c);
    }
    return wrong(line, rank, "unknown command %.100s: expected one of %s", line->command, list);
}

static outcome parse(command_line *line, int rank, int argc, char **argv)
{
    bool options_end = false;
    for (int at = 1; at < argc; at++) {
        if (!options_end && strcmp(argv[at], "--") == 0) {
            options_end = true;
        } else if (!options_end && argv[at][0] == '-' && argv[at][1]) {
            outcome result = parse_option(line, rank, argc, argv, &at);
            if (result != GO_ON) return result;
        } else {
            argv[1 + line->file_count++] = argv[at]; /* never ahead of the place being read */
        }
    }
    if (line->help || line->version) return GO_ON;
    if (line->program->commands && take_command(line, rank) != GO_ON) return STOP_USAGE;
    /* --print-config shows the defaults when no file is given */
    if (line->file_count < line->program->min_files && !(line->print_config && line->file_count == 0))
        return wrong(line, rank, "missing argument; usage: %s %s", line->program->name, line->program->usage);
    if (line->file_count > line->program->max_files)
        return wrong(line, rank, "unexpected argument %s", line->files[line->program->max_files]);
    return GO_ON;
}

/* ------------------------------------------------------------------------------------------------ begin and end */

static void report_mpi_error(MPI_Comm *comm, int *code, ...)
{
    char text[MPI_MAX_ERROR_STRING];
    int length;
    (void)comm; /* the job ends whichever communicator it was */
    MPI_Error_string(*code, text, &length);
    vj_raise(VJ_ERR_LIBRARY, "MPI: %s", text);
    vj_status_tell();
    MPI_Abort(MPI_COMM_WORLD, VJ_EXIT_FAILED);
}

/*
 * Make the communicator of all ranks, numbered node by node however the launcher placed them, so that neighbours share
 * memory and a tensor group lies on one node. Nodes are in the order of their lowest ranks, so rank 0 stays rank 0.
 */
static MPI_Comm order_by_node(void)
{
    MPI_Comm node, all;
    int rank, first;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &node);
    first = rank;
    MPI_Bcast(&first, 1, MPI_INT, 0, node);
    MPI_Comm_free(&node);
    MPI_Comm_split(MPI_COMM_WORLD, 0, first, &all);
    return all;
}

static void start_mpi(vj_run *run, int *argc, char ***argv)
{
    int provided;
    MPI_Errhandler handler;

    MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided);
    MPI_Comm_create_errhandler(report_mpi_error, &handler);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, handler);
    MPI_Comm_set_errhandler(MPI_COMM_SELF, handler);
    run->comm = order_by_node();
    MPI_Comm_set_errhandler(run->comm, handler);
    MPI_Comm_dup(run->comm, &run->end);
    MPI_Errhandler_free(&handler);
    MPI_Comm_rank(run->comm, &run->rank);
    MPI_Comm_size(run->comm, &run->size);
    vj_status_identity(run->rank, run->size);
    vj_status_keep(run->size > VJ_SPEAK_AT_ONCE && run->rank > 0);
    if (provided < MPI_THREAD_FUNNELED) {
        vj_raise(VJ_ERR_LIBRARY, "this MPI library does not allow threads beside the one that calls it");
        MPI_Abort(MPI_COMM_WORLD, VJ_EXIT_FAILED);
    }
}

/* "--max-hours", "2" is max_hours=2. */
static vj_status set(vj_config *config, const char *option, const char *text)
{
    char assignment[VJ_PATH];
    if (!option) return vj_config_set(config, text);
    snprintf(assignment, sizeof assignment, "%s=%s", option + 2, text);
    for (char *c = assignment; *c != '='; c++)
        if (*c == '-') *c = '_';
    return vj_config_set(config, assignment);
}

/* Is the first further argument the configuration file? */
static bool has_config(const command_line *line)
{
    const char *dot = line->file_count > 0 ? strrchr(line->files[0], '.') : NULL;
    if (!line->program->sections || line->file_count == 0) return false;
    return !line->program->config_optional || (dot && strcmp(dot, ".yaml") == 0);
}

static vj_status load_config(vj_config *config, const command_line *line)
{
    vj_config_defaults(config);
    if (has_config(line)) VJ_TRY(vj_config_read(config, line->files[0]));
    for (int i = 0; i < line->set_count; i++) VJ_TRY(set(config, line->sets[i].option, line->sets[i].text));
    return vj_config_check(config);
}

/* Has all that was printed been taken, by a full disk for example? Reported if not. */
static bool has_printed_all(void)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout)) return true;
    vj_raise(VJ_ERR_IO, "write to standard output");
    return false;
}

/* On rank 0: answer --help, --version or --print-config, or read the configuration. */
static outcome answer_or_load(vj_run *run, const command_line *line)
{
    outcome result = STOP_DONE;
    if (line->help) {
        print_help(line->program);
    } else if (line->version) {
        printf("%s, part of %s\n", line->program->name, vj_version());
    } else if (!line->program->sections) {
        return GO_ON;
    } else {
        vj_status status = load_config(&run->config, line);
        if (status != VJ_OK) return status == VJ_ERR_USAGE ? STOP_USAGE : STOP_FAILED;
        if (!line->print_config) return GO_ON;
        vj_config_print(&run->config, stdout);
    }
    return has_printed_all() ? result : STOP_FAILED;
}

static int exit_code_of(outcome why)
{
    return why == STOP_DONE ? VJ_EXIT_DONE : why == STOP_USAGE ? VJ_EXIT_USAGE : VJ_EXIT_FAILED;
}

static void end_mpi(vj_run *run)
{
    MPI_Comm_free(&run->end);
    MPI_Comm_free(&run->comm);
    MPI_Finalize();
}

static void leave(vj_run *run, outcome why)
{
    end_mpi(run);
    exit(exit_code_of(why));
}

/* Return the rank of this process according to the launcher, before MPI is started; 0 if there is no launcher. */
static int rank_by_launcher(void)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK",      "PMI_RANK",
                                        "PALS_RANKID",          "FLUX_TASK_RANK", "SLURM_PROCID"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *text = getenv(names[i]);
        if (text && *text) return atoi(text);
    }
    return 0;
}

/*
 * This function exists only if the BLAS is OpenBLAS. Our own threads call it on one thread each; if it started threads
 * of its own beside them, everything would be slower.
 */
extern void openblas_set_num_threads(int threads) __attribute__((weak));

/*
 * Turn off OpenBLAS's own threads. Setting its environment variable here would be too late, since OpenBLAS reads it
 * when it is loaded, before main(). Its OpenMP flavour also sets OpenMP's number of threads, which is restored.
 */
static void quieten_blas(void)
{
    const int threads = omp_get_max_threads();
    if (!openblas_set_num_threads || getenv("OPENBLAS_NUM_THREADS")) return;
    openblas_set_num_threads(1);
    omp_set_num_threads(threads);
}

/*
 * If standard input, output or error is closed, the next file that is opened gets its descriptor, and what is printed
 * would be written into that file.
 */
static void open_standard_descriptors(void)
{
    int fd;
    do fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO) (void)close(fd); /* nothing was written */
}

static double began_s;

double vj_program_age_s(void)
{
    return began_s > 0.0 ? vj_now() - began_s : 0.0;
}

/* Start MPI; rank 0 loads the configuration, and all get it, or leave together. */
static void load_on_all(vj_run *run, const command_line *line, int argc, char **argv)
{
    int result = GO_ON;
    start_mpi(run, &argc, &argv);
    if (run->rank == 0) result = answer_or_load(run, line);
    MPI_Bcast(&result, 1, MPI_INT, 0, run->comm);
    if (result != GO_ON) leave(run, result);
    if (line->program->sections) MPI_Bcast(&run->config, (int)sizeof run->config, MPI_BYTE, 0, run->comm);
}

static void load_alone(vj_run *run, const command_line *line, int rank)
{
    if (rank != 0) exit(VJ_EXIT_DONE);
    run->comm = run->end = MPI_COMM_NULL;
    run->size = 1;
    vj_status_identity(0, 1);
    const outcome result = answer_or_load(run, line);
    if (result != GO_ON) exit(exit_code_of(result));
}

void vj_program_begin(vj_run *run, const vj_program *program, int argc, char **argv)
{
    began_s = vj_now();
    open_standard_descriptors();
    signal(SIGXFSZ, SIG_IGN); /* a file beyond ulimit -f is an error of the call that writes it, and not the end */
    memset(run, 0, sizeof *run);
    quieten_blas();
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL); /* vj_raise_h5() prints what matters, once */

    /* --help and the like are answered without MPI, which may not be allowed to start on a login node. */
    command_line line = {.program = program, .files = (const char **)argv + 1};
    const int rank = rank_by_launcher();
    int result = parse(&line, rank, argc, argv);
    if (result == GO_ON && (line.help || line.version || line.print_config))
        result = rank == 0 ? answer_or_load(run, &line) : STOP_DONE;
    if (result == STOP_USAGE && rank != 0) vj_sleep(1.0); /* let rank 0 print its message before the launcher ends it */
    if (result != GO_ON) exit(exit_code_of(result));

    if (program->without_mpi)
        load_alone(run, &line, rank);
    else
        load_on_all(run, &line, argc, argv);
    if (has_config(&line)) {
        run->config_path = *line.files++;
        line.file_count--;
    }
    run->command = line.command;
    run->files = line.files;
    run->file_count = line.file_count;
    run->dry_run = line.dry_run;
}

/*
 * Wait for up to PATIENCE_MS for all other ranks to come here with a failure too; they may be elsewhere, waiting for
 * this rank. If all come, return true, and print once what many ranks report alike. *same_setting is set if all failed
 * by VJ_ERR_USAGE, so that the job can end without MPI_Abort().
 */
static bool all_fail(const vj_run *run, vj_status status, bool *same_setting)
{
    enum { PATIENCE_MS = 2000 };
    int other = status != VJ_ERR_USAGE, any = 1, done = 0;
    MPI_Request request;
    MPI_Iallreduce(&other, &any, 1, MPI_INT, MPI_MAX, run->end, &request);
    for (int ms = 0; ms < PATIENCE_MS && !done; ms++) {
        MPI_Test(&request, &done, MPI_STATUS_IGNORE);
        if (!done) vj_sleep(0.001);
    }
    *same_setting = done && !any;
    if (done && run->size > VJ_SPEAK_AT_ONCE) vj_fold(run->end);
    return done;
}

int vj_program_end(vj_run *run, vj_status status, int exit_code_when_ok)
{
    const int failed = status == VJ_ERR_USAGE ? VJ_EXIT_USAGE : VJ_EXIT_FAILED;
    if (run->comm == MPI_COMM_NULL)
        return status != VJ_OK ? failed : has_printed_all() ? exit_code_when_ok : VJ_EXIT_FAILED;
    const bool many = run->size > VJ_SPEAK_AT_ONCE;
    bool same_setting = false;
    if (status == VJ_OK && many) vj_fold(run->comm);
    if (status == VJ_OK && run->dry_run) vj_log("dry run: all was checked, nothing was written");
    if ((status == VJ_ERR_USAGE || (status != VJ_OK && many)) && all_fail(run, status, &same_setting) && same_setting) {
        status = VJ_OK;
        exit_code_when_ok = VJ_EXIT_USAGE;
    }
    if (status != VJ_OK) {
        vj_status_tell();
        fflush(NULL);
        /* Let rank 0 print its message before MPI_Abort() of another rank ends it. */
        if (run->rank != 0) vj_sleep(1.0);
        MPI_Abort(MPI_COMM_WORLD, failed);
    }
    end_mpi(run);
    return exit_code_when_ok;
}
