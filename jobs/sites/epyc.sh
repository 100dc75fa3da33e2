# shellcheck shell=bash disable=SC2034 # jobs/steps/lib.sh reads these
# A site: CPU nodes with two EPYC processors of 64 cores and four NUMA domains each, under Slurm. Copy this file, put in
# your account and queue, and give its path in place of "epyc". Only scheduler, walltime and launcher are required.
scheduler=slurm
account=my-project     # the account that pays node hours (sbatch --account); '' for none
partition=standard     # the queue
nodes=8                # of a pretraining or an evaluation; the other steps take one, or what jobs/submit --nodes says
ranks_per_node=8       # a rank for each NUMA domain
cores_per_rank=16      # threads of a rank
gpus_per_node=0
walltime=24:00:00      # the longest that the queue allows is best, since the chain then has few jobs
scratch=''             # a folder on the node's own disk for data.cache; '' reads clips from the shared file system
modules=()             # (gcc openmpi hdf5-parallel ffmpeg): what vjepa was built with, or its own module
# The command that starts ranks. Only with --kill-on-bad-exit srun ends the job when a rank dies; mpirun always does.
launcher=(srun --mpi=pmix --kill-on-bad-exit=1 --cpu-bind=cores)
submit_options=(--exclusive --hint=nomultithread) # further options of sbatch
