#!/usr/bin/env bash
# Evaluation from clips: all probes of a campaign in one pass of the frozen encoders, as a chain of jobs like a pretraining's. Each
# goes on from DIR/evaluation.h5 and submits the next one, until DIR/complete is there.
#   jobs/submit SITE evaluate CONFIG.yaml NAME=RUN|CHECKPOINT|random:published ... --train A.clips --validation B.clips --out DIR
# With --parts N, between submit and SITE, a job array: task K makes part K of the table (vjepa-evaluate --part K/N) as a chain of
# its own, in DIR/part_K_of_N, and the last one that ends joins them. By hand --array=1-N and --parts N.
# RUN is the folder of a finished pretraining, and stands for its last checkpoint. By hand as jobs/slurm/pretrain.sh says, which
# also tells when a chain ends.
#
# Cost: vjepa-evaluate ... --dry-run says samples, FLOPs and memory. The encoder passes once over each sample and epoch, however
# many probes there are: nine low-shot probes cost about as much as one. Parts encode apart what their rows need: as many as
# encoders cost no more than one job, more of them end earlier and cost more.
# Expected: DIR/complete, results.md, results.csv, results.json, predictions.h5, splits/. The table does not depend on the number of
# jobs, parts or ranks.
#SBATCH --job-name=vjepa-evaluate
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
# shellcheck source=jobs/steps/evaluate.sh
. "${VJEPA_JOBS:-$SLURM_SUBMIT_DIR/jobs}/steps/evaluate.sh" # Slurm runs a copy of this file, elsewhere
