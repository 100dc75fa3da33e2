# shellcheck shell=bash
# Source this before mpirun on a workstation or in a container: root may start ranks, ranks may outnumber cores, and
# waiting ranks yield instead of spinning. Batch jobs on a cluster do not need it. OMP_NUM_THREADS stays unset, so that
# the programs divide the processors among the ranks of a node. Values that are already set are kept.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=${OMPI_MCA_rmaps_base_oversubscribe:-1}
export OMPI_MCA_mpi_yield_when_idle=${OMPI_MCA_mpi_yield_when_idle:-1}
export OMPI_MCA_hwloc_base_binding_policy=${OMPI_MCA_hwloc_base_binding_policy:-none}
export OMPI_MCA_btl=${OMPI_MCA_btl:-self,vader}
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
export OPENBLAS_NUM_THREADS=${OPENBLAS_NUM_THREADS:-1}
export HDF5_USE_FILE_LOCKING=${HDF5_USE_FILE_LOCKING:-FALSE}
