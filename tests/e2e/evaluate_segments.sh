#!/usr/bin/env bash
# Checks samples of several clips and crops: the bits are the same on any number of ranks and batches, stored or online; attention
# is what numpy computes from the tokens of all clips together, also over tensor groups; kept probes measure the same; a video with
# fewer clips than requested is reported.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
for store in "train.clips 48 0" "val.clips 24 1000"; do
    read -r name clips first <<<"$store"
    run 1 "$tools/make_store" "$name" "$clips" 4 36 40 "$first" 0 2
done
pretrain 1 run >/dev/null 2>&1 --set train.stop_after=8

evaluate() { # RANKS OUT [ARGS...]
    local ranks=$1 out=$2
    shift 2
    run "$ranks" "$bin/vjepa-evaluate" "$tiny" a=run/step_00000008.h5 --train train.clips --validation val.clips --out "$out" \
        --set evaluate.segments=2 --set probe.seeds=1 --set 'probe.labels=[100]' --set probe.epochs=2 "$@" >evaluate.log 2>&1 ||
        fail "evaluate: $(cat evaluate.log)"
}
evaluate 1 one --keep-probes
grep -q '24 training samples .*a sample is 2 segments, 64 tokens' evaluate.log || fail "samples: $(cat evaluate.log)"
python "$here/check_attention.py" one run/step_00000008.h5 a 2 14 4 18 8 || fail "attention is not what numpy says"

evaluate 3 three --set evaluate.batch=5
same_heads one three
cmp -s one/heads.csv three/heads.csv && cmp -s one/results.json three/results.json || fail "3 ranks make another table"
python -c 'import h5py
a, b = h5py.File("one/attention.h5"), h5py.File("three/attention.h5")
assert list(a["heads"]) == list(b["heads"]) and all(a["heads"][n][()].tobytes() == b["heads"][n][()].tobytes() for n in a["heads"])' ||
    fail "3 ranks attend otherwise"
evaluate 2 stored --set probe.features=stored:2
same_heads one stored

# Three crops of each of two clips: on several ranks, in a tensor group, and measured with the kept probes.
wide=(--set evaluate.views=3 --set 'probe.tasks=[motion]' --set 'probe.pooling=[attentive]')
evaluate 1 views "${wide[@]}" --keep-probes
evaluate 4 views4 "${wide[@]}" --set evaluate.batch=7
same_heads views views4
cmp -s views/results.json views4/results.json || fail "4 ranks make another table of three crops"
run 2 "$bin/vjepa-evaluate" "$tiny" a=run/step_00000008.h5 --validation val.clips --probe views/probes --out measured \
    --set evaluate.segments=2 --set evaluate.views=3 >measured.log 2>&1 || fail "measured: $(cat measured.log)"
cmp -s <(cut -d, -f1,12-16 views/heads.csv) <(cut -d, -f1,12-16 measured/heads.csv) || fail "kept probes: $(cat measured/heads.csv)"
run 2 "$bin/vjepa-evaluate" "$tiny" a=run/step_00000008.h5 --validation val.clips --probe views/probes --out logits \
    --set evaluate.segments=2 --set evaluate.views=3 --set evaluate.average=logits >logits.log 2>&1 || fail "logits: $(cat logits.log)"
python - <<'PYTHON' || fail "means of scores: $(cat logits/results.json)"
import json, h5py
a, b = (next(iter(h5py.File(f'{d}/predictions.h5')['heads'].values()))[()] for d in ('measured', 'logits'))
assert (a['views'] == 3).all() and (b['views'] == 3).all() and (a['clip'] == b['clip']).all()
apart = abs(a['probability'] - b['probability'])
assert 0 < apart.max() < 0.1, apart.max() # crops of one clip agree nearly
rows = [json.load(open(f'{d}/results.json'))[0] for d in ('measured', 'logits')]
assert [r['views'] for r in rows] == ['4x2x3', '4x2x3 logits'] and rows[0]['precision'] == 'fp32', rows
PYTHON

# With each clip separately, training uses one clip of a sample and measuring all clips in all crops, on any number of ranks.
apart=("${wide[@]}" --set evaluate.across_segments=false --set 'evaluate.sweep_lr=[0.001, 0.01]' --set evaluate.depth=2
    --set evaluate.preset=paper)
evaluate 1 apart "${apart[@]}"
grep -q '12 samples of 6 views to measure; a sample is 1 segment, 32 tokens' evaluate.log || fail "apart: $(cat evaluate.log)"
evaluate 3 apart3 "${apart[@]}" --set evaluate.batch=4
same_heads apart apart3
cmp -s apart/results.json apart3/results.json || fail "3 ranks make another table of clips apart"
python - <<'PYTHON' || fail "views of clips apart"
import h5py, numpy as np
weights = next(iter(h5py.File('apart/attention.h5')['heads'].values()))[()]
assert weights.shape[2] == 2 and np.allclose(weights.sum((3, 4, 5)), 0.5, atol=1e-5), weights.sum((3, 4, 5))
assert all((t['views'] == 6).all() for t in h5py.File('apart/predictions.h5')['heads'].values())
PYTHON

# Some videos have fewer clips than segments.
run 1 "$tools/make_store" few.clips 13 4 36 40 0 0 2
run 1 "$bin/vjepa-evaluate" "$tiny" a=run/step_00000008.h5 --train few.clips --validation val.clips --out few --dry-run \
    --set evaluate.segments=2 >few.log 2>&1 || fail "few: $(cat few.log)"
grep -q '13 clips are 7 samples of 2 segments' few.log && grep -q '1 of 7 samples have fewer than 2 windows' few.log ||
    fail "no word of repeated clips: $(cat few.log)"
finish
