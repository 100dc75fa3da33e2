#!/usr/bin/env bash
# The step pack under PBS: jobs/slurm/pack.sh says what it does, what it costs and what to expect.
#   jobs/submit SITE pack CONFIG.yaml ...            with a site file that says scheduler=pbs
# By hand, with the resources of your machine: qsub -A ... -l select=... -l walltime=... -- jobs/pbs/pack.sh SITE CONFIG.yaml ...
set -euo pipefail
# shellcheck source=jobs/steps/pack.sh
. "$(dirname "$0")/../steps/pack.sh"
