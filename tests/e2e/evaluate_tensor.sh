#!/usr/bin/env bash
# Checks encoders over tensor groups: the table, predictions and attention of one rank within rounding errors; the same bits with
# any number of groups, online and with stored features; a request to stop at any rank of a group, and going on; refusals.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
make_store train.clips 30
make_store val.clips 12 1000
heads=(--set model.heads=4 --set predictor.heads=4)
pretrain 1 trained "${heads[@]}" --set train.stop_after=2 >/dev/null

evaluate() { # RANKS OUT [ARGS...]
    local ranks=$1 out=$2
    shift 2
    run "$ranks" "$bin/vjepa-evaluate" "$tiny" a=trained/step_00000002.h5 b=random:fan_in:3 "${heads[@]}" --train train.clips \
        --validation val.clips --out "$scratch/$out" --set 'probe.tasks=[motion]' --set probe.seeds=1 --set probe.epochs=2 \
        --set 'probe.labels=[100]' --set 'probe.pooling=[attentive, average, tokens2]' --set checkpoint.every=1 "$@"
}
compare() { # A B TOLERANCE: of weights, probabilities and attention; 0: all bits
    /usr/bin/python3 - "$@" <<'PYTHON' || fail "$2 is not like $1"
import sys, h5py, numpy
tolerance = float(sys.argv[3])
for name in "evaluation.h5", "predictions.h5", "attention.h5":
    a, b = (h5py.File(f"{folder}/{name}") for folder in sys.argv[1:3])
    if name == "attention.h5" and (a["clip"][()].tolist() != b["clip"][()].tolist() or (a["frames"][()] != b["frames"][()]).any()):
        sys.exit(f"{name}: other samples")
    a, b = a["heads"], b["heads"]
    if not len(a) or list(a) != list(b):
        sys.exit(f"{name}: {list(b)}, not {list(a)}")
    for head in a:
        x, y = a[head][()], b[head][()]
        if name == "predictions.h5":
            if a[head].attrs["encoder_digest"] != b[head].attrs["encoder_digest"]:
                sys.exit(f"{head}: the encoder has another digest")
            if tolerance:
                x, y = x["probability"], y["probability"]
        elif tolerance and name == "evaluation.h5":
            x, y = x[0], y[0]  # weights
        if x.tobytes() != y.tobytes() and not (tolerance and numpy.abs(x - y).max() <= tolerance):
            sys.exit(f"{name}: {head} differs")
PYTHON
}

evaluate 1 one >one.log
evaluate 2 pair --set parallel.tensor=2 --keep-probes >pair.log
grep -q 'on 1 group of 2 ranks' pair.log || fail "the log does not say the groups: $(cat pair.log)"
compare one pair 1e-3
cmp -s <(cut -d, -f1-13 one/heads.csv) <(cut -d, -f1-13 pair/heads.csv) || fail "a group makes another table: $(cat pair/heads.csv)"
evaluate 4 four --set parallel.tensor=2 --set train.backend=strict --set evaluate.batch=3 >/dev/null
compare pair four 0
evaluate 4 stored --set parallel.tensor=2 --set probe.features=stored:2 --keep-features >stored.log
grep -q 'features of 60 samples are stored in 4 files' stored.log || fail "the features of two groups: $(cat stored.log)"
compare pair stored 0
evaluate 2 sequence --set parallel.tensor=2 --set parallel.tensor_sequence=true >/dev/null
compare one sequence 1e-3

# A signal goes to the rank that does not lead. Then two groups continue; groups of another size are refused.
evaluate 2 stopped --set parallel.tensor=2 --set evaluate.batch=1 >stopped.log 2>&1 &
job=$!
for _ in $(seq 1000); do
    [ -e stopped/evaluation.h5 ] && break
    sleep 0.01
done
for pid in $(pgrep -f "vjepa-evaluate .*--out $scratch/stopped "); do
    grep -Eqz '^(OMPI_COMM_WORLD_RANK|PMI_RANK)=1$' "/proc/$pid/environ" 2>/dev/null && kill -USR1 "$pid"
done
status=0
wait "$job" || status=$?
[[ $status == 75 ]] && grep -q 'by a signal' stopped.log || fail "a signal to the second rank ended with $status: $(cat stopped.log)"
refused 2 'has "parallel.tensor: 2", this one "parallel.tensor: 1"' evaluate 1 stopped
evaluate 4 stopped --set parallel.tensor=2 >stopped.log
grep -q 'going on from' stopped.log || fail "it began anew: $(cat stopped.log)"
compare pair stopped 0

run 2 "$bin/vjepa-evaluate" "$tiny" a=trained/step_00000002.h5 b=random:fan_in:3 "${heads[@]}" --validation val.clips \
    --probe pair/probes --out measured --set parallel.tensor=2 >/dev/null
cmp -s <(cut -d, -f1,12-14 pair/heads.csv | sort) <(cut -d, -f1,12-14 measured/heads.csv | sort) ||
    fail "kept probes give other numbers: $(cat measured/heads.csv)"
refused 2 '3 ranks are not a multiple of parallel.tensor 2' evaluate 3 x --set parallel.tensor=2
refused 2 'do not both divide by parallel.tensor 3' evaluate 3 x --set parallel.tensor=3
finish
