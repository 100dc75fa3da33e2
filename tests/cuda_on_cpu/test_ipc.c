/*
 * Device memory and events between the processes of a node. Each rank fills its block, round after round, and takes
 * what all others have; only events order that. The ranks meet in MPI before a peer's newest record is waited for, and
 * while they meet, no rank has made its own stream work.
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

enum { N = 1000, MOST_RANKS = 8, ROUNDS = 20 };

static int rank, size;

typedef struct {
    cudaStream_t stream;
    int *block[MOST_RANKS]; /* ours is at `rank` */
    cudaEvent_t made[MOST_RANKS], taken[MOST_RANKS];
} node;

static void open_node(node *n)
{
    struct {
        cudaIpcMemHandle_t memory;
        cudaIpcEventHandle_t made, taken;
    } handles[MOST_RANKS];
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
    int *host[MOST_RANKS];
    open_node(&n);
    for (int r = 0; r < size; r++) assert_int_equal(cudaHostAlloc((void **)&host[r], N * sizeof(int), 0), cudaSuccess);
    for (int round = 0; round < ROUNDS; round++) {
        /* Nobody may still take what we overwrite. */
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

/* Without the wait the neighbour's work is not there: it is done when somebody asks for it. */
static void test_a_missing_wait_shows(void **state)
{
    (void)state;
    if (size == 1 || getenv("EMU_STREAMS")) skip(); /* then work may be done early */
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
    for (int i = 0; i < N; i++) assert_int_equal(host[i], -1); /* as cudaMalloc() left it */
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
    const int failed = size <= MOST_RANKS ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
    if (failed) MPI_Abort(MPI_COMM_WORLD, failed);
    MPI_Finalize();
    return 0;
}
