# shellcheck shell=bash disable=SC2034 # jobs/steps/lib.sh reads these
# A site: nodes of 4 Grace Hopper superchips, 72 cores and a GPU each, under Slurm; jobs/sites/epyc.sh explains each line.
scheduler=slurm
account=my-project
partition=normal
nodes=8
ranks_per_node=4 # a rank for each superchip
cores_per_rank=72
gpus_per_node=4
walltime=24:00:00
scratch=''
modules=()
launcher=(srun --mpi=pmix --kill-on-bad-exit=1)
submit_options=(--exclusive)
