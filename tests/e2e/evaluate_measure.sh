#!/usr/bin/env bash
# Checks that measuring which was stopped or killed continues where it was, on any number of ranks, with the same predictions: on
# validation samples, on held-out ones, and of probes from files. Results of other probes, or damaged ones, are not used.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
make_store train.clips 30
make_store val.clips 40 1000
encoders=(published=random:published)
evaluate() { # RANKS OUT [ARGS...]
    local ranks=$1 out=$2
    shift 2
    run "$ranks" "$bin/vjepa-evaluate" "$tiny" "${encoders[@]}" --validation val.clips --out "$scratch/$out" \
        --set checkpoint.every=1 --set probe.epochs=1 --set 'probe.labels=[100]' --set evaluate.batch=6 "$@"
}
train=(--train train.clips --set 'evaluate.sweep_lr=[0.001, 0.01]')
stops() { # RANKS OUT [ARGS...]: stopped after a round
    local code=0
    touch "$2/stop"
    evaluate "$@" >stopped.log 2>&1 || code=$?
    [[ $code == 75 ]] && grep -q 'stopped while measuring by the file stop' stopped.log || fail "not stopped ($code): $(cat stopped.log)"
}
measured() { # FOLDER NAME SAMPLES
    /usr/bin/python3 - "$@" <<'PYTHON' || fail "$1/measured-$2.h5 has not $3 samples"
import sys, h5py
heads = h5py.File(f"{sys.argv[1]}/measured-{sys.argv[2]}.h5")["heads"]
sys.exit(len(heads) == 0 or any(len(heads[h]) != int(sys.argv[3]) for h in heads))
PYTHON
}
same() { # A B
    cmp -s "$1/heads.csv" "$2/heads.csv" && cmp -s "$1/results.json" "$2/results.json" || fail "$2 has another table than $1"
    /usr/bin/python3 - "$1" "$2" <<'PYTHON' || fail "$2 has other predictions than $1"
import sys, h5py
a, b = (h5py.File(f"{folder}/predictions.h5")["heads"] for folder in sys.argv[1:3])
sys.exit(set(a) != set(b) or any(a[h][()].tobytes() != b[h][()].tobytes() for h in a))
PYTHON
    compgen -G "$2/measured-*" >/dev/null && fail "$2 has files that are not needed any more: $(ls "$2")"
    return 0
}
evaluate 1 one "${train[@]}" --keep-probes >one.log 2>&1
grep -q 'chosen\|in brackets' one.log || fail "no sweep: $(cat one.log)"

# Slow data are reported.
VJ_FAULT="0 read val.clips/shard 1 slow+" run 1 "$bin/vjepa-evaluate" "$tiny" "${encoders[@]}" --validation val.clips \
    --probe one/probes --out slow --set data.threads=1 >slow.log 2>&1 || fail "slow clips: $(cat slow.log)"
grep -Eq 'clips were waited for during [0-9]+ % of the time, more than 2 %' slow.log || fail "no word of slow clips: $(cat slow.log)"

# It is stopped twice in each pass and continued on other ranks; the pass over the few held-out samples is one round.
cp -r one stopped && rm stopped/complete stopped/predictions.h5
stops 1 stopped "${train[@]}"
measured stopped held-out 6
measured stopped validation 6
stops 3 stopped "${train[@]}"
measured stopped validation 24
evaluate 2 stopped "${train[@]}" >stopped.log 2>&1
grep -q '6 of 6 held-out samples were measured before' stopped.log && grep -q '24 of 40 validation samples were' stopped.log ||
    fail "it began anew: $(cat stopped.log)"
same one stopped

# It is killed and continued.
cp -r one killed && rm killed/complete killed/predictions.h5
killed_at "rename /measured-validation 2" evaluate 2 killed "${train[@]}" --set evaluate.batch=1
[[ -e killed/measured-validation.h5 && ! -e killed/complete ]] || fail "measuring was not killed in the middle: $(cat killed.log)"
evaluate 1 killed "${train[@]}" >killed.log 2>&1
grep -q 'validation samples were measured before' killed.log || fail "after a kill it began anew: $(cat killed.log)"
same one killed

# Measuring probes from files is stopped by the time limit.
encoders=(published=random:published)
evaluate 1 files --probe one/probes >/dev/null 2>&1
code=0
evaluate 2 limited --probe one/probes --max-hours 0.000001 >limited.log 2>&1 || code=$?
[[ $code == 75 ]] && grep -q 'stopped while measuring by' limited.log || fail "the limit was passed ($code): $(cat limited.log)"
measured limited validation 12
cp -r limited other && cp -r limited damaged
evaluate 3 limited --probe one/probes >limited.log 2>&1
grep -q '12 of 40 validation samples were measured before' limited.log || fail "it began anew: $(cat limited.log)"
same files limited

# Partial results of other probes, and damaged ones.
evaluate 1 other --probe "$(ls one/probes/*.h5 | head -1)" >other.log 2>&1
grep -q 'is of other probes or samples; measuring anew' other.log || fail "what others measured was taken: $(cat other.log)"
printf damage | dd of=damaged/measured-validation.h5 bs=1 seek=$(($(stat -c %s damaged/measured-validation.h5) - 300)) conv=notrunc status=none
evaluate 2 damaged --probe one/probes >damaged.log 2>&1
grep -q 'cannot be used; measuring anew' damaged.log || fail "damage was not seen: $(cat damaged.log)"
same files damaged
finish
