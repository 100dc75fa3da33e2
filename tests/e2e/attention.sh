#!/usr/bin/env bash
# Checks what attentive probes attend to: the numbers agree with numpy's, computed from the stored clips; they are the same on any
# number of ranks; the report has a picture of each probe, and a note if the file is damaged.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
make_store train.clips 60
make_store val.clips 24 1000
pretrain 1 run >/dev/null 2>&1

evaluate() { # RANKS OUT [ARGS...]
    local ranks=$1 out=$2
    shift 2
    run "$ranks" "$bin/vjepa-evaluate" "$tiny" pretrained=run random=random:published --train train.clips \
        --validation val.clips --out "$out" --set probe.seeds=1 --set 'probe.labels=[100]' --set probe.epochs=12 "$@" >evaluate.log 2>&1
}
evaluate 2 two --keep-probes || fail "evaluate: $(cat evaluate.log)"
python "$here/check_attention.py" two run/step_00000024.h5 pretrained 1 17 10 3 20 || fail "attention is not what numpy says"
# The kept probes are measured without training.
run 3 "$bin/vjepa-evaluate" "$tiny" pretrained=run/step_00000024.h5 random=random:published --probe two/probes --validation val.clips \
    --out three --attention 5 >evaluate.log 2>&1 || fail "evaluate: $(cat evaluate.log)"
python - <<'PYTHON' || fail "3 ranks and kept probes attend otherwise"
import h5py
two, three = h5py.File('two/attention.h5'), h5py.File('three/attention.h5')
both = [(list(two['clip']).index(c), i) for i, c in enumerate(three['clip']) if c in two['clip']]
assert len(three['clip']) == 5 and list(two['heads']) == list(three['heads']) and both, (list(three['clip']), both)
for name in two['heads']:
    for a, b in both:
        assert two['heads'][name][a].tobytes() == three['heads'][name][b].tobytes(), name
PYTHON
# A probe with blocks on the tokens has attention, too.
evaluate 1 blocks --set 'probe.tasks=[motion]' --set 'probe.pooling=[tokens2]' --set probe.epochs=1 || fail "tokens2: $(cat evaluate.log)"
python - <<'PYTHON' || fail "attention of a probe with blocks on the tokens"
import h5py
import numpy as np
heads = h5py.File('blocks/attention.h5')['heads']
assert list(heads) == ['motion.tokens2.100.pretrained.7', 'motion.tokens2.100.random.7'], list(heads)
for name, weights in heads.items():
    assert np.allclose(weights[()].sum((2, 3, 4, 5)), 1, atol=1e-5), name
PYTHON
evaluate 1 none --attention 0 --set 'probe.tasks=[motion]' && [ ! -e none/attention.h5 ] || fail "attention nobody asked for"
mkdir mine && echo words >mine/attention.h5
refused 2 'mine/attention.h5 is no file of attention' run 1 "$bin/vjepa-evaluate" "$tiny" random=random:published --train train.clips \
    --validation val.clips --out mine

"$bin/vjepa-report" two --csv numbers >report.log 2>&1 || fail "report: $(cat report.log)"
if command -v gnuplot >/dev/null; then
    "$bin/vjepa-report" two --markdown report >report.log 2>&1 || fail "report: $(cat report.log)"
    python - <<'PYTHON' || fail "no pictures of attention"
import glob
import h5py
text = open('report/report.md').read().replace('\\', '')
pictures = glob.glob('report/attention-*.jpg')
assert len(pictures) == 4 and all(open(p, 'rb').read(3) == b'\xff\xd8\xff' for p in pictures), pictures
row, = (r for r in h5py.File('two/predictions.h5')['heads/motion.attentive.100.pretrained.7'] if r['clip'] == 10)
said = 'rightly' if row['rank'] == 0 else f'taken for class {row["class"][0]}'
assert f'clip 10: class {row["label"]}, {said} ({100 * row["probability"][0]:.0f} %)' in text, text
PYTHON
fi
# A weight above 1 is impossible and gives a note; the other two notes are about classes without names.
python -c 'import h5py; h5py.File("two/attention.h5", "r+")["heads/motion.attentive.100.random.7"][0, 0, 0, 0, 0, 0] = 1.5'
"$bin/vjepa-report" two --csv broken >report.log 2>&1 || fail "a broken file of attention: $(cat report.log)"
grep -q '3 notes' report.log || fail "no note on a broken file of attention: $(cat report.log)"
finish
