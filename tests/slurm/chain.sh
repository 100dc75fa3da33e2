#!/usr/bin/env bash
# Runs pretrainings on a Slurm cluster of twelve virtual nodes, all at the same time: the scenarios of scenarios.sh, runs that are
# stopped by a signal and by a file, wrong settings, no progress; and an evaluation.
# shellcheck source=tests/slurm/cluster.sh
. "$(dirname "$0")/cluster.sh"
# shellcheck source=tests/slurm/scenarios.sh
. "$source_dir/tests/slurm/scenarios.sh"
start_cluster 12
begin_scenarios

# After a warning by the scheduler (USR1 to the script) there is a checkpoint and the next job; after the file stop there is a
# checkpoint and no next job.
asked() {
    local job
    job=$(submit warned one_node --)
    pause_rank_1 warned 3 || return
    scancel --signal=USR1 --batch "$job"
    until_true 60 grep -q 'signal USR1, .* the program is asked to stop' "warned/jobs/pretrain-$job.log" || fail "no USR1 came: $(cat warned/jobs/*)"
    go_on warned
    completes warned "warned by USR1"
    says warned 'not complete: step [0-9]+: a signal' "warned by USR1"
    [ "$(attempts warned)" -eq 2 ] || fail "warned by USR1: $(cat warned/jobs/attempts.csv)"

    job=$(submit stopped one_node --)
    pause_rank_1 stopped 3 || return
    touch stopped/stop
    go_on stopped
    until_true 120 ended "$job" || fail "the file stop does not end a job: $(cat stopped/jobs/*)"
    timeout 60 "$jobs/status" --wait stopped >stopped.between && fail "stopped by a file, and complete"
    grep -q 'last stopped: .*the file stop' stopped.between || fail "the file stop: $(cat stopped.between)"
    [ "$(grep -c ',submitted,' stopped/jobs/attempts.csv)" -eq 1 ] || fail "the file stop: $(cat stopped/jobs/attempts.csv)"
    submit stopped one_node -- >/dev/null
    completes stopped "stopped by a file"
}

# A launcher that returns 0 although it has done nothing is not believed; mpirun was seen to do so when it lost a node.
liar() {
    printf '#!/bin/sh\nif [ ! -e "%s/lied" ]; then touch "%s/lied"; exit 0; fi\nexec mpirun "$@"\n' "$scratch" "$scratch" >liar.sh
    chmod +x liar.sh
    chain_site liar_site 1 2 "$scratch/liar.sh"
    submit liar liar_site -- >/dev/null
    completes liar "a launcher that lies"
    says liar 'not complete: the launcher returned 0 before the end' "a launcher that lies"
    [ "$(attempts liar)" -eq 2 ] || fail "a launcher that lies: $(cat liar/jobs/attempts.csv)"
}

# Settings that only the job can find wrong end the chain; a run without progress is given up after three attempts.
hopeless() {
    local code=0
    submit wrong one_node -- --set train.frobnicate=1 >wrong.log 2>&1 || code=$?
    [ "$code" -eq 2 ] || fail "a wrong setting is submitted ($code): $(cat wrong.log)"
    submit wrong one_node -- --set data.train='[]' >/dev/null
    submit stuck one_node -- --set data.train="[$scratch/missing.clips]" >/dev/null
    timeout 200 "$jobs/status" --wait wrong stuck >hopeless.status && fail "hopeless runs are complete"
    says wrong 'nothing is submitted again' "wrong settings"
    [ "$(attempts wrong)" -eq 1 ] || fail "wrong settings: $(cat wrong/jobs/attempts.csv)"
    [ "$(attempts stuck)" -eq 3 ] || fail "no progress: $(cat stuck/jobs/attempts.csv)"
    says stuck 'given up: the last 3 attempts made no progress beyond 0. The last one ended so: the launcher returned 1' "no progress"
    grep -q 'last stopped: .*given up' hopeless.status || fail "status of a run that was given up: $(cat hopeless.status)"
}

# An evaluation from clips is stopped by the stop file, submitted again and completed, and has the table of an undisturbed one. The same
# as a job array: one task is stopped and goes on when it is submitted again, and the last task joins the table.
evaluation() {
    local ask job file
    ask=("$tiny" random=random:fan_in:3 --train train.clips --validation train.clips --set probe.epochs=2 --set probe.seeds=1)
    run 1 "$bin/vjepa-evaluate" "${ask[@]}" --out table >table.log 2>&1 || fail "the undisturbed evaluation: $(tail -n 5 table.log)"
    mkdir evaluation
    touch evaluation/stop
    mkdir -p array/part_2_of_3
    touch array/part_2_of_3/stop
    "$jobs/submit" --parts 3 ./one_node.sh evaluate "${ask[@]}" --out array >array.job || fail "no array: $(cat array.job)"
    job=$("$jobs/submit" ./one_node.sh evaluate "${ask[@]}" --out evaluation)
    until_true 240 ended "$job" || fail "the evaluation does not stop: $(cat evaluation/jobs/*)"
    grep -q 'stopped by the user: nothing is submitted' "evaluation/jobs/evaluate-$job.log" || fail "stop file: $(cat evaluation/jobs/*)"
    "$jobs/submit" ./one_node.sh evaluate "${ask[@]}" --out evaluation >/dev/null
    until_true 240 [ -e evaluation/complete ] || fail "the evaluation is not complete: $(cat evaluation/jobs/*)"
    cmp -s table/results.csv evaluation/results.csv || fail "the evaluation has another table: $(diff table/results.csv evaluation/results.csv)"
    timeout 240 "$jobs/status" --wait array >array.status && fail "an array with a stopped task is complete: $(cat array.status)"
    [ "$(grep -c ',part [13] is complete$' array/jobs/attempts.csv)" -eq 2 ] && [ ! -e array/complete ] || fail "the array: $(cat array/jobs/*)"
    "$jobs/submit" --parts 3 ./one_node.sh evaluate "${ask[@]}" --out array >array.job || fail "no array: $(cat array.job)"
    timeout 240 "$jobs/status" --wait array >array.status || fail "the array is not complete: $(cat array.status array/jobs/*)"
    for file in results.csv results.json heads.csv; do cmp -s table/$file array/$file || fail "the array's $file: $(diff table/$file array/$file)"; done
}

run_scenarios limit node_in_step node_in_checkpoint cancel asked preempt copies liar hopeless evaluation
finish
