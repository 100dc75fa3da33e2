#!/usr/bin/env bash
# The step pretrain under PBS: jobs/slurm/pretrain.sh says what it does, what it costs and what to expect.
#   jobs/submit SITE pretrain CONFIG.yaml ...            with a site file that says scheduler=pbs
# By hand, with the resources of your machine: qsub -A ... -l select=... -l walltime=... -- jobs/pbs/pretrain.sh SITE CONFIG.yaml ...
set -euo pipefail
# shellcheck source=jobs/steps/pretrain.sh
. "$(dirname "$0")/../steps/pretrain.sh"
