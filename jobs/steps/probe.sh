# shellcheck shell=bash
# A task of a campaign of probes: [options] SITE CONFIG.yaml NAME=TRAIN.h5,VALIDATION.h5 ... --out DIR. See jobs/slurm/probe.sh.
# shellcheck source=jobs/steps/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin_job probe "$@"
option_parts=${option_parts:-8}
progress() { echo "$index of $option_parts"; }

run_once "$ranks" vjepa-probe "${arguments[@]}" --part "$index/$option_parts"
end_once "$out/part_${index}_of_$option_parts.json" "part $index is written"
