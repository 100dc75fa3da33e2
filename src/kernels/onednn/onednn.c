/* oneDNN. Called inside a parallel region of OpenMP it stays on the calling thread; it has no threads of its own. */
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>

#include "kernels/library.h"

_Static_assert(DNNL_CPU_THREADING_RUNTIME == DNNL_RUNTIME_OMP || DNNL_CPU_THREADING_RUNTIME == DNNL_RUNTIME_SEQ,
               "this oneDNN brings threads of its own beside OpenMP's: build it with DNNL_CPU_RUNTIME=OMP or SEQ");

static bool sgemm(bool a_transposed, bool b_transposed, int M, int N, int K, const float *a, int lda, const float *b,
                  int ldb, bool accumulate, float *c, int ldc)
{
    return dnnl_sgemm(a_transposed ? 'T' : 'N', b_transposed ? 'T' : 'N', M, N, K, 1.0f, a, lda, b, ldb,
                      accumulate ? 1.0f : 0.0f, c, ldc) == dnnl_success;
}

static void nothing(void) {}

static void describe(char *text, size_t bytes)
{
    const dnnl_version_t *version = dnnl_version();
    snprintf(text, bytes, "%d.%d.%d", version->major, version->minor, version->patch);
}

const vj_library vj_onednn = {
    .name = "onednn", .sgemm = sgemm, .prepare = nothing, .quieten = nothing, .describe = describe};
