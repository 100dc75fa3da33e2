#!/usr/bin/env bash
# The chain of pretraining jobs through PBS's commands: qsub, qstat, qdel and the PBS_* variables as Slurm's PBS front end gives
# them on the virtual cluster. Stopped by its time limit and submitting itself until done, on two nodes through PBS_NODEFILE; and a
# job array of probes with its merge. Paths have blanks. Not a test on PBS itself.
# shellcheck source=tests/slurm/cluster.sh
. "$(dirname "$0")/cluster.sh"
scheduler=pbs
command -v qsub >/dev/null || skip "no program 'qsub'; Debian: slurm-wlm-torque (jobs/setup.sh dev installs it)"
start_cluster 4
[ -e "$cluster/plugstack.conf" ] || skip "Slurm's plugins for PBS (spank_pbs, job_submit_pbs) are not installed"
mkdir 'my runs'
cd 'my runs'
make_store train.clips 40
short=(--set train.epochs=10 --set checkpoint.every=10 --set log.print_every=0)
pretrain 2 whole "${short[@]}" >whole.log 2>&1 || fail "the undisturbed run: $(tail -n 5 whole.log)"
site pbs.sh 'mpirun -hostfile "$PBS_NODEFILE"' 2 1
sed -i 's/launcher=.*/launcher=(mpirun -hostfile "${PBS_NODEFILE:-}")/' pbs.sh

job=$("$jobs/submit" --time 0:01:00 ./pbs.sh pretrain "$tiny" --set run.dir=limit "${short[@]}")
[[ $job =~ ^[0-9]+ ]] || fail "qsub gave no number: $job"
until_true 300 has_steps limit 3 || fail "it does not come to step 3: $(cat limit/jobs/*)"
rank_of limit 1 >limit.pid || fail "the run was over before it was paused"
kill -STOP "$(cat limit.pid)"
over=$(date -d "$(scontrol -o show job "${job%%.*}" | sed 's/.* EndTime=\([^ ]*\).*/\1/')" +%s)
until_true 60 eval "[ \$(($over - \$(date +%s))) -lt 35 ]"
kill -CONT "$(cat limit.pid)"
timeout 400 "$jobs/status" --wait limit >status.log || fail "not complete: $(cat status.log limit/jobs/*)"
"$bin/vjepa-inspect" --compare whole limit >compare.log || fail "other tensors: $(tail -n 3 compare.log)"
cat limit/jobs/pretrain-*.log >limit.log
grep -q '2 ranks on 2 nodes (n[0-9], n[0-9]), 1 on each' limit.log || fail "not on two nodes: $(cat limit.log)"
grep -q 'not complete: step [0-9]*: the end of run.max_hours' limit.log || fail "it did not stop by itself: $(cat limit.log)"
[ "$(grep -c ',start,' limit/jobs/attempts.csv)" -ge 2 ] || fail "one job did it: $(cat limit/jobs/attempts.csv)"

# qdel ends the chain.
job=$("$jobs/submit" ./pbs.sh pretrain "$tiny" --set run.dir=cancel "${short[@]}" --set train.epochs=300)
until_true 300 has_steps cancel 3 || fail "it does not come to step 3: $(cat cancel/jobs/*)"
qdel "$job"
timeout 100 "$jobs/status" --wait cancel >status.log && fail "cancelled, and complete"
[ "$(grep -c ',submitted,' cancel/jobs/attempts.csv)" -eq 1 ] || fail "a cancelled job was submitted again: $(cat cancel/jobs/attempts.csv)"

"$jobs/submit" --dry-run --parts 3 ./pbs.sh probe "$tiny" a=b.h5,c.h5 --out 'the table' >dry.log || fail "dry run: $(cat dry.log)"
grep -qx 'qsub -j oe -J 1-3 probe.pbs' dry.log && grep -q '^qsub -j oe -W depend=afterany:JOB merge.pbs' dry.log &&
    grep -q -- '--out the\\ table$' dry.log || fail "dry run: $(cat dry.log)"
[ ! -e 'the table' ] || fail "a dry run made a folder"

# A job array of probes and its merge: the digits of one vjepa-probe.
make_store val.clips 24
for set in train val; do run 1 "$bin/vjepa-embed" "$tiny" --encoder random:fan_in --store $set.clips --out $set.h5 >embed.log || fail "$(cat embed.log)"; done
campaign=("$tiny" "random=train.h5,val.h5" --set probe.epochs=2 --set probe.seeds=2)
run 1 "$bin/vjepa-probe" "${campaign[@]}" --out one >one.log || fail "vjepa-probe: $(tail -n 5 one.log)"
"$jobs/submit" --parts 3 ./pbs.sh probe "${campaign[@]}" --out 'the table' >submit.log || fail "submit: $(cat submit.log)"
timeout 300 "$jobs/status" --wait 'the table' >status.log || fail "the array: $(cat status.log 'the table'/jobs/*.log)"
[ "$(find 'the table' -name 'part_*_of_3.json' | wc -l)" -eq 3 ] || fail "not three parts: $(ls 'the table')"
for file in results.md results.csv results.json; do cmp one/$file "the table/$file" || fail "$file differs"; done
finish
