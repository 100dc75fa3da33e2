#!/usr/bin/env bash
# Measures how the training step scales: vjepa-bench step on 1, 2, 4, ... ranks of the job, then on all. Weak scaling
# has one clip for each rank; strong scaling has as many clips as the job has ranks, on any number of ranks. With --set
# parallel.tensor=T tensor groups of T ranks take the place of ranks.
#   jobs/submit --nodes N SITE scale CONFIG.yaml [options of vjepa-bench step] --out DIR
#
# Cost: about half a minute for each study and number of ranks, and again for the second pass (VJEPA_SCALE_PASSES sets
# the number of passes). Strong scaling on one rank takes longer, by a factor of the number of ranks of the job.
# Expected: DIR/STUDY.RANKS.PASS.json of each (phases, peaks, memory); DIR/scaling.csv: seconds per step (min, median,
# max), clips per second, efficiency, node hours for 1000 steps; DIR/phases.csv: phases over the ranks, with the slowest
# rank and its node; and DIR/report.md with plots. vjepa-scale --help says how they are made.
#SBATCH --job-name=vjepa-scale
#SBATCH --open-mode=append
set -euo pipefail
# shellcheck source=jobs/steps/scale.sh
. "${VJEPA_JOBS:-${SLURM_SUBMIT_DIR:?is set by Slurm: submit this file with jobs/submit or sbatch}/jobs}/steps/scale.sh" # Slurm runs a copy of this file, elsewhere
