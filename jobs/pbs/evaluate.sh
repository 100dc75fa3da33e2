#!/usr/bin/env bash
# The step evaluate under PBS: jobs/slurm/evaluate.sh says what it does, what it costs and what to expect.
#   jobs/submit SITE evaluate CONFIG.yaml ...            with a site file that says scheduler=pbs
# By hand, with the resources of your machine: qsub -A ... -l select=... -l walltime=... -- jobs/pbs/evaluate.sh SITE CONFIG.yaml ...
set -euo pipefail
# shellcheck source=jobs/steps/evaluate.sh
. "$(dirname "$0")/../steps/evaluate.sh"
