#!/usr/bin/env bash
# Evaluates frozen encoders from clips: trains all probes of a campaign in one pass of the encoders. The jobs form a
# chain, as in pretraining: each goes on from DIR/evaluation.h5 and submits the next one, until DIR/complete is there.
#   jobs/submit SITE evaluate CONFIG.yaml NAME=RUN|CHECKPOINT|random:published ... --train A.clips --validation B.clips --out DIR
# With --parts N between submit and SITE it is a job array: task K makes part K of the table (vjepa-evaluate --part K/N)
# as a chain of its own, in DIR/part_K_of_N, and the task that ends last joins the parts. To submit an array by hand,
# use --array=1-N and --parts N.
# RUN is the folder of a finished pretraining, and stands for its last checkpoint. jobs/slurm/pretrain.sh says how to
# submit by hand and when a chain ends.
#
# Cost: vjepa-evaluate ... --dry-run says samples, FLOPs and memory. The encoder passes once over each sample and epoch, however
# many probes there are: nine low-shot probes cost about as much as one. Each part encodes by itself what its rows of
# the table need. As many parts as encoders cost no more than one job; with more parts the table is ready earlier, but
# costs more.
# Expected: DIR/complete, results.md, results.csv, results.json, predictions.h5, splits/. The table does not depend on the number of
# jobs, parts or ranks.
#SBATCH --job-name=vjepa-evaluate
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
# shellcheck source=jobs/steps/evaluate.sh
. "${VJEPA_JOBS:-${SLURM_SUBMIT_DIR:?is set by Slurm: submit this file with jobs/submit or sbatch}/jobs}/steps/evaluate.sh" # Slurm runs a copy of this file, elsewhere
