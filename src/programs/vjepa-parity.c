/* vjepa-parity: checks the library against fixture files. The work is in parity/. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/program.h"
#include "parity/parity.h"

static const char *backend, *precision;

static const vj_option options[] = {
    {"--backend", "cpu|cuda|strict", "backend to check (default cpu)", &backend},
    {"--precision", "fp32|bf16", "precision of products (default fp32); each has its own tolerances", &precision},
    {NULL, NULL, NULL, NULL},
};

static const vj_program program = {
    .name = "vjepa-parity",
    .purpose = "Compare the library's results with fixture files made by an independent implementation.",
    .usage = "[options] FIXTURE.h5 ...",
    .description =
        "Says what each file is by its attribute kind or its content, runs the library on its inputs and compares all"
        " that it holds: one line a quantity with the worst absolute error, the relative error in the norm, the "
        "tolerance, and ok or FAIL; at the end \"N passed, N failed\". A missing dataset and a NaN are failures. "
        "*_step<k>.h5 files start from the forward fixture beside them that has the same sizes and first loss. With "
        "--precision bf16 operands of products are rounded to bf16, and arrays that are only operands are kept so, as"
        " in training; what has no product in it is held to the same tolerances in both. VJ_ISA=avx2, say, in the "
        "environment checks that variant of the kernels; INSTALL names all of them.\n"
        "\n"
        "Exit codes: 0 all passed, 1 something failed or cannot be read, 2 wrong command line, 77 nothing was checked: "
        "the processor, or this build, lacks the variant that VJ_ISA names.\n"
        "\n"
        "Example:\n"
        "  vjepa-parity --backend strict --precision bf16 fixtures/square_forward.h5 fixtures/square_step5.h5",
    .options = options,
    .min_files = 1,
    .max_files = 1024,
};

static vj_status read_precision(vj_precision *to)
{
    *to = precision && strcmp(precision, "bf16") == 0 ? VJ_BF16 : VJ_FP32;
    if (precision && *to == VJ_FP32 && strcmp(precision, "fp32") != 0)
        return vj_raise(VJ_ERR_USAGE, "--precision %s: expected fp32 or bf16", precision);
    return VJ_OK;
}

/* Return whether VJ_ISA names a variant of the kernels that cannot run here. The backend refuses unknown names. */
static bool variant_is_missing(void)
{
    static const char *const variants[] = {VJ_ISAS};
    const char *wanted = getenv("VJ_ISA");
    for (size_t i = 0; wanted && i < sizeof variants / sizeof *variants; i++)
        if (strcmp(wanted, variants[i]) == 0) return !vj_backend_isa_present(wanted);
    return false;
}

/* Check all files on rank 0; other ranks wait at the end. */
static vj_status check_files(const vj_run *run, int *passed, int *failed)
{
    vj_precision of_products;
    VJ_TRY(read_precision(&of_products));
    if (run->rank != 0) return VJ_OK;
    vj_backend *be;
    VJ_TRY(vj_backend_open(&be, backend ? backend : "cpu", of_products, 0));
    printf("backend %s\n", vj_backend_describe(be));
    for (int i = 0; i < run->file_count; i++)
        if (vj_parity_run(run->files[i], be, passed, failed) != VJ_OK)
            ++*failed; /* the file could not be checked, which was reported; go on with the others */
    printf("%d passed, %d failed\n", *passed, *failed);
    vj_backend_close(be);
    return VJ_OK;
}

int main(int argc, char **argv)
{
    enum { SKIPPED = 77 }; /* exit code of a skipped test in ctest and automake */
    vj_run run;
    int passed = 0, failed = 0;
    vj_program_begin(&run, &program, argc, argv);
    if (variant_is_missing()) {
        if (run.rank == 0)
            printf("skipped, nothing checked: this processor or this build lacks the kernels VJ_ISA=%s names\n",
                   getenv("VJ_ISA"));
        return vj_program_end(&run, VJ_OK, SKIPPED);
    }
    const vj_status status = check_files(&run, &passed, &failed);
    return vj_program_end(&run, status, failed ? VJ_EXIT_FAILED : VJ_EXIT_DONE);
}
