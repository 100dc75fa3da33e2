#!/usr/bin/env bash
# Trains a campaign of probes as a job array: task K of N trains its share of the probes (vjepa-probe --part K/N). A job
# that waits for all tasks makes the table (jobs/slurm/merge.sh).
#   jobs/submit [--parts N] SITE probe CONFIG.yaml NAME=TRAIN.h5,VALIDATION.h5 ... --out DIR
# By hand: sbatch --array=1-N ... jobs/slurm/probe.sh --parts N SITE CONFIG.yaml NAME=... --out DIR, then merge.sh with
# --dependency=afterany:JOB.
#
# Cost: minutes to hours on one node for each task. Probes on average pooling cost almost nothing; attentive probes on
# all tokens cost the rest. The first log line says how many probes there are; more tasks than rows of the table are of
# no use.
# Expected: DIR/part_K_of_N.json of each task, then DIR/results.csv, results.json, results.md, whose numbers are those
# of one vjepa-probe without --part. When merge names missing parts, submit all again, or submit --array=K by hand.
#SBATCH --job-name=vjepa-probe
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
# shellcheck source=jobs/steps/probe.sh
. "${VJEPA_JOBS:-${SLURM_SUBMIT_DIR:?is set by Slurm: submit this file with jobs/submit or sbatch}/jobs}/steps/probe.sh" # Slurm runs a copy of this file, elsewhere
