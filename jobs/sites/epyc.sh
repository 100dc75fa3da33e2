# shellcheck shell=bash disable=SC2034 # jobs/steps/lib.sh reads these
# A site: CPU nodes with two EPYC processors of 64 cores, four NUMA domains each, under Slurm. Copy this file, put in your
# account and queue, and name its path in place of "epyc". Every line can be left out but scheduler, walltime and launcher.
scheduler=slurm
account=my-project     # whose node hours: sbatch --account; '' for none
partition=standard     # the queue
nodes=8                # of a pretraining; the other steps take one, or what jobs/submit --nodes says
ranks_per_node=8       # a rank for each NUMA domain
cores_per_rank=16      # its threads
gpus_per_node=0
walltime=24:00:00      # the longest that the queue allows is best: a chain of few jobs
scratch=''             # a folder on the node's own disk for data.cache; '': clips are read from the shared file system
modules=()             # (gcc openmpi hdf5-parallel ffmpeg): what vjepa was built with, or its own module
# What starts ranks. srun ends the job when a rank dies only with --kill-on-bad-exit; mpirun does so by itself.
launcher=(srun --mpi=pmix --kill-on-bad-exit=1 --cpu-bind=cores)
submit_options=(--exclusive --hint=nomultithread) # further options of sbatch
