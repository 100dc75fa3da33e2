#!/usr/bin/env bash
# The job scripts: shellcheck has nothing to say about them, each step has a script for both batch systems, each site file is
# complete, what submit refuses it refuses with exit code 2, a dry run submits and writes nothing, and --help is complete.
set -euo pipefail
jobs=${VJEPA_SOURCE:?run through ctest}/jobs
command -v shellcheck >/dev/null || { echo "skipped: no shellcheck (jobs/setup.sh dev installs it)"; exit 77; }
cd "$jobs/.."
# They are checked one by one, because together each would be read again for every other that sources it; what lib.sh sets is checked in
# two of them.
for script in jobs/submit jobs/steps/pretrain.sh; do shellcheck -x "$script"; done
for script in jobs/status jobs/calibrate jobs/*.sh jobs/*/*.sh; do shellcheck -e SC1091,SC2154,SC2034 "$script"; done
shellcheck -x -S warning tests/slurm/*.sh
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
fail() {
    echo "FAIL: $*" >&2
    exit 1
}

for step in pack pretrain evaluate embed probe merge plan scale; do
    for form in slurm/$step.sh pbs/$step.sh steps/$step.sh; do [ -r "jobs/$form" ] || fail "no jobs/$form"; done
    grep -q 'SLURM_SUBMIT_DIR: is set by Slurm: submit this file' <(env -u SLURM_SUBMIT_DIR -u VJEPA_JOBS bash "jobs/slurm/$step.sh" 2>&1) ||
        fail "jobs/slurm/$step.sh outside Slurm does not say to submit it"
    for word in Cost Expected; do grep -q "^# $word: " "jobs/slurm/$step.sh" || fail "jobs/slurm/$step.sh does not say: $word"; done
done
cd "$scratch"
config=$jobs/configs/quickstart.yaml
for site in "$jobs"/sites/*.sh; do
    name=$(basename "$site" .sh)
    "$jobs/submit" --dry-run --nodes 3 --time 2:00:00 "$name" pretrain "$config" --set run.dir='a run' >dry.log || fail "$name: $(cat dry.log)"
    grep -qE 'nodes=3 .*time=2:00:00 .*USR1@300|select=3:' dry.log || fail "$name: $(cat dry.log)"
    grep -q "pretrain.sh --nodes 3 --time 2:00:00 $site .*run.dir=a\\\\ run" dry.log || fail "$name: $(cat dry.log)"
done
# An evaluation is one job, or with --parts an array whose tasks go on separately.
evaluation=(evaluate "$config" r=random:fan_in --train a.clips --validation b.clips --out table)
"$jobs/submit" --dry-run epyc "${evaluation[@]}" >dry.log && ! grep -q -- --array dry.log || fail "an evaluation: $(cat dry.log)"
"$jobs/submit" --dry-run --parts 3 epyc "${evaluation[@]}" >dry.log
grep -q -- '--array=1-3 .*evaluate.sh --parts 3 ' dry.log || fail "an evaluation in parts: $(cat dry.log)"
"$jobs/submit" --dry-run --chain 7_2 --task 2 --parts 3 epyc "${evaluation[@]}" >dry.log
grep -q -- 'evaluate.sh --chain 7_2 --task 2 --parts 3 ' dry.log && ! grep -q -- --array dry.log || fail "a task that goes on: $(cat dry.log)"
"$jobs/submit" --dry-run --parts 3 generic_pbs "${evaluation[@]}" >dry.log
grep -qx 'qsub -j oe -J 1-3 evaluate.pbs' dry.log && grep -q 'evaluate.sh --parts 3 ' dry.log || fail "an evaluation in parts: $(cat dry.log)"
[ "$(ls)" = dry.log ] || fail "a dry run left $(ls)"

refused() { # WORDS [arguments of submit]
    local code=0
    "$jobs/submit" "${@:2}" >refused.log 2>&1 || code=$?
    [ "$code" -eq 2 ] || fail "submit ${*:2} ended with $code, not 2: $(cat refused.log)"
    grep -q -- "$1" refused.log || fail "submit ${*:2} does not say '$1': $(cat refused.log)"
}
refused 'takes SITE STEP' epyc pretrain
refused 'no site file .*nowhere.sh; a site is one of epyc generic_pbs gracehopper h100' nowhere pretrain "$config"
refused "unknown step 'train'" epyc train "$config"
refused "--nodes takes a number" --nodes many epyc pretrain "$config"
refused '--time takes HH:MM:SS' --time 3h epyc pretrain "$config"
refused 'unknown option --node;' --node 3 epyc pretrain "$config"
refused 'train.batches' epyc pretrain "$config" --set train.batches=3
refused 'where does embed write' epyc embed "$config" --encoder run --store a.clips --set embed.store=
echo 'scheduler=lsf' >wrong.sh
refused "scheduler is 'lsf'" ./wrong.sh pretrain "$config"
printf 'scheduler=slurm\nwalltime=1day\nlauncher=(srun)\n' >wrong.sh
refused "walltime is '1day'" ./wrong.sh pretrain "$config"
printf 'scheduler=slurm\nwalltime=1:00:00\n' >wrong.sh
refused 'launcher is empty' ./wrong.sh pretrain "$config"
refused 'parts divides the steps probe and evaluate, not pretrain' --parts 3 epyc pretrain "$config"

# --help prints the whole comment on top of a script, to its last line.
for script in submit status calibrate quickstart.sh setup.sh fetch_demo_media.sh; do
    last=$(sed -n '/^set/{g;s/^# \{0,1\}//p;q};h' "$jobs/$script")
    [ "$(bash "$jobs/$script" --help | tail -n 1)" = "$last" ] || fail "$script --help does not end with '$last'"
done
code=0
bash "$jobs/setup.sh" debug 2>refused.log || code=$?
[ "$code" -eq 2 ] && grep -q "no preset 'debug'" refused.log || fail "setup.sh debug ended with $code: $(cat refused.log)"

# status of a run that was never in a job, and of no run.
mkdir run
printf 'step,loss,effective_rank,clips_per_s,step_s\n1,0.9,12.5,10,2\n2,0.812345678,,12,4\n' >run/metrics.csv
printf 'train:\n  epochs: 2\n  steps_per_epoch: 10\n  stop_after: 0\n' >run/config.yaml
touch run/step_00000002.h5
printf '%s\n' time,event,step,ranks,host,code,why '2026-11-29T10:15:02Z,stop,2,1,n0,"vjepa 0.1.0","a signal"' >run/history.csv
"$jobs/status" run >status.log
grep -qx 'run: step 2 of 20 (10 %), 54 s left' status.log || fail "status: $(cat status.log)"
grep -qx '  loss 0.8123, effective rank 12.5 (step 1), 11 clips/s, 3 s a step' status.log || fail "status: $(cat status.log)"
grep -q '^  checkpoint of step 2, [0-9]* s old' status.log || fail "status: $(cat status.log)"
grep -q 'no job is at work: submit again' status.log || fail "status: $(cat status.log)"
grep -qx '  last stopped: 2026-11-29T10:15:02Z, step 2: a signal' status.log || fail "status: $(cat status.log)"
"$jobs/status" --wait run >/dev/null && fail "a run without a job is complete"
code=0
mkdir table
"$jobs/status" nowhere table run >status.log 2>&1 || code=$?
[ "$code" -eq 2 ] || fail "status of no run ended with $code"
grep -q 'there is no nowhere$' status.log && grep -q 'table is no run, and was not written by a job' status.log &&
    grep -q '^run: step 2 of 20' status.log || fail "status of three: $(cat status.log)"
echo "all checks passed"
