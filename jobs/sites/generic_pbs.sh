# shellcheck shell=bash disable=SC2034 # jobs/steps/lib.sh reads these
# A site: CPU nodes under PBS Professional, OpenPBS or Torque; jobs/sites/epyc.sh explains each line. An Open MPI that was built
# without PBS learns the nodes from the file that PBS makes; one that was built with it needs only launcher=(mpirun).
scheduler=pbs
account=my-project # qsub -A
partition=workq    # qsub -q
nodes=4
ranks_per_node=8
cores_per_rank=16
gpus_per_node=0 # ngpus of a chunk in PBS's select
walltime=24:00:00
scratch=''
modules=()
launcher=(mpirun -hostfile "${PBS_NODEFILE:-}")
submit_options=() # options for further "#PBS" lines of the job, such as "-l place=scatter:excl"
