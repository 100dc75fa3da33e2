# shellcheck shell=bash
# A job of an evaluation: [options] SITE CONFIG.yaml NAME=ENCODER ... --train A.clips --validation B.clips --out DIR. See
# jobs/slurm/evaluate.sh.
# shellcheck source=jobs/steps/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin_job evaluate "$@"

# If NAME=RUN names a folder, take the last checkpoint of that finished run.
for ((i = 1; i < ${#arguments[@]}; i++)); do
    run=${arguments[i]#*=}
    if [[ ${arguments[i]} != [!-]*=* ]] || [ "${arguments[i - 1]}" = --set ] || [ ! -d "$run" ]; then continue; fi
    arguments[i]=${arguments[i]%%=*}=$(last_checkpoint "$run")
done

part=()
if [ -n "$option_parts" ]; then # this is a task of a job array, with its own chain of jobs and its own folder
    campaign=$out
    out=$campaign/part_${index}_of_$option_parts
    part=(--part "$index/$option_parts")

    all_complete() {
        local k
        for ((k = 1; k <= option_parts; k++)); do [ -e "$campaign/part_${k}_of_$option_parts/complete" ] || return 1; done
    }

    # The task that finds all parts complete makes the table. Two may do so at the same time; they write the same files.
    completed() { # CODE
        record_event end "$1" "part $index is complete"
        if ! all_complete; then
            say "part $index of $option_parts is complete; the last one makes the table"
            exit 0
        fi
        began
        run_program 1 vjepa-evaluate "${arguments[@]}" --merge "$option_parts"
        end_once "$campaign/complete"
    }
fi

is_done() { [ -e "$out/complete" ]; }
progress() { stat -c %Y "$out/evaluation.h5" 2>/dev/null || echo 0; } # when its checkpoint was written
stopped_by_user() { [[ $(last_stop) == *': the file stop '* ]]; }

chain vjepa-evaluate "${arguments[@]}" "${part[@]}" --max-hours auto
