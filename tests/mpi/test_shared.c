/* Tests memory shared by the ranks of a node: all ranks read what the writer wrote, in any size, alone or together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <mpi.h>

#include "../on_ranks.h"
#include "parallel/parallel.h"
#include "parallel/shared.h"

static void fill_and_read(MPI_Comm comm, int64_t bytes)
{
    vj_shared s;
    int rank, size, writers = 0, writer;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
    assert_int_equal(vj_shared_open(&s, comm, bytes, "bytes of a test"), VJ_OK);
    uint8_t *memory = s.memory;
    writer = s.writers != MPI_COMM_NULL;
    MPI_Allreduce(&writer, &writers, 1, MPI_INT, MPI_SUM, comm);
    assert_int_equal(writers, 1); /* all ranks of this test are on one node */
    assert_int_equal(writer, rank == 0);
    for (int64_t i = 0; i < bytes && writer; i++) assert_int_equal(memory[i], 0);
    for (int64_t i = 0; i < bytes && writer; i++) memory[i] = (uint8_t)(i * 7 + 1);
    vj_shared_publish(&s);
    for (int64_t i = 0; i < bytes; i++) assert_int_equal(memory[i], (uint8_t)(i * 7 + 1));
    MPI_Barrier(comm);
    vj_shared_close(&s);
    vj_shared_close(&s);
    assert_null(s.memory);
}

static void test_sizes(void **state)
{
    (void)state;
    static const int64_t sizes[] = {0, 1, 63, 4096, 4097, 300000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        fill_and_read(MPI_COMM_WORLD, sizes[i]);
        fill_and_read(MPI_COMM_SELF, sizes[i]);
    }
}

/* Check that more memory than any machine has is refused on all ranks, and that no rank is killed. */
static void test_too_much(void **state)
{
    (void)state;
    vj_shared s;
    assert_int_equal(vj_shared_open(&s, MPI_COMM_WORLD, INT64_C(1) << 56, "bytes of a test"), VJ_ERR_MEMORY);
    vj_shared_publish(&s);
    vj_shared_close(&s);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sizes), cmocka_unit_test(test_too_much)};
    return end_on_ranks(cmocka_run_group_tests_name("shared", tests, NULL, NULL));
}
