/* The ranks' kernels, compared. */
#include "train/alike.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

/* What one rank has, and where it runs. */
typedef struct {
    vj_kernels kernels;
    char host[MPI_MAX_PROCESSOR_NAME];
} rank_kernels;

/* "avx512 + onednn 2.6.3 on avx512 processors, fp32" */
static const char *title(const vj_kernels *k, char text[160])
{
    snprintf(text, 160, "%s%s%s, %s", k->isa, k->library[0] ? " + " : "", k->library,
             k->precision == VJ_BF16 ? "bf16" : "fp32");
    return text;
}

static bool same(const vj_kernels *a, const vj_kernels *b)
{
    return strcmp(a->isa, b->isa) == 0 && strcmp(a->library, b->library) == 0 && a->precision == b->precision;
}

vj_status vj_kernels_agree(const vj_backend *be, MPI_Comm comm)
{
    rank_kernels mine = {0}, first;
    char here[160], there[160];
    int rank, length;
    MPI_Comm_rank(comm, &rank);
    vj_backend_kernels(be, &mine.kernels);
    MPI_Get_processor_name(mine.host, &length);
    first = mine;
    MPI_Bcast(&first, (int)sizeof first, MPI_BYTE, 0, comm);
    int other = same(&mine.kernels, &first.kernels) ? INT_MAX : rank; /* the first rank that differs */
    MPI_Allreduce(MPI_IN_PLACE, &other, 1, MPI_INT, MPI_MIN, comm);
    if (other == INT_MAX) return VJ_OK;
    const vj_status status = VJ_ERR_USAGE;
    if (rank == other)
        vj_raise(status,
                 "rank %d on %.64s computes with %s, rank 0 on %.64s with %s: results would differ in their last "
                 "bits. Start all ranks on the same kind of node, or with the same VJ_ISA (avx2, portable, ...) and "
                 "VJ_PRODUCTS (own, ...) that all of them have",
                 rank, mine.host, title(&mine.kernels, here), first.host, title(&first.kernels, there));
    return vj_agree(comm, status); /* no rank may end the job before the message is printed */
}

vj_status vj_backend_open_alike(vj_backend **be, const char *name, vj_precision precision, const vj_place *place,
                                MPI_Comm comm)
{
    vj_status status = vj_agree(comm, vj_backend_open_at(be, name, precision, place->threads, place->local_rank));
    if (status == VJ_OK) status = vj_kernels_agree(*be, comm);
    if (status == VJ_OK) return VJ_OK;
    vj_backend_close(*be);
    *be = NULL;
    return status;
}
