#!/usr/bin/env bash
# A run killed with -9 at several points and continued ends in the same bits as one that never was (design invariant 2).
. "$(dirname "$0")/lib.sh"
make_store train.clips 40
pretrain() { # RANKS DIR [ARGS]
    local ranks=$1 dir=$2
    shift 2
    run "$ranks" "$bin/vjepa-pretrain" "$tiny" --set run.dir="$dir" "$@"
}

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

    killed=killed$ranks
    pretrain "$ranks" "$killed" --set train.epochs=3 >killed.log 2>&1 &
    launcher=$!
    for _ in $(seq 200); do
        [ -e "$killed/step_00000005.h5" ] && break
        sleep 0.02
    done
    pkill -9 -f "run.dir=$killed" || true
    wait "$launcher" || true
    pretrain "$ranks" "$killed" >resumed.log
    "$bin/vjepa-inspect" --compare "$whole/step_00000024.h5" "$killed/step_00000024.h5" >compare.log ||
        fail "$ranks ranks, killed: $(tail -n 3 compare.log)"
    [ "$(wc -l <"$killed/metrics.csv")" -eq 25 ] || fail "$killed/metrics.csv has $(wc -l <"$killed/metrics.csv") lines, not 25"
    cut -d, -f1-12 "$whole/metrics.csv" | cmp -s - <(cut -d, -f1-12 "$killed/metrics.csv") ||
        fail "$ranks ranks: metrics of the killed run differ"
done
pretrain 1 whole1 | grep -q "24 of 24 steps are done" || fail "a complete run started again did not say that it is done"
finish
