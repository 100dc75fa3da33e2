# shellcheck shell=bash
# A job that makes features: [options] SITE CONFIG.yaml [options of vjepa-embed]. See jobs/slurm/embed.sh.
# shellcheck source=jobs/steps/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin_job embed "$@"

# If --encoder names a folder, take the last checkpoint of that finished run.
for ((i = 0; i + 1 < ${#arguments[@]}; i++)); do
    run=${arguments[i + 1]}
    if [ "${arguments[i]}" != --encoder ] || [ ! -d "$run" ]; then continue; fi
    arguments[i + 1]=$(last_checkpoint "$run")
done

# The file appears only when it is whole. If it was there before, an earlier job made it, and the program judges it.
began
is_done() { [ "$out" -nt "$record/began-$job-$index" ]; }
progress() { echo 0; }
stopped_by_user() { false; }

chain vjepa-embed "${arguments[@]}"
