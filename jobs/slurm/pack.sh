#!/usr/bin/env bash
# Packing videos into a clip store, as a chain of jobs: each goes on with the shards that are missing, until index.h5 is there.
#   jobs/submit SITE pack CONFIG.yaml --set pack.store=NAME.clips [options of vjepa-pack]
# By hand as jobs/slurm/pretrain.sh says.
#
# Cost: decoding; a core does 4500 frames of 240p a second or 350 of 720p. vjepa-plan CONFIG.yaml counts core hours and the size of
# the store for your lists. One node unless --nodes says more; the store is the same.
# Expected: NAME.clips with ledger.csv, which has a verdict on each file. Submitted again, it says that the store is complete.
#SBATCH --job-name=vjepa-pack
#SBATCH --signal=B:USR1@60
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
# shellcheck source=jobs/steps/pack.sh
. "${VJEPA_JOBS:-$SLURM_SUBMIT_DIR/jobs}/steps/pack.sh" # Slurm runs a copy of this file, elsewhere
