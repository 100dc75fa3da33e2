#!/usr/bin/env bash
# Scaling of the training step: vjepa-bench step on 1, 2, 4, ... ranks of the job, then on all; a clip for each rank (weak), and
# as many clips as the job has ranks for any number of them (strong). With --set parallel.tensor=T over tensor groups.
#   jobs/submit --nodes N SITE scale CONFIG.yaml [options of vjepa-bench step] --out DIR
#
# Cost: about half a minute for each study and number of ranks, and again for the second pass (VJEPA_SCALE_PASSES); strong scaling
# on one rank takes as many times longer as the job has ranks.
# Expected: DIR/STUDY.RANKS.PASS.json of each (phases, peaks, memory); DIR/scaling.csv: seconds a step (min, median, max), clips a
# second, efficiency, node hours for 1000 steps; DIR/phases.csv: phases over the ranks, with the slowest rank and its node; and
# DIR/report.md with plots. vjepa-scale --help says how they are made.
#SBATCH --job-name=vjepa-scale
#SBATCH --open-mode=append
set -euo pipefail
# shellcheck source=jobs/steps/scale.sh
. "${VJEPA_JOBS:-$SLURM_SUBMIT_DIR/jobs}/steps/scale.sh" # Slurm runs a copy of this file, elsewhere
