#!/usr/bin/env bash
# Checks heads with blocks on all tokens in a campaign with others: the bits are the same on any number of ranks, alone, and after a
# kill; with depth 1 they compute the function of the folded head; they are kept and measured again; too many are refused.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
make_store train.clips 40
make_store val.clips 16 1000
encoder=random:fan_in:3
kinds='probe.pooling=[tokens2, attentive, average, tokens1]'

evaluate() { # RANKS OUT [ARGS...]
    local ranks=$1 out=$2
    shift 2
    run "$ranks" "$bin/vjepa-evaluate" "$tiny" a="$encoder" --train train.clips --validation val.clips --out "$scratch/$out" \
        --set 'probe.tasks=[motion]' --set probe.seeds=1 --set probe.epochs=2 --set model.heads=16 --set checkpoint.every=1 "$@"
}

evaluate 1 one --set "$kinds" --set evaluate.batch=16 --keep-probes >one.log
grep -q '^| motion | tokens2 | 50 %' one.log || fail "no row of tokens2: $(cat one.log)"
for ranks in 2 4; do
    evaluate "$ranks" "ranks$ranks" --set "$kinds" --set evaluate.batch=3 >/dev/null
    same_heads one "ranks$ranks"
    cmp -s one/heads.csv "ranks$ranks/heads.csv" && cmp -s one/results.json "ranks$ranks/results.json" ||
        fail "$ranks ranks make another table"
done
evaluate 2 alone --set 'probe.pooling=[tokens2]' --set 'probe.labels=[50]' >alone.log
same_heads one alone

# It is killed in the middle of an epoch and continued on more ranks.
killed_at "rename /evaluation.h5 2" evaluate 2 killed --set "$kinds" --set evaluate.batch=1
[[ -e killed/evaluation.h5 && ! -e killed/complete ]] || fail "the evaluation was not killed in the middle: $(cat killed.log)"
evaluate 3 killed --set "$kinds" >killed.log
grep -q 'going on from' killed.log || fail "it began anew: $(cat killed.log)"
same_heads one killed

# A head of depth 1 is the attentive one without folding: it gets the same samples in the same order and the same updates.
/usr/bin/python3 - one/probes/motion.{tokens1,attentive}.50.a.7.h5 <<'PYTHON' || fail "tokens1 is not the attentive head"
import sys, h5py, numpy
a, b = (h5py.File(name)["weights"] for name in sys.argv[1:3])
far = {name: float(numpy.abs(a[name][()] - b[name][()]).max()) for name in b if numpy.abs(a[name][()] - b[name][()]).max() > 2e-4}
sys.exit(f"{sorted(a)} {far}" if far or sorted(a) != sorted(b) else 0)
PYTHON

# In a sweep one head of each kind is chosen.
evaluate 2 sweep --set 'probe.pooling=[tokens2, average]' --set 'probe.labels=[50]' --set 'evaluate.sweep_lr=[0.001, 0.01]' \
    --set evaluate.sweep_flops=0 >sweep.log
[[ $(grep -c ',1$' sweep/heads.csv) == 2 && $(wc -l <sweep/heads.csv) == 5 ]] || fail "sweep: $(cat sweep/heads.csv)"
refused 2 'more than evaluate.sweep_flops 1.1: fewer of them' evaluate 1 x --set "$kinds" --set evaluate.sweep_flops=1.1
refused 2 'only vjepa-evaluate trains such probes' "$bin/vjepa-probe" "$tiny" a=none.h5,none.h5 --out x --set 'probe.pooling=[tokens2]'

# Kept probes are measured without training.
run 2 "$bin/vjepa-evaluate" "$tiny" a="$encoder" --set model.heads=16 --validation val.clips --probe one/probes --out measured >/dev/null
cmp -s <(cut -d, -f1,12-14 one/heads.csv | sort) <(cut -d, -f1,12-14 measured/heads.csv | sort) ||
    fail "kept probes give other numbers: $(cat measured/heads.csv)"
"$bin/vjepa-inspect" one/probes/motion.tokens2.50.a.7.h5 >inspect.log
grep -q 'attentive, depth 2 (blocks on the tokens), 16 heads' inspect.log || fail "inspected: $(cat inspect.log)"
finish
