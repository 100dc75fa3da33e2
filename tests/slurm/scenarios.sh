# shellcheck shell=bash disable=SC2154 # cluster.sh sets scratch, jobs, tools, tiny
# Sourced by chain.sh and pbs.sh after cluster.sh: runs pretrainings on the virtual cluster, each disturbed in another way. Those that
# complete must have the tensors of an undisturbed run, bit for bit. Nothing depends on the machine's speed: a rank is suspended
# (SIGSTOP) before something happens to its run. `scheduler` says whose commands submit and cancel jobs.
short=(--set train.epochs=10 --set checkpoint.every=10 --set log.print_every=0)
if [ "${scheduler:=slurm}" = slurm ]; then
    by_mpirun=mpirun
    by_default='srun --mpi=pmix --kill-on-bad-exit=1'
else
    by_mpirun='mpirun -hostfile "${PBS_NODEFILE:-}"'
    by_default=$by_mpirun
    export SBATCH_EXCLUSIVE=exclusive # what PBS's place=excl asks for, which Slurm's front end does not know
fi

# A job of PBS sees PBS's variables alone; but what starts ranks on this cluster is Slurm, which needs its own.
pbs_alone='
if [ -n "${PBS_JOBID:-}" ] && [ -n "${SLURM_JOB_ID:-}" ]; then
    hidden=()
    for name in $(compgen -v SLURM_); do
        [ "$name" = SLURM_CONF ] || { hidden+=("$name=${!name}") && unset "$name"; }
    done
    launcher=(env "${hidden[@]}" "${launcher[@]}")
fi'

chain_site() { # NAME NODES RANKS_PER_NODE [LAUNCHER]: a site file; its jobs have their nodes for themselves
    site "$1.sh" "${4:-$by_default}" "$2" "$3"
    if [ "$scheduler" = slurm ]; then echo 'submit_options=(--exclusive)' >>"$1.sh"; fi
}
end_site() { if [ "$scheduler" = pbs ]; then echo "$pbs_alone" >>"$1.sh"; fi; } # NAME: nothing is added behind this

begin_scenarios() { # with the undisturbed run; the folder is the current one
    make_store train.clips 40
    pretrain 2 whole "${short[@]}" >whole.log 2>&1 || fail "the undisturbed run: $(tail -n 5 whole.log)"
    chain_site two_nodes 2 1
    chain_site one_node 1 2
    end_site two_nodes
    end_site one_node
}

submit() { # RUN SITE [options of jobs/submit] -- [options of vjepa-pretrain]; the job's number
    local run=$1 site=$2 options=()
    shift 2
    while [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    shift
    "$jobs/submit" "${options[@]}" "./$site.sh" pretrain "$tiny" --set run.dir="$PWD/$run" "${short[@]}" "$@" | cut -d. -f1
}
cancel_job() { if [ "$scheduler" = slurm ]; then scancel "$1"; else qdel "$1"; fi; }
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
says_of_fault() { grep -qs '^fault: ' "$1"/jobs/pretrain-*.log; } # RUN
says() { # RUN PATTERN WHAT: one of its logs does; the last words of a job may come after the next one's end
    until_true 60 said "$1" "$2" || fail "$3: $1 does not say /$2/: $(cat "$1.logs" "$1/jobs/attempts.csv")"
}
completes() { # RUN WHAT
    timeout 400 "$jobs/status" --wait "$1" >"$1.status" 2>&1 || fail "$2: not complete: $(cat "$1.status" "$1"/jobs/*)"
    "$bin/vjepa-inspect" --compare whole "$1" >"$1.compare" || fail "$2: other tensors: $(tail -n 3 "$1.compare")"
}
attempts() { grep -c ',start,' "$1/jobs/attempts.csv"; }

# ------------------------------------------------------------------------------------------------ scenarios

# A run is stopped by its time limit of a minute: it is suspended until half of it is left, when there is no time for another step.
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

# A node dies that is not the first one of its job; the run goes on from a checkpoint and completes.
lose_node() { # RUN JOB CHECKPOINT; a pattern of its path
    local nodes
    mapfile -t nodes < <(scontrol show hostnames "$(squeue -h -j "$2" -o %N)")
    kill_node "${nodes[1]}"
    completes "$1" "node killed in a $1"
    [ "$(attempts "$1")" -ge 2 ] || fail "node killed in a $1: $(cat "$1/jobs/attempts.csv")"
    says "$1" "resuming from .*/$1/$3" "node killed in a $1"
}

# The node dies in the middle of a step.
node_in_step() {
    local job
    job=$(submit step two_nodes --)
    pause_rank_1 step 12 || return
    lose_node step "$job" 'step_000000[1-7]0.h5'
}

# It dies while a checkpoint is written, with mpirun, which may then return 0. The first start hangs in a write of the second one.
node_in_checkpoint() {
    local job
    chain_site checkpoint 2 1 "$by_mpirun"
    cat >>checkpoint.sh <<SITE
if [ -n "\${SLURM_JOB_ID:-}" ] && [ ! -e "$scratch/hung_once" ]; then
    touch "$scratch/hung_once"
    launcher+=(-x LD_PRELOAD=$tools/libfault_shim.so -x "VJ_FAULT=1 write step_00000020 1 hang")
fi
SITE
    end_site checkpoint
    job=$(submit checkpoint checkpoint --)
    until_true 300 says_of_fault checkpoint || { fail "no checkpoint hangs: $(cat checkpoint/jobs/*)"; return; }
    lose_node checkpoint "$job" 'step_00000010.h5'
}

# After a job was cancelled nothing is submitted until the user does so.
cancel() {
    local job
    job=$(submit cancel one_node --)
    pause_rank_1 cancel 12 || return
    "$jobs/status" cancel >cancel.before
    grep -q "job $job is RUNNING on n[0-9], attempt 1 of its chain" cancel.before || fail "status of a running job: $(cat cancel.before)"
    grep -q 'step [0-9]* of 80 ([0-9]* %)' cancel.before || fail "status of a running job: $(cat cancel.before)"
    cancel_job "$job"
    until_true 120 ended "$job" || fail "a cancelled job goes on"
    timeout 60 "$jobs/status" --wait cancel >cancel.between && fail "cancelled, and complete"
    [ "$(grep -c ',submitted,' cancel/jobs/attempts.csv)" -eq 1 ] || fail "a cancelled run was submitted again: $(cat cancel/jobs/attempts.csv)"
    submit cancel one_node -- >/dev/null
    completes cancel cancelled
}

# A preempted job is stopped by the scheduler for a more urgent one and started again afterwards.
preempt() {
    local job node
    job=$(submit preempt one_node --)
    pause_rank_1 preempt 12 || return
    node=$(squeue -h -j "$job" -o %N)
    sbatch -Q -p urgent -w "$node" --exclusive -t 5 -o urgent.out --wrap 'echo urgent' >/dev/null
    completes preempt preempted
    if [ "$scheduler" = slurm ]; then says preempt 'started again by the scheduler \(1\)' preempted; fi
    [ "$(grep -c "^[^,]*,$job,$job,start," preempt/jobs/attempts.csv)" -eq 2 ] || fail "preempted: not started again: $(cat preempt/jobs/attempts.csv)"
    grep -q "^[^,]*,$job,$job,end,80,0,complete" preempt/jobs/attempts.csv || fail "preempted: another job ended it: $(cat preempt/jobs/attempts.csv)"
    [ -s urgent.out ] || fail "the urgent job did not run"
}

# Of two copies the second ends while the first is at work, submits nothing and does not count as an attempt; the first goes on.
copies() {
    local job second
    job=$(submit copies one_node --)
    pause_rank_1 copies 3 || return
    second=$(submit copies one_node --)
    until_true 240 ended "$second" || fail "the second copy does not end: $(cat copies/jobs/*)"
    grep -q "another job is at work in .*copies, job $job: this one has nothing to do" copies/jobs/pretrain-"$second"*.log || fail "second copy: $(cat copies/jobs/*)"
    grep -q "^[^,]*,$second,$second,end,[0-9]*,[0-9]*,another job" copies/jobs/attempts.csv || fail "second copy: $(cat copies/jobs/attempts.csv)"
    ! ended "$job" || fail "the first copy ended with the second"
    go_on copies
    completes copies "two copies"
    [ "$(grep -c ',submitted,' copies/jobs/attempts.csv)" -eq 2 ] || fail "two copies: $(cat copies/jobs/attempts.csv)"
    # When the run is complete a third copy has nothing to do.
    second=$(submit copies one_node --)
    until_true 120 ended "$second" || fail "a copy of a complete run does not end"
    grep -q 'is complete: nothing to do' copies/jobs/pretrain-"$second"*.log || fail "third copy: $(cat copies/jobs/*)"
}

# Run each scenario in a process of its own, whose exit code tells whether it failed.
run_scenarios() { # NAME...
    local name pids=()
    for name in "$@"; do
        (
            trap - EXIT
            failures=0
            "$name"
            exit "$failures"
        ) 9>&- &
        pids+=($!)
    done
    for name in "$@"; do
        wait "${pids[0]}" || fail "scenario $name"
        pids=("${pids[@]:1}")
    done
}
