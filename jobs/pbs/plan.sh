#!/usr/bin/env bash
# The step plan under PBS: jobs/slurm/plan.sh says what it does, what it costs and what to expect.
#   jobs/submit SITE plan CONFIG.yaml ...            with a site file that says scheduler=pbs
# By hand, with the resources of your machine: qsub -A ... -l select=... -l walltime=... -- jobs/pbs/plan.sh SITE CONFIG.yaml ...
set -euo pipefail
# shellcheck source=jobs/steps/plan.sh
. "$(dirname "$0")/../steps/plan.sh"
