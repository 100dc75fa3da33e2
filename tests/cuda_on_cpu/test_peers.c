/*
 * Tests sums of vectors on devices that are completed from their ends while the sum runs: they have the bits of
 * vj_group_allreduce() at any speed and for all placements of the ranks on nodes (placements.h). With EMU_MPI_CUDA=1
 * MPI says that it accepts device memory, and gets it between nodes; otherwise it never does. An MPI that says so but
 * sends something else is found. Training on two nodes has the bits of one node.
 *
 * This file replaces functions of MPI through its profiling interface, to count messages by the kind of their memory,
 * to damage them, and to simulate nodes.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../on_ranks.h"
#include "base/rng.h"
#include "emulated.h"
#include "parallel/group.h"
#include "placements.h"
#include "train/device_messages.h"
#include "train/peers.h"

enum { MOST = 9001 };

static int rank, size;
static bool spoil;              /* damage messages from device memory */
static long on_device, on_host; /* numbers of elements sent from each kind of memory */

int MPI_Isend(const void *from, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm, MPI_Request *request)
{
    const bool ours = type == MPI_FLOAT || type == MPI_UINT16_T;
    const bool device = ours && emu_on_device(from, (size_t)count * (type == MPI_FLOAT ? 4 : 2));
    if (ours && count > 0) *(device ? &on_device : &on_host) += count;
    if (device && spoil) ((float *)(uintptr_t)from)[count / 2] = 1234.5f;
    return PMPI_Isend(from, count, type, to, tag, comm, request);
}

static bool mpi_is_aware(void)
{
    return MPIX_Query_cuda_support() == 1;
}

static vj_backend *open_device(void)
{
    vj_backend *be;
    assert_int_equal(vj_backend_open_at(&be, "cuda", VJ_FP32, 1, rank), VJ_OK);
    return be;
}

static void draw(float *x, int64_t n, int number)
{
    vj_rng rng;
    vj_rng_init(&rng, 1, VJ_RNG_TEST, (uint64_t)(1000 * number + rank));
    for (int64_t i = 0; i < n; i++) x[i] = (float)vj_rng_normal(&rng);
}

/* Set the borders of parts: no parts, even ones, or none for the first rank. */
static const int64_t *cut(int64_t *first, int64_t n, int kind)
{
    for (int r = 0; r <= size; r++) first[r] = kind == 1 ? n * r / size : n * (r > 1 ? r : 0) / size;
    first[size] = n;
    return kind == 0 ? NULL : first;
}

/* Return whether in this placement every rank sends only elements of its own vector. */
static bool sends_its_own(const int *node)
{
    int count[8] = {0}, runs = 1, nodes = 0;
    for (int r = 0; r < size; r++) count[node[r]]++;
    for (int r = 1; r < size; r++) runs += node[r] != node[r - 1];
    for (int i = 0; i < 8; i++) {
        nodes += count[i] > 0;
        if (count[i] > 0 && count[i] != count[node[0]]) return false;
    }
    return runs == nodes;
}

/* Upload one part after the other, from the end, with steps of another length on each rank; some ranks never report
 * progress. Only the sum makes the device work. */
static void make(vj_backend *be, vj_peers *p, float *device, const float *made, int64_t n, int again)
{
    const int64_t step = 1 + (n / 7) * (1 + (rank + again) % 3);
    for (int64_t last = n; last > 0; last -= step) {
        const int64_t from = last < step ? 0 : last - step;
        vj_upload(be, device + from, made + from, (last - from) * (int64_t)sizeof *made);
        if (again != 1 || rank % 2) vj_peers_sum.made(p, be, from, NULL);
    }
}

static void check(vj_backend *be, int64_t n, int64_t bucket, int kind, int placement)
{
    static float made[MOST], want[MOST], got[MOST];
    int64_t first[9];
    vj_peers *p;
    vj_group *group;
    const int node = placements[placement][rank];
    float *device = vj_device_alloc(be, n * (int64_t)sizeof *device);
    const vj_peers_plan plan = {
        .gradient = device, .n = n, .bucket = bucket, .first = cut(first, n, kind), .node = node};
    assert_int_equal(vj_peers_open(&p, be, MPI_COMM_WORLD, &plan), VJ_OK);
    assert_int_equal(vj_group_open(&group, MPI_COMM_WORLD, node), VJ_OK);
    assert_true((p != NULL) == (size > 1));
    for (int again = 0; again < 2 && p; again++) {
        draw(made, n, again);
        memcpy(want, made, (size_t)n * sizeof *want);
        vj_group_allreduce(group, want, n);
        on_device = on_host = 0;
        make(be, p, device, made, n, again);
        assert_true(vj_peers_sum.end(p) >= 0.0);
        const bool direct = mpi_is_aware() && sends_its_own(placements[placement]);
        assert_true(direct ? on_host == 0 : on_device == 0);
        assert_true((strstr(vj_peers_way(p), "MPI from GPU") != NULL) <= direct);
        vj_download(be, got, device, n * (int64_t)sizeof *got);
        assert_int_equal(vj_sync(be), VJ_OK);
        const int64_t begin = plan.first ? first[rank] : 0, end = plan.first ? first[rank + 1] : n;
        assert_memory_equal(got + begin, want + begin, (size_t)(end - begin) * sizeof *got);
    }
    vj_peers_close(p);
    vj_group_close(group);
    MPI_Barrier(MPI_COMM_WORLD);
    vj_device_free(be, device);
}

/* Compute the bytes that a gather must give for an element of vector v. */
static void expect(char *to, int element, int v, int again, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const uint16_t half = (uint16_t)(i * 7 + 1000 * (2 * v + again));
        const float whole = (float)(i + 100000 * (2 * v + again));
        memcpy(to + i * element, element == 2 ? (const void *)&half : &whole, (size_t)element);
    }
}

/* Check a gather after every rank has updated its slices of some vectors, of which one is the beginning of another and
 * one has other borders: then all ranks have all vectors. Elements are floats, or in long vectors 16 bits. */
static void check_gather(vj_backend *be, int64_t n, int64_t bucket, int kind, int placement, bool halves)
{
    enum { GATHERED = 3 };
    static char want[GATHERED][4 * MOST], got[4 * MOST];
    int64_t first[2][9];
    vj_peers *p;
    float *gradient = vj_device_alloc(be, n * (int64_t)sizeof *gradient);
    const vj_gathered vector[GATHERED] = {{.n = n, .element = halves ? 2 : 4, .first = cut(first[0], n, kind)},
                                          {.n = n * 2 / 3, .element = halves ? 2 : 4, .first = first[0]},
                                          {.n = n / 5, .element = 4, .first = cut(first[1], n / 5, kind)}};
    char *device[GATHERED];
    for (int v = 0; v < GATHERED; v++) device[v] = vj_device_alloc(be, vector[v].n * vector[v].element);
    const vj_peers_plan plan = {.gradient = gradient,
                                .n = n,
                                .bucket = bucket,
                                .first = first[0],
                                .gathered = vector,
                                .memory = (void *const *)device,
                                .vectors = GATHERED,
                                .node = placements[placement][rank]};
    assert_int_equal(vj_peers_open(&p, be, MPI_COMM_WORLD, &plan), VJ_OK);
    for (int again = 0; again < 2 && p; again++) {
        for (int v = 0; v < GATHERED; v++) {
            const vj_gathered *g = &vector[v];
            const int64_t end = g->first[rank + 1] < g->n ? g->first[rank + 1] : g->n, begin = g->first[rank];
            expect(want[v], g->element, v, again, g->n);
            memset(got, 0xee, sizeof got); /* old values that must be replaced */
            vj_upload(be, device[v], got, g->n * g->element);
            if (begin < end)
                vj_upload(be, device[v] + begin * g->element, want[v] + begin * g->element, (end - begin) * g->element);
        }
        on_device = on_host = 0;
        vj_peers_gather(p);
        const bool direct = strstr(vj_peers_way(p), "MPI from GPU") != NULL;
        assert_true(direct ? on_host == 0 : on_device == 0);
        for (int v = 0; v < GATHERED; v++) {
            vj_download(be, got, device[v], vector[v].n * vector[v].element);
            assert_int_equal(vj_sync(be), VJ_OK);
            assert_memory_equal(got, want[v], (size_t)(vector[v].n * vector[v].element));
        }
    }
    vj_peers_close(p);
    MPI_Barrier(MPI_COMM_WORLD);
    vj_device_free(be, gradient);
    for (int v = 0; v < GATHERED; v++) vj_device_free(be, device[v]);
}

/* Return whether these ranks are placed as in an earlier placement. */
static bool is_seen_before(int placement)
{
    for (int p = 0; p < placement; p++) {
        bool same = true;
        for (int a = 0; a < size; a++)
            for (int b = 0; b < a; b++)
                same &=
                    (placements[p][a] == placements[p][b]) == (placements[placement][a] == placements[placement][b]);
        if (same) return true;
    }
    return false;
}

static void any_pace_gives_the_bits_of_the_group(void **state)
{
    (void)state;
    vj_backend *be = open_device();
    for (int placement = 0; placement < PLACEMENTS; placement++) {
        if (is_seen_before(placement)) continue;
        for (int kind = 0; kind < 3; kind++) check(be, MOST, kind == 0 ? 1500 : 4000, kind, placement);
        check(be, 17, 16, placement % 3, placement);
    }
    vj_backend_close(be);
}

static void every_rank_gets_all_slices(void **state)
{
    (void)state;
    vj_backend *be = open_device();
    for (int placement = 0; placement < PLACEMENTS; placement++) {
        if (is_seen_before(placement)) continue;
        check_gather(be, MOST, 1500, 1 + placement % 2, placement, placement % 2 == 0);
        check_gather(be, 17, 16, 1, placement, true);
    }
    vj_backend_close(be);
}

static void messages_from_device_memory_are_tried(void **state)
{
    (void)state;
    vj_backend *be = open_device();
    const bool takes = vj_device_messages(be, MPI_COMM_WORLD, MPI_COMM_WORLD);
    assert_int_equal(takes, mpi_is_aware());
    spoil = true;
    const bool believed = vj_device_messages(be, MPI_COMM_WORLD, MPI_COMM_WORLD);
    spoil = rank == 0; /* only another rank notices it */
    const bool believed_one = vj_device_messages(be, MPI_COMM_WORLD, MPI_COMM_WORLD);
    spoil = false;
    assert_false(believed);
    assert_false(believed_one);
    vj_backend_close(be);
}

/* Check that where a node's processes cannot share memory, there is no sum of devices, and kernels run as before. */
static void without_shared_memory_the_device_goes_on(void **state)
{
    (void)state;
    enum { N = 16 };
    float got[N];
    vj_peers *p;
    vj_backend *be = open_device();
    float *device = vj_device_alloc(be, sizeof got);
    const vj_peers_plan plan = {.gradient = device, .n = N, .bucket = N, .node = 0};
    assert_int_equal(vj_sync(be), VJ_OK); /* an idle device: nothing else asks for CUDA's last error */
    setenv("EMU_IPC", "0", 1);
    assert_int_equal(vj_peers_open(&p, be, MPI_COMM_WORLD, &plan), VJ_OK);
    unsetenv("EMU_IPC");
    assert_null(p);
    vj_fill(be, device, 2.5f, N);
    vj_download(be, got, device, sizeof got);
    assert_int_equal(vj_sync(be), VJ_OK);
    for (int i = 0; i < N; i++) assert_true(got[i] == 2.5f);
    vj_device_free(be, device);
    vj_backend_close(be);
}

static void buckets_grow_with_the_nodes(void **state)
{
    (void)state;
    assert_int_equal(vj_peers_bucket(4, 1), 4 << 18);
    assert_int_equal(vj_peers_bucket(4, 2), 8 << 18);
    assert_int_equal(vj_peers_bucket(4, 16), 64 << 18);
    assert_int_equal(vj_peers_bucket(4, 1000), 64 << 18);
    assert_int_equal(vj_peers_bucket(5, 13), 64 << 18);
    assert_int_equal(vj_peers_bucket(256, 1), 256 << 18);
    assert_int_equal(vj_peers_bucket(256, 8), 256 << 18);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_pace_gives_the_bits_of_the_group),
        cmocka_unit_test(every_rank_gets_all_slices),
        cmocka_unit_test(messages_from_device_memory_are_tried),
        cmocka_unit_test(without_shared_memory_the_device_goes_on),
        cmocka_unit_test(buckets_grow_with_the_nodes),
    };
    return end_on_ranks(cmocka_run_group_tests(tests, NULL, NULL));
}
