/*
 * Tests what all programs share: this test starts itself as a small program (VJEPA_TEST_AS_PROGRAM) and checks its
 * output and exit code.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <omp.h>

#include "base/program.h"

/* ------------------------------------------------------------------------------------------------ the program */

static int toy(int argc, char **argv)
{
    static const char *const sections[] = {"run", "data", NULL}, *const commands[] = {"load", "store", NULL};
    static const char *compare, *quick;
    static vj_run run;
    const vj_option options[] = {{"--compare", "FILE", "compare with FILE", &compare},
                                 {"--quick", NULL, "be quick", &quick},
                                 {NULL, NULL, NULL, NULL}};
    const char *kind = getenv("VJEPA_TEST_AS_PROGRAM");
    bool takes_command = strcmp(kind, "command") == 0, takes_config = takes_command || strcmp(kind, "config") == 0;
    const vj_program program = {.name = "toy",
                                .purpose = "shows what it was given",
                                .usage = "[options] CONFIG.yaml [FILE]",
                                .description = "A toy.\n\nExample:\n  toy x.yaml",
                                .sections = takes_config ? sections : NULL,
                                .options = options,
                                .commands = takes_command ? commands : NULL,
                                .dry_run = takes_config && !takes_command,
                                .without_mpi = strcmp(kind, "alone") == 0,
                                .min_files = takes_command ? 0 : 1,
                                .max_files = 2};
    vj_program_begin(&run, &program, argc, argv);
    if (getenv("OMP_NUM_THREADS")) vj_log("threads %d", omp_get_max_threads());
    if (run.command) vj_log("command %s", run.command);
    vj_log("config %s seed %d files %d first %s compare %s quick %s dry %d ranks %d",
           run.config_path ? run.config_path : "none", (int)run.config.run.seed, run.file_count,
           run.file_count ? run.files[0] : "none", compare ? compare : "none", quick ? "yes" : "no", run.dry_run,
           run.size);
    vj_status status = compare && strcmp(compare, "fail") == 0 ? VJ_ERR_IO : VJ_OK;
    return vj_program_end(&run, status, compare && strcmp(compare, "75") == 0 ? VJ_EXIT_RESUMABLE : VJ_EXIT_DONE);
}

/* ------------------------------------------------------------------------------------------------ running it */

static char self[4096], folder[] = "/tmp/vjepa_program_XXXXXX", config[64];
static char output[65536]; /* what the last run printed, including standard error */

static int setup(void **state)
{
    (void)state;
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length < 0 || !mkdtemp(folder)) return -1;
    snprintf(config, sizeof config, "%s/x.yaml", folder);
    FILE *file = fopen(config, "w");
    if (!file) return -1;
    fputs("run:\n  seed: 5\n", file);
    return fclose(file);
}

static int teardown(void **state)
{
    (void)state;
    unlink(config);
    return rmdir(folder);
}

/* Start the program with these arguments; X in them stands for the configuration file. It has a folder of its own for
 * Open MPI's files (tests/own_folder.sh), since others run at the same time. */
static FILE *start_toy(const char *kind, const char *launcher, const char *arguments)
{
    char command[8192];
    size_t bytes = (size_t)snprintf(command, sizeof command,
                                    "OMPI_MCA_orte_tmpdir_base=${OMPI_MCA_orte_tmpdir_base:-/tmp}/$$ "
                                    "VJEPA_TEST_AS_PROGRAM=%s timeout 60 %s %s ",
                                    kind, launcher, self);
    for (; *arguments; arguments++)
        bytes += (size_t)snprintf(command + bytes, sizeof command - bytes, *arguments == 'X' ? "%s" : "%.1s",
                                  *arguments == 'X' ? config : arguments);
    snprintf(command + bytes, sizeof command - bytes, " 2>&1");
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    return pipe;
}

/* Wait for its end. Returns its exit code; `output` gets what it printed. */
static int finish_toy(FILE *pipe)
{
    size_t bytes = fread(output, 1, sizeof output - 1, pipe);
    output[bytes] = '\0';
    int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int times(const char *part)
{
    int count = 0;
    for (const char *at = output; (at = strstr(at, part)) != NULL; at++) count++;
    return count;
}

/* A run, its exit code, the texts that it must print once, and a text that it must not print. */
typedef struct {
    const char *kind, *launcher, *arguments;
    int code;
    const char *says[6], *absent;
} expectation;

/* Check runs that are started at the same time, because a start waits more than it computes. */
static void check(const expectation *runs, int count)
{
    FILE *running[16];
    assert_true(count <= 16);
    for (int i = 0; i < count; i++) running[i] = start_toy(runs[i].kind, runs[i].launcher, runs[i].arguments);
    for (int i = 0; i < count; i++) {
        const expectation *run = &runs[i];
        int code = finish_toy(running[i]);
        if (code != run->code)
            fail_msg("toy %s: exit code %d, expected %d:\n%s", run->arguments, code, run->code, output);
        for (int part = 0; part < 6 && run->says[part]; part++)
            if (times(run->says[part]) != 1)
                fail_msg("toy %s: \"%s\" stands there %d times, expected once:\n%s", run->arguments, run->says[part],
                         times(run->says[part]), output);
        if (run->absent && times(run->absent) != 0)
            fail_msg("toy %s: says \"%s\":\n%s", run->arguments, run->absent, output);
    }
}
#define CHECK(runs) check(runs, (int)(sizeof(runs) / sizeof(runs)[0]))

/* ------------------------------------------------------------------------------------------------ tests */

static void arguments_in_any_order(void **state)
{
    static const expectation runs[] = {
        {"config", "", "X", 0, {"x.yaml seed 5 files 0 first none compare none quick no dry 0 ranks 1"}, NULL},
        {"config",
         "",
         "--compare a --set run.seed=6 X --dry-run b --set=run.seed=7 --quick",
         0,
         {"x.yaml seed 7 files 1 first b compare a quick yes dry 1", "dry run: all was checked, nothing was written"},
         NULL},
        {"config", "", "X --compare=a=b -- --quick", 0, {"files 1 first --quick compare a=b quick no"}, NULL},
        {"plain", "env -u OPENBLAS_NUM_THREADS OMP_NUM_THREADS=3", "first", 0, {"threads 3"}, NULL},
        {"plain", "", "first second", 0, {"config none seed 0 files 2 first first"}, NULL},
        {"command", "", "--quick store X", 0, {"command store", "x.yaml seed 5 files 0"}, NULL},
        {"command", "", "load --set seed=3 --set run.seed=9", 2, {"several sections"}, NULL},
        {"command", "", "load --set run.seed=9", 0, {"command load", "config none seed 9 files 0"}, NULL},
    };
    (void)state;
    CHECK(runs);
}

static void answers_without_configuration(void **state)
{
    static const expectation runs[] = {
        {"config",
         "",
         "--help",
         0,
         {"toy - shows what it was given", "--compare FILE", "--set SECTION.KEY=VALUE", "data.crop: 224"},
         "model.width"}, /* the program does not have this section */
        {"plain", "", "--help", 0, {"--compare FILE", "\nExit codes: 0 done, 1 failed, 2 wrong"}, "--set"},
        {"config", "", "--version", 0, {"toy, part of vjepa ", "commit ", "HDF5 ", "FFmpeg ", "libyaml "}, NULL},
        {"config", "", "--print-config", 0, {"seed: 234"}, NULL},
        {"config", "", "--print-config X --set data.crop=32", 0, {"seed: 5\n", "crop: 32\n"}, NULL},
    };
    (void)state;
    CHECK(runs);
}

#define FULL "sh -c '\"$@\" >/dev/full' sh" /* a launcher whose standard output is full */

/* Check a program without MPI under a launcher: only the first rank works, and no rank starts MPI. */
static void a_program_without_mpi(void **state)
{
    static const expectation runs[] = {
        {"alone", "", "first", 0, {"files 1 first first"}, NULL},
        {"alone", "mpirun -n 3", "first", 0, {"files 1 first first compare none quick no dry 0 ranks 1"}, NULL},
        {"alone", "env SLURM_PROCID=2", "first", 0, {NULL}, "files"},
        {"alone", "", "--compare fail first", 1, {"compare fail"}, NULL},
        {"alone", "", "--compare 75 first", 75, {"compare 75"}, NULL},
        {"alone", "", "", 2, {"missing argument"}, NULL},
        {"alone", "", "--help", 0, {"Usage: toy"}, "mpirun"},
        {"alone", FULL, "first", 1, {"write to standard output"}, NULL},
        {"config", FULL, "--help", 1, {"write to standard output: No space left on device"}, NULL},
    };
    (void)state;
    CHECK(runs);
}

static void mistakes_exit_2(void **state)
{
    static const expectation runs[] = {
        {"config", "", "", 2, {"toy: ", "missing argument; usage: toy"}, NULL},
        {"config", "", "X a b", 2, {"toy: ", "unexpected argument b"}, NULL},
        {"config", "", "X --comapre a", 2, {"toy: ", "unknown option --comapre; did you mean --compare?"}, NULL},
        {"config", "", "X --sett run.seed=1", 2, {"toy: ", "did you mean --set?"}, NULL},
        {"config", "", "X --quite-different", 2, {"toy: ", "unknown option --quite-different; see toy --help"}, NULL},
        {"config", "", "X --compare", 2, {"toy: ", "--compare takes a value, FILE"}, NULL},
        {"config", "", "X --quick=1", 2, {"toy: ", "--quick takes no value"}, NULL},
        {"config", "", "X --compare a --compare b", 2, {"toy: ", "--compare is given twice"}, NULL},
        {"plain", "", "a --set b=c", 2, {"toy: ", "unknown option --set"}, NULL},
        {"config", "", "X --set run.sed=1", 2, {"vjepa: ", "did you mean run.seed?"}, NULL},
        {"config", "", "X --set data.crop=15", 2, {"vjepa: ", "data.crop: 15 is not a multiple of model.patch"}, NULL},
        {"command", "", "load X --dry-run", 2, {"toy: ", "unknown option --dry-run"}, NULL},
        {"command", "", "", 2, {"toy: ", "missing argument; usage: toy"}, NULL},
        {"command", "", "X", 2, {"toy: ", "unknown command", "expected one of load, store"}, NULL},
        {"command", "", "load X a b", 2, {"toy: ", "unexpected argument b"}, NULL},
        {"config", "", "/nowhere.yaml", 2, {"vjepa: ", "/nowhere.yaml: No such file"}, NULL},
    };
    (void)state;
    CHECK(runs);
}

static void exit_codes(void **state)
{
    static const expectation runs[] = {
        {"config", "", "X --compare 75", 75, {NULL}, NULL},
        {"config", "", "X --compare fail", 1, {NULL}, NULL},
    };
    (void)state;
    CHECK(runs);
}

/* Check that mpirun ends at once with the program's exit code, and that only rank 0 prints. */
static void several_ranks(void **state)
{
    static const expectation runs[] = {
        {"config", "mpirun -n 3", "X --set run.seed=9", 0, {"seed 9", "ranks 3"}, NULL},
        {"config", "mpirun -n 3", "X --quik", 2, {"did you mean --quick?"}, NULL},
        {"config", "mpirun -n 3", "X --set run.seed=x", 2, {"run.seed: 'x'"}, NULL},
        {"config", "mpirun -n 3", "--version", 0, {"part of vjepa"}, NULL},
        {"config", "mpirun -n 3", "X --compare fail", 1, {NULL}, NULL},
    };
    (void)state;
    CHECK(runs);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arguments_in_any_order),
        cmocka_unit_test(answers_without_configuration),
        cmocka_unit_test(a_program_without_mpi),
        cmocka_unit_test(mistakes_exit_2),
        cmocka_unit_test(exit_codes),
        cmocka_unit_test(several_ranks),
    };
    if (getenv("VJEPA_TEST_AS_PROGRAM")) return toy(argc, argv);
    return cmocka_run_group_tests(tests, setup, teardown);
}
