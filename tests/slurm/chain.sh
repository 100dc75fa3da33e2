#!/usr/bin/env bash
# Pretrainings on a Slurm cluster of twelve virtual nodes, each disturbed in another way, all at the same time: stopped by its time
# limit, a node killed in the midst of a step and of a checkpoint, cancelled and submitted again, asked to stop by a signal and by
# a file, preempted, two copies of one run, wrong settings, no progress; and an evaluation. Those that end have the tensors of an
# undisturbed run, bit for bit.
# Nothing depends on the machine's speed: a rank is paused (SIGSTOP) where something is to happen to its run.
# shellcheck source=tests/slurm/cluster.sh
. "$(dirname "$0")/cluster.sh"
start_cluster 12
make_store train.clips 40
short=(--set train.epochs=10 --set checkpoint.every=10 --set log.print_every=0)
pretrain 2 whole "${short[@]}" >whole.log 2>&1 || fail "the undisturbed run: $(tail -n 5 whole.log)"

site two_nodes.sh 'srun --mpi=pmix --kill-on-bad-exit=1' 2 1
site one_node.sh 'srun --mpi=pmix --kill-on-bad-exit=1' 1 2
echo 'submit_options=(--exclusive)' | tee -a two_nodes.sh >>one_node.sh

submit() { # RUN SITE [options of jobs/submit] -- [options of vjepa-pretrain]; the job's number
    local run=$1 site=$2 options=()
    shift 2
    while [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    shift
    "$jobs/submit" "${options[@]}" "./$site.sh" pretrain "$tiny" --set run.dir="$scratch/$run" "${short[@]}" "$@"
}
pause_rank_1() { # RUN STEPS: when so many steps are done; prints the process
    until_true 300 has_steps "$1" "$2" || { fail "$1 does not come to step $2: $(cat "$1"/jobs/*.log)"; return 1; }
    rank_of "$1" 1 >"$1.pid" || { fail "$1 was over before it was paused"; return 1; }
    kill -STOP "$(cat "$1.pid")"
}
go_on() { kill -CONT "$(cat "$1.pid")"; } # RUN
ended() { ! squeue -h -t pending,running,completing -j "$1" -o %i 2>/dev/null | grep -q .; } # JOB
said() { # RUN PATTERN
    cat "$1"/jobs/pretrain-*.log >"$1.logs"
    grep -Eq "$2" "$1.logs"
}
says() { # RUN PATTERN WHAT: one of its logs does; the last words of a job may come after the next one's end
    until_true 60 said "$1" "$2" || fail "$3: $1 does not say /$2/: $(cat "$1.logs" "$1/jobs/attempts.csv")"
}
completes() { # RUN WHAT
    timeout 400 "$jobs/status" --wait "$1" >"$1.status" 2>&1 || fail "$2: not complete: $(cat "$1.status" "$1"/jobs/*)"
    "$bin/vjepa-inspect" --compare whole "$1" >"$1.compare" || fail "$2: other tensors: $(tail -n 3 "$1.compare")"
}
attempts() { grep -c ',start,' "$1/jobs/attempts.csv"; }

# Stopped by its time limit, of a minute: paused until only half of it is left, after which there is no time for another step.
limit() {
    local job over
    job=$(submit limit two_nodes --time 0:01:00 --)
    pause_rank_1 limit 3 || return
    over=$(date -d "$(scontrol -o show job "$job" | sed 's/.* EndTime=\([^ ]*\).*/\1/')" +%s)
    until_true 60 eval "[ \$(($over - \$(date +%s))) -lt 35 ]"
    go_on limit
    completes limit "time limit"
    says limit 'not complete: step [0-9]+: the end of run.max_hours' "time limit"
    says limit 'goes on in job' "time limit"
    [ "$(attempts limit)" -ge 2 ] || fail "time limit: $(cat limit/jobs/attempts.csv)"
    grep -q '^  last stopped: .*the end of run.max_hours' limit.status || fail "status does not say why it stopped: $(cat limit.status)"
}

# A node that is not the first dies in the midst of a step; srun.
node_in_step() {
    local job nodes
    job=$(submit step two_nodes --)
    pause_rank_1 step 12 || return
    mapfile -t nodes < <(scontrol show hostnames "$(squeue -h -j "$job" -o %N)")
    kill_node "${nodes[1]}"
    completes step "node killed in a step"
    [ "$(attempts step)" -ge 2 ] || fail "node killed in a step: $(cat step/jobs/attempts.csv)"
    says step 'resuming from .*/step/step_000000[1-7]0.h5' "node killed in a step"
}

# The same while it writes a checkpoint; mpirun, which may return 0 then. The first start hangs in a write of the second one.
node_in_checkpoint() {
    local job nodes
    site checkpoint.sh mpirun 2 1
    cat >>checkpoint.sh <<SITE
submit_options=(--exclusive)
if [ -n "\${SLURM_JOB_ID:-}" ] && [ ! -e "$scratch/hung_once" ]; then
    touch "$scratch/hung_once"
    launcher=(mpirun -x LD_PRELOAD=$tools/libfault_shim.so -x "VJ_FAULT=1 write step_00000020 1 hang")
fi
SITE
    job=$(submit checkpoint checkpoint --)
    until_true 300 grep -qs '^fault: ' checkpoint/jobs/pretrain-"$job".log || { fail "no checkpoint hangs: $(cat checkpoint/jobs/*)"; return; }
    mapfile -t nodes < <(scontrol show hostnames "$(squeue -h -j "$job" -o %N)")
    kill_node "${nodes[1]}"
    completes checkpoint "node killed in a checkpoint"
    [ "$(attempts checkpoint)" -ge 2 ] || fail "node killed in a checkpoint: $(cat checkpoint/jobs/attempts.csv)"
    says checkpoint 'resuming from .*/step_00000010.h5' "node killed in a checkpoint"
}

# Cancelled: nothing is submitted, until somebody does.
cancel() {
    local job
    job=$(submit cancel one_node --)
    pause_rank_1 cancel 12 || return
    "$jobs/status" cancel >cancel.before
    grep -q "job $job is RUNNING on n[0-9], attempt 1 of its chain" cancel.before || fail "status of a running job: $(cat cancel.before)"
    grep -q 'step [0-9]* of 80 ([0-9]* %)' cancel.before || fail "status of a running job: $(cat cancel.before)"
    scancel "$job"
    until_true 120 ended "$job" || fail "a cancelled job goes on"
    timeout 60 "$jobs/status" --wait cancel >cancel.between && fail "cancelled, and complete"
    [ "$(squeue -h -n vjepa-pretrain -o %Z:%o | grep -c "run.dir=$scratch/cancel " || true)" -eq 0 ] || fail "a cancelled run was submitted again"
    submit cancel one_node -- >/dev/null
    completes cancel cancelled
}

# Warned by the scheduler (USR1 to the script): a checkpoint, and the next job. The file stop: a checkpoint, and no next job.
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

# Preempted: the scheduler stops the job for a more urgent one and starts it again afterwards.
preempt() {
    local job node
    job=$(submit preempt one_node --)
    pause_rank_1 preempt 12 || return
    node=$(squeue -h -j "$job" -o %N)
    sbatch -Q -p urgent -w "$node" --exclusive -t 5 -o urgent.out --wrap 'echo urgent' >/dev/null
    completes preempt preempted
    says preempt 'started again by the scheduler \(1\)' preempted
    grep -q "^[^,]*,$job,$job,end,80,0,complete" preempt/jobs/attempts.csv || fail "preempted: another job ended it: $(cat preempt/jobs/attempts.csv)"
    [ -s urgent.out ] || fail "the urgent job did not run"
}

# Two copies: the second ends by itself while the first is at work, submits nothing and is no attempt; the first goes on.
copies() {
    local job second
    job=$(submit copies one_node --)
    pause_rank_1 copies 3 || return
    second=$(submit copies one_node --)
    until_true 240 ended "$second" || fail "the second copy does not end: $(cat copies/jobs/*)"
    grep -q "another job is at work in .*copies, job $job: this one has nothing to do" "copies/jobs/pretrain-$second.log" || fail "second copy: $(cat copies/jobs/*)"
    grep -q "^[^,]*,$second,$second,end,[0-9]*,[0-9]*,another job" copies/jobs/attempts.csv || fail "second copy: $(cat copies/jobs/attempts.csv)"
    ! ended "$job" || fail "the first copy ended with the second"
    go_on copies
    completes copies "two copies"
    [ "$(grep -c ',submitted,' copies/jobs/attempts.csv)" -eq 2 ] || fail "two copies: $(cat copies/jobs/attempts.csv)"
    # Complete: a third has nothing to do.
    second=$(submit copies one_node --)
    until_true 120 ended "$second" || fail "a copy of a complete run does not end"
    grep -q 'is complete: nothing to do' "copies/jobs/pretrain-$second.log" || fail "third copy: $(cat copies/jobs/pretrain-"$second".log)"
}

# A launcher that returns 0 and has done nothing is not believed, as mpirun was seen to do when it lost a node.
liar() {
    printf '#!/bin/sh\nif [ ! -e "%s/lied" ]; then touch "%s/lied"; exit 0; fi\nexec mpirun "$@"\n' "$scratch" "$scratch" >liar.sh
    chmod +x liar.sh
    site liar_site.sh "$scratch/liar.sh" 1 2
    submit liar liar_site -- >/dev/null
    completes liar "a launcher that lies"
    says liar 'not complete: the launcher returned 0 before the end' "a launcher that lies"
    [ "$(attempts liar)" -eq 2 ] || fail "a launcher that lies: $(cat liar/jobs/attempts.csv)"
}

# Settings that only a job finds wrong end the chain; a run that never gets on is given up after three attempts.
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

# An evaluation from clips: stopped by the stop file, submitted again, complete; the table of an undisturbed one.
evaluation() {
    local ask job
    ask=("$tiny" random=random:fan_in:3 --train train.clips --validation train.clips --set probe.epochs=2 --set probe.seeds=1)
    run 1 "$bin/vjepa-evaluate" "${ask[@]}" --out table >table.log 2>&1 || fail "the undisturbed evaluation: $(tail -n 5 table.log)"
    mkdir evaluation
    touch evaluation/stop
    job=$("$jobs/submit" ./one_node.sh evaluate "${ask[@]}" --out evaluation)
    until_true 240 ended "$job" || fail "the evaluation does not stop: $(cat evaluation/jobs/*)"
    grep -q 'stopped by the user: nothing is submitted' "evaluation/jobs/evaluate-$job.log" || fail "stop file: $(cat evaluation/jobs/*)"
    "$jobs/submit" ./one_node.sh evaluate "${ask[@]}" --out evaluation >/dev/null
    until_true 240 [ -e evaluation/complete ] || fail "the evaluation is not complete: $(cat evaluation/jobs/*)"
    cmp -s table/results.csv evaluation/results.csv || fail "the evaluation has another table: $(diff table/results.csv evaluation/results.csv)"
}

# Each in a process of its own, which tells what failed by its exit code.
pids=()
names=(limit node_in_step node_in_checkpoint cancel asked preempt copies liar hopeless evaluation)
for name in "${names[@]}"; do
    (
        trap - EXIT
        failures=0
        "$name"
        exit "$failures"
    ) 9>&- &
    pids+=($!)
done
for i in "${!pids[@]}"; do wait "${pids[i]}" || fail "scenario ${names[i]}"; done
finish
