#!/usr/bin/env bash
# Weak scaling of the training step: vjepa-bench step on 1, 2, 4, ... ranks of the job, then on all, a clip a rank.
#   jobs/submit --nodes N SITE scale CONFIG.yaml [options of vjepa-bench step] --out DIR
#
# Cost: about half a minute for each number of ranks.
# Expected: DIR/ranks_N.json of each (phases, peaks, memory), and DIR/scaling.csv: ranks, seconds a step (median, min, max), clips
# a second, and efficiency, the time of one rank over that of N.
#SBATCH --job-name=vjepa-scale
#SBATCH --open-mode=append
set -euo pipefail
# shellcheck source=jobs/steps/scale.sh
. "${VJEPA_JOBS:-$SLURM_SUBMIT_DIR/jobs}/steps/scale.sh" # Slurm runs a copy of this file, elsewhere
