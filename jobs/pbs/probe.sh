#!/usr/bin/env bash
# The step probe under PBS: jobs/slurm/probe.sh says what it does, what it costs and what to expect.
#   jobs/submit SITE probe CONFIG.yaml ...            with a site file that says scheduler=pbs
# By hand, with the resources of your machine: qsub -A ... -l select=... -l walltime=... -- jobs/pbs/probe.sh SITE CONFIG.yaml ...
set -euo pipefail
# shellcheck source=jobs/steps/probe.sh
. "$(dirname "$0")/../steps/probe.sh"
