/*
 * Tests a probe with blocks on the tokens, trained by all ranks: the samples of a batch are divided over the ranks, and
 * gradients are summed as integers. Training on each rank alone, on all samples in another order, gives the same bits.
 */
#include <mpi.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "probe/token_probe.h"

enum { D = 8, TOKENS = 5, VALUES = TOKENS * D, CLASSES = 3, SAMPLES = 7, UPDATES = 3 };

static void add_sample(vj_token_probe *p, const float *x, int sample, int64_t *sum)
{
    double loss;
    vj_token_probe_forward(p, x + sample * VALUES);
    VJ_ASSERT(vj_token_probe_backward(p, sample % CLASSES, &loss, sum, SAMPLES) == VJ_OK);
}

int main(int argc, char **argv)
{
    static const vj_token_probe_shape shape = {D, 2, CLASSES, 2, TOKENS};
    int rank, size;
    vj_backend *be;
    vj_token_probe *p[2]; /* trained by all ranks, and by this rank alone */
    int64_t *sum[2];
    vj_rng rng;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    VJ_ASSERT(vj_backend_open(&be, "cpu", VJ_FP32, 1) == VJ_OK);
    float *x = vj_device_alloc(be, SAMPLES * VALUES * (int64_t)sizeof *x);
    vj_rng_init(&rng, 5, VJ_RNG_TEST, 1);
    for (int i = 0; i < SAMPLES * VALUES; i++) x[i] = (float)vj_rng_normal(&rng);
    for (int k = 0; k < 2; k++) {
        VJ_ASSERT(vj_token_probe_create(&p[k], be, &shape) == VJ_OK);
        VJ_ASSERT(vj_token_probe_init(p[k], 3, 0.2) == VJ_OK);
    }
    const int64_t n = vj_token_probe_size(p[0]);
    for (int k = 0; k < 2; k++) VJ_ASSERT((sum[k] = malloc((size_t)n * sizeof **sum)));
    for (int u = 1; u <= UPDATES; u++) {
        const vj_head_step step = {.update = u, .lr = 0.01, .weight_decay = 0.1, .clip = 1.0};
        for (int k = 0; k < 2; k++) memset(sum[k], 0, (size_t)n * sizeof **sum);
        for (int i = rank; i < SAMPLES; i += size) add_sample(p[0], x, i, sum[0]);
        for (int i = SAMPLES - 1; i >= 0; i--) add_sample(p[1], x, i, sum[1]);
        MPI_Allreduce(MPI_IN_PLACE, sum[0], (int)n, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
        VJ_ASSERT(memcmp(sum[0], sum[1], (size_t)n * sizeof **sum) == 0);
        for (int k = 0; k < 2; k++) VJ_ASSERT(vj_token_probe_update(p[k], sum[k], SAMPLES, &step) == VJ_OK);
    }
    VJ_ASSERT(memcmp(vj_token_probe_state(p[0]), vj_token_probe_state(p[1]), (size_t)(3 * n) * sizeof(float)) == 0);
    for (int k = 0; k < 2; k++) {
        vj_token_probe_destroy(p[k]);
        free(sum[k]);
    }
    vj_backend_close(be);
    MPI_Finalize();
    return 0;
}
