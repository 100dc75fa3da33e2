# shellcheck shell=bash
# A plan: [options] SITE CONFIG.yaml [options of vjepa-plan] --out DIR. See jobs/slurm/plan.sh.
# shellcheck source=jobs/steps/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin_job plan "$@"
progress() { echo 0; }
take_out

began
code=0
"$bin/vjepa-plan" "${arguments[@]}" >"$out/plan.txt.new" || code=$?
cat "$out/plan.txt.new"
((code)) || mv "$out/plan.txt.new" "$out/plan.txt"
end_once "$out/plan.txt"
