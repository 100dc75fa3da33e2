#!/usr/bin/env bash
# The step merge under PBS: jobs/slurm/merge.sh says what it does, what it costs and what to expect.
#   jobs/submit SITE merge CONFIG.yaml ...            with a site file that says scheduler=pbs
# By hand, with the resources of your machine: qsub -A ... -l select=... -l walltime=... -- jobs/pbs/merge.sh SITE CONFIG.yaml ...
set -euo pipefail
# shellcheck source=jobs/steps/merge.sh
. "$(dirname "$0")/../steps/merge.sh"
