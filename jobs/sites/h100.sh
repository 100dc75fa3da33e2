# shellcheck shell=bash disable=SC2034 # jobs/steps/lib.sh reads these
# A site: nodes of 8 H100, under Slurm; jobs/sites/epyc.sh explains each line. Every rank must see all GPUs of its node, so that
# ranks read one another's memory: jobs/submit asks for --gpus-per-node and --gpu-bind=none.
scheduler=slurm
account=my-project
partition=gpu
nodes=4
ranks_per_node=8 # a rank for each GPU
cores_per_rank=14
gpus_per_node=8
walltime=24:00:00
scratch=''
modules=()
launcher=(srun --mpi=pmix --kill-on-bad-exit=1)
submit_options=(--exclusive)
