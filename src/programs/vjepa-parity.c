/* vjepa-parity: the library against fixture files. The work is in parity/. */
#include <stdio.h>
#include <string.h>

#include "base/program.h"
#include "parity/parity.h"

static const char *backend, *precision;

static const vj_option options[] = {
    {"--backend", "cpu|strict", "backend to check (default cpu)", &backend},
    {"--precision", "fp32", "precision of products; tolerances are those of fp32, the only one offered", &precision},
    {NULL, NULL, NULL, NULL},
};

static const vj_program program = {
    .name = "vjepa-parity",
    .purpose = "Compare the library's results with fixture files made by an independent implementation.",
    .usage = "[options] FIXTURE.h5 ...",
    .description =
        "Says what each file is by its content, runs the library on its inputs and compares all that it holds:\n"
        "one line a quantity with the worst absolute error, the relative error in the norm, the tolerance, and ok or\n"
        "FAIL; at the end \"N passed, N failed\". A missing dataset and a NaN are failures.\n"
        "*_step<k>.h5 files start from the forward fixture beside them that has the same sizes and first loss.\n"
        "\n"
        "Exit codes: 0 all passed, 1 something failed or cannot be read, 2 wrong command line.\n"
        "\n"
        "Example:\n"
        "  vjepa-parity --backend strict fixtures/square_forward.h5 fixtures/square_step5.h5",
    .options = options,
    .min_files = 1,
    .max_files = 1024,
};

/* Rank 0 does it all; others, if there are any, wait at the end. */
static vj_status check_files(const vj_run *run, int *passed, int *failed)
{
    if (precision && strcmp(precision, "fp32") != 0)
        return vj_raise(VJ_ERR_USAGE, "--precision %s: the tolerances are those of fp32", precision);
    if (run->rank != 0) return VJ_OK;
    vj_backend *be;
    VJ_TRY(vj_backend_open(&be, backend ? backend : "cpu", VJ_FP32, 0));
    for (int i = 0; i < run->file_count; i++)
        if (vj_parity_run(run->files[i], be, passed, failed) != VJ_OK)
            ++*failed; /* a file that cannot be checked, as reported: go on with the others */
    printf("%d passed, %d failed\n", *passed, *failed);
    vj_backend_close(be);
    return VJ_OK;
}

int main(int argc, char **argv)
{
    vj_run run;
    int passed = 0, failed = 0;
    vj_program_begin(&run, &program, argc, argv);
    const vj_status status = check_files(&run, &passed, &failed);
    return vj_program_end(&run, status, failed ? VJ_EXIT_FAILED : VJ_EXIT_DONE);
}
