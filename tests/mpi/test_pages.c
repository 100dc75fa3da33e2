/*
 * Tests files written by ranks of several nodes: no page is written from two nodes, and all bytes arrive. Rows are
 * longer or shorter than pages, or in columns that are shorter than a page for all ranks together.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "../on_ranks.h"
#include "../placements.h"
#include "h5/pages.h"
#include "parallel/parallel.h"

enum { COLUMNS = 4, ROWS = 301, BATCH = 7 };

static const int64_t row_bytes[COLUMNS] = {70001, 8, 12, 3000};
static int rank, size;
static char path[64];

static char byte_of(int column, int64_t at)
{
    return (char)(at * 31 + at / 977 + column);
}

static void write_rows(vj_h5_writer *w, const int64_t *place)
{
    int64_t first, last;
    static char row[BATCH * 70001];
    vj_split(ROWS, size, rank, &first, &last);
    for (int64_t r = first; r < last; r += BATCH)
        for (int c = 0; c < COLUMNS; c++) {
            const int64_t bytes = (last - r < BATCH ? last - r : BATCH) * row_bytes[c];
            for (int64_t i = 0; i < bytes; i++) row[i] = byte_of(c, r * row_bytes[c] + i);
            assert_int_equal(vj_h5_write(w, place[c] + r * row_bytes[c], row, bytes), VJ_OK);
        }
}

/* Check which nodes wrote the pages in which writes began and ended; rank 0 writes HDF5's structures. */
static void check_pages(const vj_h5_writer *w, int64_t pages)
{
    int *node = calloc((size_t)pages, sizeof *node), *most = calloc((size_t)pages, sizeof *most);
    assert_true(node && most);
    for (int64_t i = 0; i < pages; i++) node[i] = most[i] = -1;
    for (int64_t i = 0; i < w->edges; i++)
        for (int64_t at = w->edge[i].at; at < w->edge[i].at + w->edge[i].bytes; at++) node[at / VJ_H5_PAGE] = w->node;
    if (rank == 0) node[(w->data_place - 1) / VJ_H5_PAGE] = w->node;
    MPI_Allreduce(node, most, (int)pages, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    for (int64_t i = 0; i < pages; i++)
        if (node[i] >= 0 && node[i] != most[i])
            fail_msg("page %lld is written from nodes %d and %d", (long long)i, node[i], most[i]);
    free(node);
    free(most);
}

static void check_bytes(const int64_t *place)
{
    for (int c = 0; c < COLUMNS; c++) {
        const int64_t bytes = ROWS * row_bytes[c];
        char *got = malloc((size_t)bytes);
        FILE *file = fopen(path, "rb");
        assert_true(got && file);
        assert_int_equal(fseek(file, (long)place[c], SEEK_SET), 0);
        assert_int_equal(fread(got, 1, (size_t)bytes, file), bytes);
        for (int64_t i = 0; i < bytes; i++)
            if (got[i] != byte_of(c, i)) fail_msg("column %d, byte %lld", c, (long long)i);
        fclose(file);
        free(got);
    }
}

static void write_file(const int *node_of, int nodes)
{
    vj_h5_writer w;
    int64_t place[COLUMNS];
    vj_status status = VJ_OK;
    assert_int_equal(vj_h5_create(&w, path, "test", 1, COLUMNS * VJ_H5_OBJECT_BYTES, MPI_COMM_WORLD), VJ_OK);
    w.node = node_of[rank];
    w.nodes = nodes;
    for (int c = 0; c < COLUMNS; c++) {
        char name[16];
        snprintf(name, sizeof name, "column%d", c);
        const hsize_t dim = (hsize_t)(ROWS * row_bytes[c]);
        if (rank == 0 && status == VJ_OK) status = vj_h5_dataset(&w, name, H5T_STD_U8LE, 1, &dim, &place[c]);
    }
    assert_int_equal(vj_h5_share(&w, status), VJ_OK);
    MPI_Bcast(place, COLUMNS, MPI_INT64_T, 0, MPI_COMM_WORLD);
    write_rows(&w, place);
    assert_int_equal(vj_h5_gather(&w, vj_h5_flush(&w)), VJ_OK);
    assert_int_equal(vj_h5_gather(&w, vj_h5_verify(&w)), VJ_OK);
    if (size > 1) check_pages(&w, (place[COLUMNS - 1] + ROWS * row_bytes[COLUMNS - 1]) / VJ_H5_PAGE + 1);
    assert_int_equal(vj_h5_commit(&w, rank == 0 ? vj_h5_publish(&w) : VJ_OK), VJ_OK);
    if (rank == 0) check_bytes(place);
    MPI_Barrier(MPI_COMM_WORLD);
}

static void nodes_share_no_page(void **state)
{
    (void)state;
    for (int p = 0; p < PLACEMENTS; p++) {
        int nodes = 1;
        for (int r = 0; r < size; r++)
            if (placements[p][r] != placements[p][0]) nodes = 2; /* it only matters whether there is more than one */
        write_file(placements[p], nodes);
    }
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    int pid = (int)getpid();
    MPI_Bcast(&pid, 1, MPI_INT, 0, MPI_COMM_WORLD);
    snprintf(path, sizeof path, "/tmp/vjepa-pages-%d.h5", pid);
    const struct CMUnitTest tests[] = {cmocka_unit_test(nodes_share_no_page)};
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0) unlink(path);
    return end_on_ranks(failed);
}
