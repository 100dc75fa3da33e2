#!/usr/bin/env bash
# Says what a campaign would cost on this machine, before it begins: vjepa-plan, on a compute node, counts its cores.
#   jobs/submit SITE plan CONFIG.yaml [options of vjepa-plan] --out DIR
# vjepa-plan also runs without a job, on a login node, with the description of a machine (--cluster jobs/configs/cluster_*.yaml).
#
# Cost: seconds on one node.
# Expected: DIR/plan.txt: hours of video, core hours, the size of the store, the best layout, memory, checkpoints, number of jobs.
#SBATCH --job-name=vjepa-plan
#SBATCH --open-mode=append
set -euo pipefail
# shellcheck source=jobs/steps/plan.sh
. "${VJEPA_JOBS:-${SLURM_SUBMIT_DIR:?is set by Slurm: submit this file with jobs/submit or sbatch}/jobs}/steps/plan.sh" # Slurm runs a copy of this file, elsewhere
