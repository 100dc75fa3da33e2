# shellcheck shell=bash
# A job of a pretraining: [options] SITE CONFIG.yaml [options of vjepa-pretrain]. See jobs/slurm/pretrain.sh.
# shellcheck source=jobs/steps/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin_job pretrain "$@"

is_done() { [ -e "$out/complete" ]; }
progress() { # the newest checkpoint's step
    local newest
    newest=$(find "$out" -maxdepth 1 -name 'step_*.h5' 2>/dev/null | sort | tail -n 1)
    newest=$(basename "${newest:-step_0.h5}" .h5)
    echo $((10#${newest#step_}))
}
stopped_by_user() { [[ $(last_stop) == *': the file stop '* ]]; }

cache=()
if [ -n "$scratch" ]; then cache=(--set data.cache="$scratch"); fi
chain vjepa-pretrain "${arguments[0]}" "${cache[@]}" "${arguments[@]:1}" --max-hours auto
