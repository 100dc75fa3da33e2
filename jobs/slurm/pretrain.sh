#!/usr/bin/env bash
# Pretrains in a chain of jobs: each goes on from the newest checkpoint, and submits the next until RUN/complete exists.
#   jobs/submit SITE pretrain CONFIG.yaml --set run.dir=RUN [options of vjepa-pretrain]
# By hand, from the folder that holds jobs/: sbatch --account=... --nodes=... --ntasks-per-node=... --cpus-per-task=...
#   --time=... jobs/slurm/pretrain.sh SITE CONFIG.yaml --set run.dir=RUN
#
# A job stops in time before its limit (--max-hours auto), or when the scheduler warns it (USR1), writes a checkpoint, and
# submits the next job. It also submits the next job when a node died, the launcher failed, or a rank hung. It does not
# when the settings are wrong, the job was cancelled, somebody made the file RUN/stop, another job is at work in RUN,
# three jobs in a row made no progress, or --attempts are used up. A job that the scheduler starts again (preemption,
# lost node) also goes on from the newest checkpoint.
#
# Cost: vjepa-plan CONFIG.yaml --cluster CLUSTER.yaml says node hours, jobs and the time of a checkpoint before you start.
# Expected: RUN/complete, the last step_*.h5, and in RUN/jobs a log for each job and attempts.csv. jobs/status RUN shows
# the progress. The tensors are, bit for bit, those of one uninterrupted job on as many ranks.
#SBATCH --job-name=vjepa-pretrain
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
# shellcheck source=jobs/steps/pretrain.sh
. "${VJEPA_JOBS:-${SLURM_SUBMIT_DIR:?is set by Slurm: submit this file with jobs/submit or sbatch}/jobs}/steps/pretrain.sh" # Slurm runs a copy of this file, elsewhere
