#!/usr/bin/env bash
# Checks that a run which is killed with -9 at several points and continued ends in the bits of an undisturbed run.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
make_store train.clips 40

for ranks in 1 2; do
    whole=whole$ranks
    pretrain "$ranks" "$whole" >/dev/null
    [ -f "$whole/complete" ] || fail "$whole has no completion marker"
    for stop in 5 10 20; do
        cut=cut$ranks-$stop
        pretrain "$ranks" "$cut" --set train.stop_after="$stop" >/dev/null
        pretrain "$ranks" "$cut" >resumed.log
        grep -q "resuming from $cut/step_" resumed.log || fail "the second start of $cut did not resume: $(cat resumed.log)"
        "$bin/vjepa-inspect" --compare "$whole/step_00000024.h5" "$cut/step_00000024.h5" >compare.log ||
            fail "$ranks ranks, stopped at $stop: $(tail -n 3 compare.log)"
    done

    killed=$scratch/killed$ranks
    pretrain_killed "$ranks" "$killed"
    pretrain "$ranks" "$killed" >resumed.log
    "$bin/vjepa-inspect" --compare "$whole/step_00000024.h5" "$killed/step_00000024.h5" >compare.log ||
        fail "$ranks ranks, killed: $(tail -n 3 compare.log)"
    [ "$(wc -l <"$killed/metrics.csv")" -eq 25 ] || fail "$killed/metrics.csv has $(wc -l <"$killed/metrics.csv") lines, not 25"
    cut -d, -f1-12 "$whole/metrics.csv" | cmp -s - <(cut -d, -f1-12 "$killed/metrics.csv") ||
        fail "$ranks ranks: metrics of the killed run differ"
done
# After USR1 to the launcher there is a checkpoint, the exit code is 75 ("submit again"), and the next start ends in the same bits.
mpirun -n 2 "$bin/vjepa-pretrain" "$tiny" --set run.dir=signal --set checkpoint.every=0 --set train.backend=strict \
    >signal.log 2>&1 &
launcher=$!
for _ in $(seq 500); do
    [ -s signal/metrics.csv ] && break
    sleep 0.01
done
kill -USR1 "$launcher"
code=0
wait "$launcher" || code=$?
[ "$code" -eq 75 ] || fail "USR1 ended with $code, not 75: $(tail -n 3 signal.log)"
[ ! -e signal/complete ] || fail "a stopped run says that it is complete"
pretrain 2 signal >resumed.log
grep -q 'resuming from signal/step_' resumed.log || fail "no checkpoint was written on USR1"
"$bin/vjepa-inspect" --compare whole2 signal >compare.log || fail "stopped by USR1: $(tail -n 3 compare.log)"

pretrain 1 whole1 >again.log
grep -q "24 of 24 steps are done" again.log || fail "a complete run started again did not say that it is done"

# A setting that may change within a run is named when it has, and a checkpoint under another name is refused.
pretrain 1 whole1 --set optimizer.lr=0.002 >changed.log
grep -q '^optimizer.lr is now 0.002; up to here it was 0.001' changed.log || fail "a changed setting: $(cat changed.log)"
cp whole1/step_00000020.h5 whole1/step_00000030.h5
refused 1 'step_00000030.h5 is the checkpoint of step 20, .* call it step_00000020.h5' pretrain 1 whole1
finish
