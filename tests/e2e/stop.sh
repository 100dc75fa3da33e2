#!/usr/bin/env bash
# Checks that a run stops when it is asked to, in time and without losing a step, and that runs which hang or diverge end as
# documented.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
make_store train.clips 40
long=(--set train.epochs=300 --set train.backend=strict --set log.print_every=0 --set checkpoint.every=0)

start() { # RANKS DIR [ARGS...]: in the background; its output in DIR.log
    local ranks=$1 dir=$2
    shift 2
    OMPI_MCA_orte_tmpdir_base=$scratch/.mpi/$BASHPID mpirun --timeout 600 -n "$ranks" "$bin/vjepa-pretrain" "$tiny" --set run.dir="$dir" "$@" >"$dir.log" 2>&1 &
    launcher=$!
}
wait_for_steps() { # DIR STEPS
    for _ in $(seq 20000); do
        if [ -f "$1/metrics.csv" ] && [ "$(wc -l <"$1/metrics.csv")" -gt "$2" ]; then return; fi
        sleep 0.01
    done
    fail "$1 does not come to step $2: $(tail -n 3 "$1.log")"
}
ends_with() { # DIR CODE PATTERN...
    local dir=$1 code=0 want=$2 pattern
    wait "$launcher" || code=$?
    [ "$code" -eq "$want" ] || fail "$dir ended with $code, not $want: $(tail -n 5 "$dir.log")"
    for pattern in "${@:3}"; do grep -aEq "$pattern" "$dir.log" || fail "$dir does not say /$pattern/: $(tail -n 9 "$dir.log")"; done
}
stopped_well() { # DIR: not complete, and the newest checkpoint is of the last step
    local last
    last=$(tail -n 1 "$1/metrics.csv" | cut -d, -f1)
    [ ! -e "$1/complete" ] || fail "$1 is not finished, but says so"
    [ -e "$1/step_$(printf %08d "$last").h5" ] || fail "$1 stopped after step $last without a checkpoint: $(ls "$1")"
}

# A time limit of 3.6 seconds.
start 2 hours "${long[@]}" --max-hours 0.001
ends_with hours 75 'stopped after step [0-9]+ by the end of run\.max_hours'
stopped_well hours
run 1 "$bin/vjepa-pretrain" "$tiny" --max-hours 2 --print-config >printed.yaml && grep -q "max_hours: 2\$" printed.yaml || fail "--max-hours is no setting"

# The same with the end of a batch job: 20 s are kept for the job script and 4 are left. The history says why it stopped. Outside a
# batch job auto means no limit.
export VJEPA_JOB_END_TIME=$(($(date +%s) + 24))
start 2 job "${long[@]}" --max-hours auto
ends_with job 75 'batch job ends in 0\.[0-9]+ minutes \(VJEPA_JOB_END_TIME\)' 'by the end of run\.max_hours'
stopped_well job
last_event() { tail -n 1 "$1/history.csv" | cut -d, -f2,3; }
grep -q ',"the end of run.max_hours"$' job/history.csv && [ "$(last_event job)" = "stop,$(tail -n 1 job/metrics.csv | cut -d, -f1)" ] ||
    fail "job/history.csv: $(cat job/history.csv)"
export VJEPA_JOB_END_TIME=1000
start 2 job --max-hours auto
ends_with job 2 "VJEPA_JOB_END_TIME is '1000'"
unset VJEPA_JOB_END_TIME SLURM_JOB_END_TIME
start 1 free --max-hours auto
ends_with free 0 'this is no batch job: no limit of time'
[ -e free/complete ] && [ "$(last_event free)" = "done,$(tail -n 1 free/metrics.csv | cut -d, -f1)" ] || fail "a run without limit: $(cat free/history.csv)"

# The stop file is removed afterwards, so that the next start goes on.
start 3 file "${long[@]}"
wait_for_steps file 2
touch file/stop
ends_with file 75 'by the file stop'
stopped_well file
[ ! -e file/stop ] || fail "the stop file is still there"
tail -n 1 file/history.csv | grep -q ',"the file stop ' || fail "file/history.csv: $(cat file/history.csv)"
start 2 file "${long[@]}"
wait_for_steps file $(($(wc -l <file/metrics.csv) + 1))
[[ $(last_event file) == start,* ]] || fail "a run that went on says that it stopped"
touch file/stop
ends_with file 75 'by the file stop'

# USR2 writes a checkpoint, and the run goes on.
start 2 usr2 --set train.backend=strict --set checkpoint.every=0
wait_for_steps usr2 3
kill -USR2 "$launcher"
ends_with usr2 0
[ "$(find usr2 -name 'step_*.h5' | wc -l)" -eq 2 ] || fail "USR2 wrote no checkpoint: $(cat usr2.log)"
[ -e usr2/complete ] || fail "the run did not go on after USR2"

# A rank is suspended: the other one ends the job after the limit and the time for answers (3 s). In another job the first rank is
# suspended and the file of answers cannot be made: one of the other ranks says why the job ends.
start 3 mute --set train.epochs=100000 --set log.print_every=0 --set checkpoint.every=0 --set run.watchdog_s=10
mute=$launcher
start 2 hung "${long[@]}" --set run.watchdog_s=10
wait_for_steps mute 2
wait_for_steps hung 2
mapfile -t ranks < <(pgrep -P "$launcher")
mkdir mute/watchdog.answers
kill -STOP "${ranks[1]}" "$(pgrep -P "$mute" | head -n 1)"
ends_with hung 70 'no progress for [0-9]+ s.* after step' 'rank 1 on .* gave no answer' 'Submit again'
launcher=$mute
ends_with mute 70
[ "$(grep -ac 'no progress for [0-9]* s.* after step' mute.log)" -eq 1 ] || fail "not one rank said why the job ends: $(tail -n 5 mute.log)"

# A run whose features have a low rank at step 12 returns to step 10 and goes on after the 24 samples that led there.
low=(--set train.rollback_rank=16.5 --set train.max_bad_steps=1)
pretrain() { run 2 "$bin/vjepa-pretrain" "$tiny" --set run.dir="$1" "${@:2}"; }
pretrain back "${low[@]}" >back.log
grep -q 'ROLL-BACK 1 of 1: .*step 12 .*back/step_00000010.h5.* 24 samples' back.log || fail "no roll-back: $(cat back.log)"
[ "$(sed -n 12p back/metrics.csv | cut -d, -f1,2)" = 11,156 ] || fail "step 11 did not go on behind sample 144"
"$bin/vjepa-inspect" back/step_00000024.h5 >inspect.log # to a file, because a pipe could be closed early
grep -q 'rollbacks *1, 24 samples' inspect.log || fail "the checkpoint does not know of the roll-back"
# The page of the run marks the roll-back and says why; vjepa-report --watch does not take the line for an end.
report() { # RUN: its page and numbers
    "$bin/vjepa-report" "$1" --csv "$1-csv" ${plots:+--out "$1.html"} >report.log 2>&1 || fail "vjepa-report $1: $(cat report.log)"
}
plots=$(command -v gnuplot || true) # without it only numbers are written
[ "$(cut -d, -f2,3 back/history.csv | tail -n 2 | tr '\n' ' ')" = 'roll_back,10 done,24 ' ] || fail "$(cat back/history.csv)"
report back
grep -q ',roll-back,10,2,.*,"*bad steps' back-csv/history.csv && grep -q '^back,complete,24,24,' back-csv/runs.csv ||
    fail "no roll-back on the page: $(cat back-csv/history.csv back-csv/runs.csv)"
[ -z "$plots" ] || grep -q '>roll-back<' back.html || fail "the roll-back is not marked in the curves"
# So does a run that is started again after the roll-back, and one that is killed during it.
same_as_back() {
    "$bin/vjepa-inspect" --compare back/step_00000024.h5 "$1/step_00000024.h5" >compare.log ||
        fail "$1 has other bits than the run that was not interrupted: $(tail -n 1 compare.log)"
}
pretrain later "${low[@]}" --set train.stop_after=13 >/dev/null
pretrain later "${low[@]}" >later.log
grep -q 'resuming from later/step_00000013' later.log || fail "later did not resume"
same_as_back later
# Rank 0, which reads for all, opens step 10 under its final name three times to publish it, and a fourth time to return to it.
VJ_FAULT='0 open step_00000010.h5$ 4 kill' run 2 \
    "$bin/vjepa-pretrain" "$tiny" --set run.dir=midst "${low[@]}" >midst.log 2>&1 && fail "midst was not killed"
grep -q '^fault: ' midst.log && grep -q '^step 12 is bad' midst.log || fail "no fault came, or before the roll-back: $(cat midst.log)"
pretrain midst "${low[@]}" >midst.log
grep -q 'ROLL-BACK 1 of 1' midst.log || fail "midst did not do the roll-back again: $(cat midst.log)"
same_as_back midst

# The second time the run stops with a message; no bad step is in a checkpoint.
refused=0
pretrain twice --set train.rollback_rank=100 --set train.max_bad_steps=2 --set checkpoint.every=3 >twice.log 2>&1 || refused=$?
[ "$refused" -eq 1 ] || fail "a run that is lost at once ended with $refused"
grep -q 'train\.max_bad_steps.*rollback_limit 1' twice.log || fail "it does not say why: $(cat twice.log)"
[ "$(echo twice/step_*)" = twice/step_00000003.h5 ] || fail "bad steps are in a checkpoint: $(ls twice)"
[ ! -e twice/complete ] || fail "a lost run is complete"
# Its history, the page and the terminal show this end.
[ "$(tail -n 1 twice/history.csv | cut -d, -f2)" = failed ] || fail "the end is not recorded: $(cat twice/history.csv)"
report twice
grep -q '^twice,FAILED: an error: the log says which,' twice-csv/runs.csv && grep -q ',failed,.*the log says which' twice-csv/history.csv ||
    fail "no failure on the page: $(cat twice-csv/runs.csv twice-csv/history.csv)"
"$bin/vjepa-report" --watch twice --once >watch.log || fail "watch: $(cat watch.log)"
grep -q 'the job failed at step ' watch.log || fail "no failure in the terminal: $(cat watch.log)"
finish
