/*
 * Tests device memory and events that processes of a node share. In each round every rank fills its block and copies
 * the blocks of all others; only events order this. The ranks synchronise by MPI before they wait for a peer's newest
 * event, and until then no rank has executed its own stream.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <mpi.h>

#include "emulated.h"

enum { N = 1000, MAX_RANKS = 8, ROUNDS = 20 };

static int rank, size;

typedef struct {
    cudaStream_t stream;
    int *block[MAX_RANKS]; /* this rank's own block is at index `rank` */
    cudaEvent_t made[MAX_RANKS], taken[MAX_RANKS];
} node;

static void open_node(node *n)
{
    struct {
        cudaIpcMemHandle_t memory;
        cudaIpcEventHandle_t made, taken;
    } handles[MAX_RANKS];
    assert_int_equal(cudaStreamCreateWithFlags(&n->stream, cudaStreamNonBlocking), cudaSuccess);
    assert_int_equal(cudaMalloc((void **)&n->block[rank], N * sizeof(int)), cudaSuccess);
    const unsigned flags = cudaEventDisableTiming | cudaEventInterprocess;
    assert_int_equal(cudaEventCreateWithFlags(&n->made[rank], flags), cudaSuccess);
    assert_int_equal(cudaEventCreateWithFlags(&n->taken[rank], flags), cudaSuccess);
    assert_int_equal(cudaIpcGetMemHandle(&handles[rank].memory, n->block[rank]), cudaSuccess);
    assert_int_equal(cudaIpcGetEventHandle(&handles[rank].made, n->made[rank]), cudaSuccess);
    assert_int_equal(cudaIpcGetEventHandle(&handles[rank].taken, n->taken[rank]), cudaSuccess);
    MPI_Allgather(MPI_IN_PLACE, 0, MPI_BYTE, handles, sizeof handles[0], MPI_BYTE, MPI_COMM_WORLD);
    for (int r = 0; r < size; r++)
        if (r != rank) {
            void *memory, *again;
            assert_int_equal(cudaIpcOpenMemHandle(&memory, handles[r].memory, 0), cudaSuccess);
            assert_int_equal(cudaIpcOpenMemHandle(&again, handles[r].memory, 0), cudaSuccess);
            assert_ptr_equal(memory, again);
            assert_int_equal(cudaIpcCloseMemHandle(again), cudaSuccess);
            n->block[r] = memory;
            assert_int_equal(cudaIpcOpenEventHandle(&n->made[r], handles[r].made), cudaSuccess);
            assert_int_equal(cudaIpcOpenEventHandle(&n->taken[r], handles[r].taken), cudaSuccess);
        }
}

static void close_node(node *n)
{
    assert_int_equal(cudaStreamSynchronize(n->stream), cudaSuccess);
    MPI_Barrier(MPI_COMM_WORLD);
    for (int r = 0; r < size; r++) {
        if (r != rank) assert_int_equal(cudaIpcCloseMemHandle(n->block[r]), cudaSuccess);
        assert_int_equal(cudaEventDestroy(n->made[r]), cudaSuccess);
        assert_int_equal(cudaEventDestroy(n->taken[r]), cudaSuccess);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    assert_int_equal(cudaFree(n->block[rank]), cudaSuccess);
    assert_int_equal(cudaStreamDestroy(n->stream), cudaSuccess);
}

static int value(int r, int round)
{
    const unsigned char byte = (unsigned char)(1 + r * ROUNDS + round);
    int word;
    memset(&word, byte, sizeof word);
    return word;
}

static void test_rounds(void **state)
{
    (void)state;
    node n;
    int *host[MAX_RANKS];
    open_node(&n);
    for (int r = 0; r < size; r++) assert_int_equal(cudaHostAlloc((void **)&host[r], N * sizeof(int), 0), cudaSuccess);
    for (int round = 0; round < ROUNDS; round++) {
        /* No rank may still be copying what is overwritten now. */
        for (int r = 0; r < size; r++) assert_int_equal(cudaStreamWaitEvent(n.stream, n.taken[r], 0), cudaSuccess);
        assert_int_equal(cudaMemsetAsync(n.block[rank], value(rank, round) & 0xff, N * sizeof(int), n.stream),
                         cudaSuccess);
        assert_int_equal(cudaEventRecord(n.made[rank], n.stream), cudaSuccess);
        MPI_Barrier(MPI_COMM_WORLD);
        for (int r = 0; r < size; r++) {
            assert_int_equal(cudaStreamWaitEvent(n.stream, n.made[r], 0), cudaSuccess);
            assert_int_equal(cudaMemcpyAsync(host[r], n.block[r], N * sizeof(int), cudaMemcpyDeviceToHost, n.stream),
                             cudaSuccess);
        }
        assert_int_equal(cudaEventRecord(n.taken[rank], n.stream), cudaSuccess);
        MPI_Barrier(MPI_COMM_WORLD);
        if (round % 3 == rank % 3) {
            assert_int_equal(cudaStreamSynchronize(n.stream), cudaSuccess);
            for (int r = 0; r < size; r++)
                for (int i = 0; i < N; i++) assert_int_equal(host[r][i], value(r, round));
        }
    }
    close_node(&n);
    for (int r = 0; r < size; r++) assert_int_equal(cudaFreeHost(host[r]), cudaSuccess);
}

/* Check that without the wait the neighbour's data are missing, because emulated work is only done when it is waited
 * for.
 */
static void test_a_missing_wait_shows(void **state)
{
    (void)state;
    if (size == 1 || getenv("EMU_STREAMS")) skip(); /* with EMU_STREAMS work may be done early */
    node n;
    int host[N];
    open_node(&n);
    const int next = (rank + 1) % size;
    assert_int_equal(cudaMemsetAsync(n.block[rank], 5, N * sizeof(int), n.stream), cudaSuccess);
    assert_int_equal(cudaEventRecord(n.made[rank], n.stream), cudaSuccess);
    MPI_Barrier(MPI_COMM_WORLD);
    cudaStream_t other;
    assert_int_equal(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking), cudaSuccess);
    assert_int_equal(cudaMemcpyAsync(host, n.block[next], sizeof host, cudaMemcpyDeviceToHost, other), cudaSuccess);
    for (int i = 0; i < N; i++) assert_int_equal(host[i], -1); /* still as cudaMalloc() left it */
    MPI_Barrier(MPI_COMM_WORLD);
    assert_int_equal(cudaEventSynchronize(n.made[next]), cudaSuccess);
    assert_int_equal(cudaMemcpyAsync(host, n.block[next], sizeof host, cudaMemcpyDeviceToHost, other), cudaSuccess);
    for (int i = 0; i < N; i++) assert_int_equal(host[i], 0x05050505);
    assert_int_equal(cudaStreamDestroy(other), cudaSuccess);
    close_node(&n);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rounds), cmocka_unit_test(test_a_missing_wait_shows)};
    const int failed = size <= MAX_RANKS ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
    if (failed) MPI_Abort(MPI_COMM_WORLD, failed);
    MPI_Finalize();
    return 0;
}
