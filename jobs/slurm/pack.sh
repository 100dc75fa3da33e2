#!/usr/bin/env bash
# Packs videos into a clip store, in a chain of jobs: each adds shards that are missing, until index.h5 is there.
#   jobs/submit SITE pack CONFIG.yaml --set pack.store=NAME.clips [options of vjepa-pack]
# jobs/slurm/pretrain.sh says how to submit by hand.
#
# Cost: decoding. A core decodes 4500 frames of 240p a second, or 350 of 720p. vjepa-plan CONFIG.yaml computes core
# hours and the size of the store for your lists. The job takes one node unless --nodes says more, for the same store.
# Expected: NAME.clips with ledger.csv, which has a verdict on each file. Submitted again, it says that the store is complete.
#SBATCH --job-name=vjepa-pack
#SBATCH --signal=B:USR1@60
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
# shellcheck source=jobs/steps/pack.sh
. "${VJEPA_JOBS:-${SLURM_SUBMIT_DIR:?is set by Slurm: submit this file with jobs/submit or sbatch}/jobs}/steps/pack.sh" # Slurm runs a copy of this file, elsewhere
