# shellcheck shell=bash
# A job of an evaluation: [options] SITE CONFIG.yaml NAME=ENCODER ... --train A.clips --validation B.clips --out DIR. See
# jobs/slurm/evaluate.sh.
# shellcheck source=jobs/steps/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin_job evaluate "$@"

# NAME=RUN, a folder, is the last checkpoint of a finished run.
for ((i = 1; i < ${#arguments[@]}; i++)); do
    run=${arguments[i]#*=}
    if [[ ${arguments[i]} != [!-]*=* ]] || [ "${arguments[i - 1]}" = --set ] || [ ! -d "$run" ]; then continue; fi
    arguments[i]=${arguments[i]%%=*}=$(last_checkpoint "$run")
done

is_done() { [ -e "$out/complete" ]; }
progress() { stat -c %Y "$out/evaluation.h5" 2>/dev/null || echo 0; } # when its checkpoint was written
stopped_by_user() { [[ $(last_stop) == *': the file stop '* ]]; }

chain vjepa-evaluate "${arguments[@]}" --max-hours auto
