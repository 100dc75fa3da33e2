/* Preloaded into a program: starting MPI ends it, as on a login node where MPI is not allowed. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

static _Noreturn void refuse(const char *call)
{
    fprintf(stderr, "%s: MPI is not allowed here\n", call);
    _Exit(99);
}

int MPI_Init(int *argc, char ***argv)
{
    (void)argc; /* part of MPI's signature */
    (void)argv;
    refuse(__func__);
}

int MPI_Init_thread(int *argc, char ***argv, int required, int *provided)
{
    (void)argc; /* part of MPI's signature */
    (void)argv;
    (void)required;
    (void)provided;
    refuse(__func__);
}
