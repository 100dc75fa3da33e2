#!/usr/bin/env bash
# Makes faults at random places of short runs. After each one the same command is started until the run is complete. It may only
# lose the work since its last checkpoint, and must end in the bits of an undisturbed run.
#   bash tests/faults/run.sh [COUNT [SEED]]        # 60 faults from seed 1 on; or: ctest -L faults
# Prints a line for each fault and "N passed, N failed". The fault of line SEED alone: run.sh 1 SEED. Two are under way at
# a time, since much of the time is waiting: for launchers to clean up, for signals to arrive.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/../e2e/lib.sh"
count=${1:-60} first_seed=${2:-1}
shim=${VJEPA_SHIM:-$tools/libfault_shim.so}
every=5 steps=24 lanes=2

# NAME RANKS SETTINGS: the kinds of runs. Those whose settings this build does not have are left out.
modes=(
    "plain 1"
    "plain 2"
    "plain 3"
    "plain 4"
    "zero 2 parallel.zero=1"
    "zero 4 parallel.zero=1"
    "pixel 2 objective.kind=pixel"
    "async 2 checkpoint.async=true"
    "async-zero 3 checkpoint.async=true parallel.zero=1"
    "tensor 2 parallel.tensor=2 model.heads=4 predictor.heads=4"
    "tensor-zero 4 parallel.tensor=2 parallel.zero=1 model.heads=4 predictor.heads=4"
    "reproducible 2 parallel.reduction=reproducible"
)
# The kinds of faults, each a function below. The seed chooses one by its place in this list.
kinds=(die_reading die_writing signal_usr1 error_writing die_all error_elsewhere stop_file die_committing full_disk
    error_loading short_calls signal_term die_writing error_writing die_reading error_reading hang full_tmpfs hang_reading
    hang_writing)

# Killed processes leave files only in this folder and in $scratch.
segments=$(mktemp -d "$([ -w /dev/shm ] && echo /dev/shm || echo "$scratch")/vjepa-faults.XXXXXX")
export OMPI_MCA_btl_vader_backing_directory=$segments
cleanup() {
    for m in "$scratch"/run-*; do if mountpoint -q "$m"; then umount "$m" || true; fi; done
    rm -rf "$segments" "$scratch"
}
trap cleanup EXIT
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0 # the shim is loaded before the sanitizer

make_store train.clips 40

# ------------------------------------------------------------------------------------------------ runs

pick() { # VARIABLE FROM TO: a random number, the same for the same seed
    printf -v "$1" %d $(($2 + (RANDOM * 32768 + RANDOM) % ($3 - $2 + 1)))
}

use_mode() { # "NAME RANKS SETTING..."
    local words word
    read -ra words <<<"$1"
    ranks=${words[1]} mode=${words[0]}-${words[1]}
    sets=(--set checkpoint.every="$every" --set run.watchdog_s=15) # after some errors ranks wait inside the MPI library
    for word in "${words[@]:2}"; do sets+=(--set "$word"); done
}

pretrain() { # [MPIRUN'S OPTIONS --] [ARGS...]: in run folder $dir; status of the launcher in $code, output in $log
    local options=()
    if [ "${1:-}" = -x ]; then
        while [ "$1" != -- ]; do
            options+=("$1")
            shift
        done
        shift
    fi
    code=0
    mpirun --timeout 300 -n "$ranks" "${options[@]}" "$bin/vjepa-pretrain" "$tiny" --set run.dir="$dir" "${sets[@]}" "$@" \
        >"$log" 2>&1 &
    launcher=$!
}
ended() { { wait "$launcher" || code=$?; } 2>/dev/null; }

rows() { # whole lines of metrics.csv
    if [ -f "$dir/metrics.csv" ]; then grep -c '^[0-9].*[0-9]$' "$dir/metrics.csv" || true; else echo 0; fi
}

newest() { # step of the newest checkpoint; 0: none
    local path step=0
    for path in "$dir"/step_*.h5; do
        path=${path##*/step_}
        if [ "$path" != '*.h5' ]; then step=$((10#${path%.h5})); fi
    done
    echo "$step"
}

# Start a slow run and wait for a random step; then $launcher is mpirun and pids[rank] its ranks.
start_and_wait() { # [ARGS...]
    local pid rank n
    pick n 1 14
    pretrain --set train.backend=strict "$@"
    for _ in $(seq 2000); do
        if [ "$(rows)" -ge "$n" ] || ! kill -0 "$launcher" 2>/dev/null; then break; fi
        sleep 0.01
    done
    where="after step $n" pids=()
    for pid in $(pgrep -P "$launcher"); do
        rank=$(tr '\0' '\n' 2>/dev/null <"/proc/$pid/environ" | sed -n 's/^OMPI_COMM_WORLD_RANK=//p')
        if [ -n "$rank" ]; then pids[rank]=$pid; fi
    done
}

# Start a run with a fault at the K-th call, with a random K up to MOST. If the run does not make so many calls, try fewer.
inject() { # RANK CALL TEXT MOST ACTION [ARGS...]
    local rank=$1 call=$2 text=$3 most=$4 action=$5 k
    shift 5
    while :; do
        pick k 1 "$most"
        where="rank $rank, call $k: $call $text $action"
        prepare
        pretrain -x LD_PRELOAD="$shim" -x VJ_FAULT="$rank $call $text $k $action" -- "$@"
        ended
        if grep -aq '^fault:' "$log"; then return; fi
        if [ "$most" -eq 1 ]; then
            problem="the fault never came"
            return
        fi
        most=$((most / 4 + 1))
        if [ "$most" -lt 3 ]; then most=1; fi
    done
}
prepare() { rm -rf "$dir"; } # error_loading has another

# ------------------------------------------------------------------------------------------------ kinds of faults

any_rank() { pick victim 0 $((ranks - 1)); }
one_of() { # WORD...
    local i
    pick i 1 $#
    chosen=${!i}
}

die_reading() { # one rank, kill -9, while it reads clips
    any_rank
    inject "$victim" read shard- $((steps * 12 / ranks)) kill
}
die_writing() { # one rank, kill -9, anywhere in a checkpoint
    any_rank
    inject "$victim" any step_ $((victim == 0 ? 3000 : 120)) kill
}
die_committing() { # rank 0, kill -9, when a checkpoint gets its name or its place on disk
    one_of rename sync unlink reserve
    inject 0 "$chosen" step_ 8 kill
}
die_all() { # all ranks and the launcher, kill -9
    start_and_wait
    kill -9 "$launcher" "${pids[@]}" 2>/dev/null || true
    ended
}
signal_usr1() {
    start_and_wait
    kill -USR1 "$launcher" 2>/dev/null || true
    ended
    want_code=75
}
signal_term() {
    start_and_wait
    kill -TERM "$launcher" 2>/dev/null || true
    ended
}
stop_file() {
    start_and_wait
    touch "$dir/stop"
    ended
    want_code=75
    if [ -e "$dir/stop" ]; then problem="the stop file is still there"; fi
}
full_disk() { # from the k-th write on
    any_rank
    one_of write any
    inject "$victim" "$chosen" step_ 300 ENOSPC+
    lossless=
}
full_tmpfs() { # a file system that holds two checkpoints
    mkdir -p "$dir"
    if ! mount -t tmpfs -o size=4m vjepa-faults "$dir" 2>/dev/null; then
        full_disk
        return
    fi
    where="tmpfs of 4 MiB"
    pretrain
    ended
    mount -o remount,size=64m "$dir"
    lossless=
}
error_writing() {
    any_rank
    one_of write sync open any rename reserve unlink
    case $chosen in rename | reserve | unlink) victim=0 ;; esac
    inject "$victim" "$chosen" step_ $((victim == 0 ? 200 : 40)) EIO
    lossless=
}
error_reading() { # of clips: what passes is waited for, what stays ends the run; no clip is replaced for it
    any_rank
    one_of EIO ESTALE stale EIO+
    inject "$victim" read shard- $((steps * 12 / ranks)) "$chosen" --set data.io_patience_s=1
    case $chosen in *+) want_code=1 ;; *) want_code=0 ;; esac
    if grep -aq 'replaces one' "$log"; then problem="a clip was replaced"; fi
}
error_loading() { # of the checkpoint that a run goes on from
    prepare() {
        rm -rf "$dir"
        pretrain --set train.stop_after=10
        ended
        rm -f "$dir/complete"
    }
    inject 0 read step_ 20 EIO # rank 0 reads for all
    prepare() { rm -rf "$dir"; }
}
error_elsewhere() { # of the small files
    local file
    one_of metrics config.yaml complete index.h5
    file=$chosen
    one_of EIO ENOSPC ENOSPC+
    inject 0 any "$file" 12 "$chosen"
}
short_calls() { # which is no fault, if the caller knows
    local call text
    any_rank
    one_of "read step_" "write step_" "read shard-"
    read -r call text <<<"$chosen"
    one_of short EINTR
    inject "$victim" "$call" "$text" 60 "$chosen"
    lossless=
}
named() { # PATTERN: by the watchdog
    if ! grep -aEq "$1" "$log"; then problem="the watchdog did not say /$1/"; fi
}
hang_reading() { # one rank never gets its clips
    any_rank
    inject "$victim" read shard- $((steps * 12 / ranks)) hang --set run.watchdog_s=15 --set data.threads=1
    named "rank $victim on .*: waiting for clips after"
}
hang_writing() { # one rank never ends its part of a checkpoint, the others wait for it
    any_rank
    inject "$victim" write .h5. 30 hang --set run.watchdog_s=15
    named "rank $victim on .*: writing a checkpoint after"
}
hang() { # one rank is stopped
    any_rank
    start_and_wait --set run.watchdog_s=15
    where="rank $victim $where"
    if [ -n "${pids[victim]:-}" ]; then kill -STOP "${pids[victim]}"; fi
    ended
    named "rank $victim on .* gave no answer"
}

# ------------------------------------------------------------------------------------------------ verdict

# Do the undisturbed runs, one of each kind.
undisturbed() {
    local m
    for m in "$@"; do
        use_mode "$m"
        dir=$scratch/whole-$mode log=$scratch/whole.log
        pretrain
        ended
        if [ "$code" -ne 0 ]; then
            cat "$log"
            echo "the undisturbed run $mode ends with $code" >&2
            exit 1
        fi
    done
}

# Start the same command until the run is complete. Sets the step from which it went on, and how often it was started.
finish_run() {
    local from
    resumed=- attempts=0
    while [ ! -e "$dir/complete" ] && [ -z "$problem" ]; do
        from=$(newest)
        if [ "$attempts" -eq 0 ]; then resumed=$from; fi
        attempts=$((attempts + 1))
        log=again.log
        pretrain
        ended
        if [ "$code" -ne 0 ]; then problem="the next start ends with $code"; fi
        if [ "$from" -gt 0 ] && ! grep -aq "resuming from $dir/step_$(printf %08d "$from")" "$log"; then
            problem="it did not go on from step $from"
        fi
    done
}

check() {
    local done_steps
    done_steps=$(rows)
    if [ -n "$want_code" ] && [ "$code" -ne "$want_code" ] && [ ! -e "$dir/complete" ]; then
        problem="it ended with $code, not $want_code"
    fi
    if [ -n "$lossless" ] && [ "$done_steps" -gt 0 ] && [ "$(newest)" -lt $(((done_steps - 1) / every * every - slack)) ]; then
        problem="$done_steps steps were done, the newest checkpoint has $(newest)"
    fi
    if grep -aq 'time limit for job execution' "$log"; then problem="it hung"; fi
    first_code=$code
    finish_run
    if [ -z "$problem" ] && ! "$bin/vjepa-inspect" --compare "$scratch/whole-$mode/step_000000$steps.h5" \
        "$dir/step_000000$steps.h5" >compare.log 2>&1; then
        problem="other bits: $(tail -n 1 compare.log)"
    fi
}

fault() { # SEED: prints its line
    local i seed=$1
    RANDOM=$((seed * 7919 % 32768))
    pick i 0 9 # the first numbers of neighbouring seeds are alike
    pick i 0 $((${#known[@]} - 1))
    use_mode "${known[i]}"
    kind=${kinds[seed % ${#kinds[@]}]}
    if [ "$kind" = hang ] && [ "$ranks" -eq 1 ]; then use_mode "plain 2"; fi # nobody is left to see it
    dir=$scratch/run-$seed log=fault.log problem="" want_code="" lossless=1 where=""
    slack=0
    case $mode in async*) slack=$every ;; esac # one checkpoint may be on its way
    $kind
    check
    printf '%4d  %-16s %-13s %-48s %5s %8s %7s  %s\n' "$seed" "$kind" "$mode" "$where" "$first_code" "$resumed" "$attempts" \
        "${problem:-ok}"
    if [ -n "$problem" ]; then { tail -n 40 fault.log again.log 2>/dev/null || true; } | sed 's/^/      | /'; fi
    if mountpoint -q "$dir"; then umount "$dir"; fi
    rm -rf "$dir" again.log
}

lane() { # NUMBER: its share of the seeds
    local seed
    mkdir "$scratch/lane-$1"
    cd "$scratch/lane-$1"
    export OMPI_MCA_orte_tmpdir_base=$scratch/.mpi/$1
    ln -s ../train.clips .
    for ((seed = first_seed + $1; seed < first_seed + count; seed += lanes)); do fault "$seed"; done
}

known=()
for m in "${modes[@]}"; do
    use_mode "$m"
    if "$bin/vjepa-pretrain" "$tiny" "${sets[@]}" --print-config >/dev/null 2>&1; then known+=("$m"); fi
done
undisturbed "${known[@]}"
printf '%4s  %-16s %-13s %-48s %5s %8s %7s\n' seed fault mode where code resumed starts
for ((n = 0; n < lanes; n++)); do lane $n & done | tee table
passed=$(grep -c ' ok$' table || true)
echo "$passed passed, $((count - passed)) failed"
[ "$passed" -eq "$count" ]
