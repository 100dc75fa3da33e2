# shellcheck shell=bash disable=SC2034 # scripts that source this read what it sets
# jobs/submit, jobs/calibrate and the steps source this file. It reads options and the site file, finds where a step
# writes, and runs the chain of jobs that repeats a step until it is done. Read chain() first.
jobs=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { echo "$(date +%Y-%m-%dT%H:%M:%S) $*"; }
die() { # EXIT_CODE MESSAGE
    echo "${0##*/}: $2" >&2
    exit "$1"
}

# ------------------------------------------------------------------------------------------------ command line and site

options=()   # the options before SITE, which each job of a chain passes on to the next
site='' step='' arguments=()

# Parse [--nodes N] [--time HH:MM:SS] [--attempts N] [--parts N] [--after JOB] [--chain JOB] [--task K] SITE ...
# Sets option_NAME for each option, `rest` to SITE and all that follows, and `options` to the options that the next job
# of a chain gets too: all but --after, --chain and --task.
parse_options() {
    option_nodes='' option_time='' option_attempts=100 option_parts='' option_after='' option_chain='' option_task=''
    while [[ ${1:-} == --* ]]; do
        [ $# -ge 2 ] || die 2 "$1 takes a value"
        case $1 in
        --nodes | --attempts | --parts | --task) [[ $2 =~ ^[1-9][0-9]*$ ]] || die 2 "$1 takes a number from 1, not '$2'" ;;
        --time) [[ $2 =~ ^[0-9]+:[0-5][0-9]:[0-5][0-9]$ ]] || die 2 "--time takes HH:MM:SS, not '$2'" ;;
        --after | --chain) ;;
        *) die 2 "unknown option $1; see jobs/submit --help" ;;
        esac
        printf -v "option_${1#--}" %s "$2"
        case $1 in --after | --chain | --task) ;; *) options+=("$1" "$2") ;; esac
        shift 2
    done
    rest=("$@")
}

# Read and check a site file, and apply --nodes and --time. FILE is a name in jobs/sites or a path.
load_site() { # FILE
    local file=$1 name
    [[ $file == */* ]] || file=$jobs/sites/$file.sh
    [ -r "$file" ] ||
        die 2 "no site file $file; a site is one of $(cd "$jobs/sites" && echo *.sh | sed 's/\.sh//g'), or the path of your own"
    site=$(readlink -f "$file")
    scheduler='' account='' partition='' nodes=1 ranks_per_node=1 cores_per_rank=1 gpus_per_node=0 walltime='' scratch=''
    modules=() launcher=() submit_options=()
    # shellcheck source=jobs/sites/epyc.sh
    . "$site"
    case $scheduler in slurm | pbs) ;; *) die 2 "$site: scheduler is '$scheduler'; it takes slurm or pbs" ;; esac
    for name in nodes ranks_per_node cores_per_rank; do
        [[ ${!name} =~ ^[1-9][0-9]*$ ]] || die 2 "$site: $name is '${!name}'; it takes a number from 1"
    done
    [[ $walltime =~ ^[0-9]+:[0-5][0-9]:[0-5][0-9]$ ]] || die 2 "$site: walltime is '$walltime'; it takes HH:MM:SS"
    ((${#launcher[@]})) || die 2 "$site: launcher is empty; it takes (mpirun) or (srun --mpi=pmix), say"
    case $step in pretrain | evaluate) ;; *) nodes=1 ;; esac # the other steps take one node unless --nodes says more
    nodes=${option_nodes:-$nodes}
    walltime=${option_time:-$walltime}
}

walltime_s() {
    local h m s
    IFS=: read -r h m s <<<"$walltime"
    echo $((10#$h * 3600 + 10#$m * 60 + 10#$s))
}

# Set `bin` to the folder of the programs: VJEPA_BIN, else beside these scripts (installed, or built in a checkout),
# else the one in the PATH.
find_programs() {
    local folder
    for folder in "${VJEPA_BIN:-}" "$jobs/../../../bin" "$jobs/../build/bin" "$(dirname "$(command -v vjepa-pretrain || echo /)")"; do
        if [ -n "$folder" ] && [ -x "$folder/vjepa-pretrain" ]; then
            bin=$(cd "$folder" && pwd)
            return
        fi
    done
    die 2 "no vjepa-pretrain in VJEPA_BIN, beside $jobs or in the PATH: build or install vjepa first (INSTALL)"
}

# ------------------------------------------------------------------------------------------------ where a step writes

# Print the value of OPTION among the arguments, given as "--out DIR" or "--out=DIR", or nothing if it is not there.
argument() { # OPTION
    local i
    for ((i = 0; i < ${#arguments[@]}; i++)); do
        case ${arguments[i]} in
        "$1") echo "${arguments[i + 1]:-}" ;;
        "$1="*) echo "${arguments[i]#*=}" ;;
        esac
    done | tail -n 1
}

# Print the value that PROGRAM gives to a setting, from the configuration (the first argument) and --set. Needs no MPI.
setting() { # PROGRAM SECTION KEY
    local settings=() i text
    for ((i = 1; i < ${#arguments[@]}; i++)); do
        case ${arguments[i]} in
        --set) settings+=(--set "${arguments[i + 1]:-}") ;;
        --set=*) settings+=("${arguments[i]}") ;;
        esac
    done
    text=$("$bin/$1" "${arguments[0]}" "${settings[@]}" --print-config) || exit 2
    sed -n "/^$2:/,/^[a-z]/s/^  $3: //p" <<<"$text" | sed 's/^"\(.*\)"$/\1/; s/\\\(["\\]\)/\1/g'
}

# Set `out` to the path that the step writes, and `record` to the folder of its job logs and of attempts.csv.
find_output() {
    ((${#arguments[@]})) || die 2 "$step takes a configuration, CONFIG.yaml, and what vjepa-$step takes"
    case $step in
    pretrain) out=$(setting vjepa-pretrain run dir) ;;
    pack) out=$(setting vjepa-pack pack store) ;;
    embed)
        out=$(argument --out)
        [ -n "$out" ] || out=$(setting vjepa-embed embed store)
        ;;
    evaluate | probe | merge | scale | plan) out=$(argument --out) ;;
    *) die 2 "unknown step '$step'; it is one of pack, pretrain, evaluate, embed, probe, plan, scale" ;;
    esac
    [ -n "$out" ] ||
        die 2 "where does $step write? --out NAME, for pack --set pack.store=NAME.clips, for pretrain --set run.dir=RUN"
    [[ $out == /* ]] || out=$PWD/$out
    while [[ $out == */ ]]; do out=${out%/}; done
    case $step in pack | embed) record=$out.jobs ;; *) record=$out/jobs ;; esac
}

# Remove --out from the arguments, for a program that has no such option: the job script alone uses it.
take_out() {
    local kept=() i
    for ((i = 0; i < ${#arguments[@]}; i++)); do
        case ${arguments[i]} in
        --out) i=$((i + 1)) ;;
        --out=*) ;;
        *) kept+=("${arguments[i]}") ;;
        esac
    done
    arguments=("${kept[@]}")
}

# Print the path of the last checkpoint of a finished run.
last_checkpoint() { # RUN
    [ -e "$1/complete" ] || die 2 "$1 is not complete: see jobs/status '$1'. A checkpoint on the way is named as a file"
    find "$1" -maxdepth 1 -name 'step_*.h5' | sort | tail -n 1
}

# ------------------------------------------------------------------------------------------------ the record of attempts

# Append a line to attempts.csv, which records what happened to the jobs of a step. In it `chain` is the first of the
# jobs that submitted one another, `progress` says how much of the step is done (steps in checkpoints, or shards), and
# `code` is the launcher's exit code.
record_event() { # EVENT [CODE] [WHY]
    local file=$record/attempts.csv
    [ -e "$file" ] || echo 'time,job,chain,event,progress,code,why' >>"$file"
    echo "$(date +%Y-%m-%dT%H:%M:%S),$job,$chain,$1,$(progress),${2:-},${3:-}" >>"$file"
}

# Set `attempt` to the number of this attempt in its chain, and `idle` to how many of the last attempts began with the
# progress that there is now. A job that ended because another job was at work does not count as an attempt.
count_attempts() {
    read -r attempt idle < <(awk -F, -v chain="$chain" -v here="$(progress)" '
        $3 != chain { next }
        $4 == "start" { if ($5 == here) idle++; else idle = 0; n++; at = $5 }
        $4 == "end" && $7 ~ /^another job/ { n--; if (idle > 0) idle-- }
        END { print n + 1, at == here ? idle + 0 : 0 }' "$record/attempts.csv" 2>/dev/null || echo 1 0)
}

# ------------------------------------------------------------------------------------------------ this job

# Each step calls this first. It sets job, chain, index (of the task in a job array), out, record and ranks, and loads
# the site's modules.
begin_job() { # STEP [options] SITE ARGUMENTS...
    local module
    step=$1
    shift
    parse_options "$@"
    arguments=("${rest[@]:1}")
    load_site "${rest[0]:?a job of vjepa takes SITE and the arguments of its program}"
    find_programs
    find_output
    mkdir -p "$record"
    index=${option_task:-${SLURM_ARRAY_TASK_ID:-${PBS_ARRAY_INDEX:-${PBS_ARRAYID:-1}}}}
    job=${SLURM_ARRAY_JOB_ID:-${SLURM_JOB_ID:-${PBS_JOBID:-$$}}}
    if [ "$step" = evaluate ] && [ -n "${SLURM_ARRAY_JOB_ID:-}" ]; then job=${job}_$index; fi # each task begins a chain
    chain=${option_chain:-$job}
    if [ "$scheduler" = pbs ]; then exec >>"$record/$step-${PBS_JOBID:-$$}.log" 2>&1; fi
    set +u # functions of module systems use variables that are not set
    for module in "${modules[@]}"; do module load "$module"; done
    set -u
    ranks=$((nodes * ranks_per_node))
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$cores_per_rank}
    find_job_end
    say "vjepa $step: job $job${SLURM_RESTART_COUNT:+, started again by the scheduler ($SLURM_RESTART_COUNT)}," \
        "$ranks ranks on ${SLURM_JOB_NODELIST:-$(hostname)}, writes $out"
}

# Where the scheduler does not tell programs when this job ends, set VJEPA_JOB_END_TIME, which --max-hours auto reads.
find_job_end() {
    local end=''
    [ -z "${SLURM_JOB_END_TIME:-}${VJEPA_JOB_END_TIME:-}" ] || return 0
    if [ -n "${SLURM_JOB_ID:-}" ]; then
        end=$(scontrol -o show job "$SLURM_JOB_ID" 2>/dev/null | sed -n 's/.* EndTime=\([0-9T:-]*\) .*/\1/p' | head -n 1)
        end=$(date -d "$end" +%s 2>/dev/null || true)
    fi
    # PBS does not say when a job ends, so count from now; the program's reserve covers that the job began earlier.
    export VJEPA_JOB_END_TIME=${end:-$(($(date +%s) + ${PBS_WALLTIME:-$(walltime_s)}))}
}

# Replace this shell by a program on the given number of ranks of this job.
launch() { # RANKS PROGRAM ARGUMENTS...
    local count=$1 program=$2 place=()
    shift 2
    if [ "${launcher[0]}" = srun ]; then place=(-N $(((count + ranks_per_node - 1) / ranks_per_node))); fi
    exec "${launcher[@]}" "${place[@]}" -n "$count" "$bin/$program" "$@"
}

# Start a program on the given number of ranks, wait for it, and set `code` to its exit code. The signals USR1 (sent
# before the time limit) and TERM are passed on as USR1, after which vjepa-pretrain writes a checkpoint and stops. A
# program that does not stop in time is killed.
run_program() { # RANKS PROGRAM ARGUMENTS...
    local child signalled killer=''
    cancelled=''
    launch "$@" &
    child=$!
    trap 'signalled=1; ask_to_stop USR1' USR1
    trap 'signalled=1; ask_to_stop TERM' TERM
    while :; do
        signalled=''
        code=0
        wait "$child" || code=$?
        [ -n "$signalled" ] || break
    done
    trap - USR1 TERM
    [ -z "$killer" ] || kill "$killer" 2>/dev/null || true
}

ask_to_stop() { # SIGNAL
    local left=$((${SLURM_JOB_END_TIME:-$VJEPA_JOB_END_TIME} - $(date +%s)))
    say "signal $1, $left s before the end of the job: the program is asked to stop"
    if [ "$1" = TERM ] && ((left > 120)); then cancelled=1; fi
    kill -USR1 "$child" 2>/dev/null || true
    [ -z "$killer" ] || return 0
    (
        sleep $((left > 40 ? left - 30 : 10))
        kill -TERM "$child"
        sleep 10
        kill -KILL "$child"
    ) >/dev/null 2>&1 &
    killer=$!
}

# Print the state of this job: CANCELLED after a TERM well before the time limit, else what Slurm says, else RUNNING.
job_state() {
    local state=''
    if [ -n "${SLURM_JOB_ID:-}" ]; then
        state=$(scontrol -o show job "$SLURM_JOB_ID" 2>/dev/null | sed -n 's/.* JobState=\([A-Z_]*\) .*/\1/p' | head -n 1)
    fi
    if [ -n "$cancelled" ]; then state=CANCELLED; fi
    echo "${state:-RUNNING}"
}

# Print who else is at work in the folder, or fail if nobody is. Somebody is if the lease names another job and its time
# still changes (docs/formats.md, Lease).
other_job() {
    local lease=$out/lease mine=${SLURM_JOB_ID:-${PBS_JOBID:-none}} first now clock=$record/clock-$job holder
    first=$(stat -c %Y "$lease" 2>/dev/null) || return 1
    while :; do
        holder=$(sed -n 's/^job //p' "$lease" 2>/dev/null) || return 1
        [ -n "$holder" ] && [ "$holder" != "$mine" ] || return 1
        now=$(stat -c %Y "$lease" 2>/dev/null) || return 1
        touch "$clock" # tells the time by the clock of the same file system
        if ((now != first)); then break; fi
        if (($(stat -c %Y "$clock") - now > ${VJEPA_LEASE_S:-90})); then
            rm -f "$clock"
            return 1
        fi
        sleep 1
    done
    rm -f "$clock"
    if [ "$holder" = none ]; then holder="a process on $(sed -n 's/^host //p' "$lease")"; else holder="job $holder"; fi
    echo "$holder"
}

# ------------------------------------------------------------------------------------------------ a job without a chain

# Make an empty file that marks when this job began: a newer file was written by this job.
began() {
    touch "$record/began-$job-$index"
    trap 'rm -f "$record/began-$job-$index"' EXIT
}

run_once() { # RANKS PROGRAM ARGUMENTS...
    began
    run_program "$@"
}

# End the job. It succeeded if FILE, which the step publishes, is new; the launcher's exit code does not decide.
end_once() { # FILE [WORDS for the record]
    if [ "$1" -nt "$record/began-$job-$index" ]; then
        record_event end "$code" "${2:-complete}"
        say "$1 is written"
        exit 0
    fi
    record_event end "$code" "the launcher returned $code; $1 was not written"
    say "the launcher returned $code, and $1 was not written: see above, then submit again"
    exit $((code ? code : 1))
}

# ------------------------------------------------------------------------------------------------ the chain

# Run a program, submit the job that continues if the step is not done then, and end this job. The launcher's exit code
# does not tell whether the step is done, since mpirun has returned 0 after it lost a node; but exit code 2, wrong
# settings, ends the chain. The step defines is_done, progress (prints a number that grows), stopped_by_user, and
# optionally completed.
chain() { # PROGRAM ARGUMENTS...
    local holder why
    if is_done; then
        say "$out is complete: nothing to do"
        completed ''
    fi
    count_attempts
    if ((attempt > option_attempts)); then give_up "$((attempt - 1)) attempts were made, and no more are allowed (--attempts)"; fi
    if ((idle >= 3)); then give_up "the last $idle attempts made no progress beyond $(progress)"; fi
    record_event start
    say "attempt $attempt of at most $option_attempts, at $(progress)"
    history_before=$(last_happening)
    run_program "$ranks" "$@"
    if is_done; then
        say "$out is complete"
        completed "$code"
    fi
    if holder=$(other_job); then
        record_event end "$code" "another job is at work: $holder"
        say "another job is at work in $out, $holder: this one has nothing to do, and ends"
        exit 0
    fi
    why=$(why_ended)
    record_event end "$code" "$why"
    say "not complete: $why"
    if ((code == 2)); then
        say "settings that are wrong stay wrong: nothing is submitted again. See the messages above"
        exit 2
    fi
    if stopped_by_user; then
        say "stopped by the user: nothing is submitted. Submit again to go on"
        exit 0
    fi
    case $(job_state) in
    RUNNING | TIMEOUT) submit_next ;;
    CANCELLED)
        say "this job was cancelled: nothing is submitted. Submit again to go on"
        exit 1
        ;;
    *) say "this job is $(job_state): the scheduler starts it again" ;;
    esac
    exit 0
}

# End the job when its step is done. A step may define its own.
completed() { # CODE of the launcher
    record_event end "$1" complete
    exit 0
}

last_happening() { sed -n '$p' "$out/history.csv" 2>/dev/null || true; } # pretrain and evaluate have one

# Print "step N: REASON" if the program stopped early in this job. For an evaluation N is the epoch.
last_stop() {
    local line
    line=$(last_happening)
    if [ "$line" != "$history_before" ]; then sed -n 's/^[^,]*,stop,\([0-9]*\),.*,"\(.*\)"$/step \1: \2/p' <<<"$line"; fi
}

# Print in words why the program ended before the step was done.
why_ended() {
    local text
    text=$(last_stop)
    case $step in pretrain | evaluate) ;; *) text='' ;; esac
    case $code in
    2) text='wrong settings' ;;
    137) text=${text:-killed} ;;
    *) text=${text:-"the launcher returned $code before the end"} ;;
    esac
    echo "${text//,/;}"
}

give_up() { # REASON
    local last
    last=$(awk -F, -v chain="$chain" '$3 == chain && $4 == "end" { why = $7 } END { print why }' "$record/attempts.csv")
    record_event end '' "given up: $1"
    say "given up: $1. The last one ended so: ${last:-without a word (node lost or job killed)}." \
        "Logs are in $record. When the cause is removed, submit again"
    exit 1
}

submit_next() {
    local pause next task=()
    if [ "$step" = evaluate ] && [ -n "$option_parts" ]; then task=(--task "$index"); fi # only this task goes on
    for pause in 0 10 30 60 0; do
        sleep "$pause"
        if next=$("$jobs/submit" --chain "$chain" "${task[@]}" "${options[@]}" "$site" "$step" "${arguments[@]}"); then
            say "goes on in job $next"
            exit 0
        fi
    done
    record_event end "$code" 'the next job could not be submitted'
    say "the next job could not be submitted; submit again by hand to go on"
    exit 1
}
