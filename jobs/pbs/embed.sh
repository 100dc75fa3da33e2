#!/usr/bin/env bash
# The step embed under PBS: jobs/slurm/embed.sh says what it does, what it costs and what to expect.
#   jobs/submit SITE embed CONFIG.yaml ...            with a site file that says scheduler=pbs
# By hand, with the resources of your machine: qsub -A ... -l select=... -l walltime=... -- jobs/pbs/embed.sh SITE CONFIG.yaml ...
set -euo pipefail
# shellcheck source=jobs/steps/embed.sh
. "$(dirname "$0")/../steps/embed.sh"
