#!/usr/bin/env bash
# Makes the table of a campaign of probes from the parts that the tasks of jobs/slurm/probe.sh wrote; jobs/submit SITE
# probe submits both. It runs whether or not the tasks succeeded, and names the parts that are missing.
# By hand: sbatch ... jobs/slurm/merge.sh --parts N SITE CONFIG.yaml --out DIR
#
# Cost: a second on one core.
# Expected: DIR/results.csv, results.json, results.md, and the table in the log; else exit code 1 and the names of
# missing parts.
#SBATCH --job-name=vjepa-merge
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
# shellcheck source=jobs/steps/merge.sh
. "${VJEPA_JOBS:-${SLURM_SUBMIT_DIR:?is set by Slurm: submit this file with jobs/submit or sbatch}/jobs}/steps/merge.sh" # Slurm runs a copy of this file, elsewhere
