# shellcheck shell=bash
# The table of a campaign of probes: [options] SITE CONFIG.yaml ... --out DIR. See jobs/slurm/merge.sh.
# shellcheck source=jobs/steps/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin_job merge "$@"
progress() { echo 0; }

run_once 1 vjepa-probe "${arguments[@]}" --merge "${option_parts:-8}"
end_once "$out/results.csv"
