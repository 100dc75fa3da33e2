#!/usr/bin/env bash
# Runs pretrainings through the commands of PBS, qsub, qstat and qdel, and the variables PBS_*, as Slurm's PBS front end provides them on
# the virtual cluster: the scenarios of scenarios.sh, all at the same time, on the nodes in PBS_NODEFILE, and a job array of probes with
# its merge. Paths have blanks. PBS itself is not tested.
# shellcheck source=tests/slurm/cluster.sh
. "$(dirname "$0")/cluster.sh"
scheduler=pbs
# shellcheck source=tests/slurm/scenarios.sh
. "$source_dir/tests/slurm/scenarios.sh"
command -v qsub >/dev/null || skip "no program 'qsub'; Debian: slurm-wlm-torque (jobs/setup.sh dev installs it)"
start_cluster 12
[ -e "$cluster/plugstack.conf" ] || skip "Slurm's plugins for PBS (spank_pbs, job_submit_pbs) are not installed"
mkdir 'my runs'
cd 'my runs'
begin_scenarios

"$jobs/submit" --dry-run --parts 3 ./two_nodes.sh probe "$tiny" a=b.h5,c.h5 --out 'the table' >dry.log || fail "dry run: $(cat dry.log)"
grep -qx 'qsub -j oe -J 1-3 probe.pbs' dry.log && grep -q '^qsub -j oe -W depend=afterany:JOB merge.pbs' dry.log &&
    grep -q -- '--out the\\ table$' dry.log || fail "dry run: $(cat dry.log)"
[ ! -e 'the table' ] || fail "a dry run made a folder"

# A job array of probes and its merge give the digits of one vjepa-probe.
probes() {
    local set file campaign=("$tiny" "random=train.h5,val.h5" --set probe.epochs=2 --set probe.seeds=2)
    make_store val.clips 24 || fail "no second store"
    for set in train val; do run 1 "$bin/vjepa-embed" "$tiny" --encoder random:fan_in --store $set.clips --out $set.h5 >embed.log || fail "$(cat embed.log)"; done
    run 1 "$bin/vjepa-probe" "${campaign[@]}" --out one >one.log || fail "vjepa-probe: $(tail -n 5 one.log)"
    "$jobs/submit" --parts 3 ./one_node.sh probe "${campaign[@]}" --out 'the table' >submit.log || fail "submit: $(cat submit.log)"
    timeout 400 "$jobs/status" --wait 'the table' >status.log || fail "the array: $(cat status.log 'the table'/jobs/*.log)"
    [ "$(find 'the table' -name 'part_*_of_3.json' | wc -l)" -eq 3 ] || fail "not three parts: $(ls 'the table')"
    for file in results.md results.csv results.json; do cmp one/$file "the table/$file" || fail "$file differs"; done
}

run_scenarios limit node_in_step node_in_checkpoint cancel preempt copies probes
grep -q '2 ranks on 2 nodes (n[0-9]*, n[0-9]*), 1 on each' limit.logs || fail "not on two nodes: $(cat limit.logs)"
! grep -q 'started again by the scheduler' ./*.logs || fail "a job of PBS saw Slurm's variables: $(grep 'started again' ./*.logs)"
finish
