#!/usr/bin/env bash
# Computes the features of a frozen encoder for the clips of a store, by vjepa-embed on all ranks of a job.
#   jobs/submit SITE embed CONFIG.yaml --encoder RUN|CHECKPOINT|random:published --store NAME.clips --out FEATURES.h5
# RUN is the folder of a finished pretraining, and stands for its last checkpoint. jobs/slurm/pretrain.sh says how to
# submit by hand.
#
# Cost: a forward pass of each clip, a ninth of a training step's work on it. A clip takes N x D x 4 bytes on disk, for
# N tokens of width D (ViT-L at 224: 6.4 MB).
# Expected: FEATURES.h5, and in the log the effective rank. A job that fails is repeated at most twice.
#SBATCH --job-name=vjepa-embed
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
# shellcheck source=jobs/steps/embed.sh
. "${VJEPA_JOBS:-${SLURM_SUBMIT_DIR:?is set by Slurm: submit this file with jobs/submit or sbatch}/jobs}/steps/embed.sh" # Slurm runs a copy of this file, elsewhere
