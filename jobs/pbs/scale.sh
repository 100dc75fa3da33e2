#!/usr/bin/env bash
# The step scale under PBS: jobs/slurm/scale.sh says what it does, what it costs and what to expect.
#   jobs/submit SITE scale CONFIG.yaml ...            with a site file that says scheduler=pbs
# By hand, with the resources of your machine: qsub -A ... -l select=... -l walltime=... -- jobs/pbs/scale.sh SITE CONFIG.yaml ...
set -euo pipefail
# shellcheck source=jobs/steps/scale.sh
. "$(dirname "$0")/../steps/scale.sh"
