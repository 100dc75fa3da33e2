#!/usr/bin/env bash
# Frozen encoders on the emulated GPU. vjepa-evaluate and vjepa-embed give what they give on the cpu, to rounding, and on two
# ranks the bits of one; so does the in-run watch, also of weights that were gathered as copies (parallel.zero in bf16).
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/../e2e/lib.sh"
make_store train.clips 8
make_store val.clips 12 1000
export EMU_DEVICES=2

evaluate() { # RANKS DIR BACKEND
    run "$1" "$bin/vjepa-evaluate" "$tiny" random=random:fan_in:3 --train train.clips --validation val.clips --out "$2" \
        --set train.backend="$3" --set 'probe.tasks=[motion]' --set 'probe.labels=[100]' --set probe.seeds=1 --set probe.epochs=2 \
        --set 'probe.pooling=[attentive, average, tokens2]' --set evaluate.batch=4 >"$2.log" 2>&1 ||
        fail "$2 ended with $?: $(tail -n 5 "$2.log")"
}
evaluate 1 cpu cpu
evaluate 1 gpu cuda
evaluate 2 gpu2 cuda
same_heads gpu gpu2
cmp -s gpu/heads.csv gpu2/heads.csv && cmp -s gpu/results.json gpu2/results.json || fail "two ranks make another table"

embed() { # DIR BACKEND
    run 1 "$bin/vjepa-embed" "$tiny" --encoder random:fan_in:3 --store val.clips --out "$1.h5" --set train.backend="$2" >"$1.log" 2>&1 ||
        fail "$1 ended with $?: $(tail -n 5 "$1.log")"
}
embed embed_cpu cpu
embed embed_gpu cuda

# Probabilities after four updates at a learning rate of 0.002 from features that agree to some 1e-6 of their size. A sample whose
# two best classes are that close may get the other one.
/usr/bin/python3 - <<'PYTHON' || fail "the GPU's numbers are not the cpu's"
import csv, h5py, numpy
a, b = (h5py.File(f'embed_{name}.h5') for name in ('cpu', 'gpu'))
one, other = a['features'][:], b['features'][:]
worst = abs(one - other).max() / abs(one).max()
print(f'features {one.shape}: at most {worst:.1e} of the largest apart')
assert one.shape == other.shape and worst < 1e-5, worst
near, apart = 0, 0
a, b = (h5py.File(f'{name}/predictions.h5')['heads'] for name in ('cpu', 'gpu'))
assert list(a) == list(b) and len(a) == 3, (list(a), list(b))
for head in a:
    one, other = a[head][:], b[head][:]
    assert len(one) == 12 and (one['clip'] == other['clip']).all() and (one['label'] == other['label']).all()
    for x, y in zip(one, other):
        chance = {c: p for c, p in zip(y['class'], y['probability']) if c >= 0}
        apart = max([apart] + [abs(p - chance.get(c, y['probability'].min())) for c, p in zip(x['class'], x['probability']) if c >= 0])
        near += x['probability'][0] - x['probability'][1] < 1e-3
print(f'probabilities at most {apart:.1e} apart, {near} samples with two classes that close')
assert apart < 1e-4, apart
top1 = [[float(row['top1_percent']) for row in csv.DictReader(open(f'{name}/heads.csv'))] for name in ('cpu', 'gpu')]
print('top-1', *top1)
assert numpy.abs(numpy.subtract(*top1)).sum() <= near * 100 / 12 + 1e-9, top1
PYTHON

# The watch of a run: of weights on one rank, of weights whose bf16 copies are made block by block (one microbatch a rank), and of
# slices that two ranks have gathered.
watched() { # RANKS DIR BACKEND [ARGS]
    local ranks=$1 dir=$2 backend=$3
    shift 3
    pretrain "$ranks" "$dir" --set train.backend="$backend" --set train.precision=bf16 --set train.batch=4 --set train.microbatch=2 --set train.stop_after=4 \
        --set checkpoint.every=0 --set parallel.reduction=reproducible --set parallel.check_every=2 --set watch.every=2 \
        --set 'watch.train=[train.clips]' --set 'watch.validation=[val.clips]' --set watch.task=motion --set watch.epochs=2 "$@" >"$dir.log" 2>&1 ||
        fail "$dir ended with $?: $(tail -n 5 "$dir.log")"
}
watched 1 seen_cpu cpu
watched 1 seen cuda
watched 2 seen_blocks cuda
watched 2 seen_zero cuda --set parallel.zero=1
for other in seen_blocks seen_zero; do
    "$bin/vjepa-inspect" --compare seen $other >compare.log || fail "seen and $other: $(tail -n 3 compare.log)"
done
/usr/bin/python3 - <<'PYTHON' || fail "the watch sees something else"
import csv
seen = [[row[name] for row in csv.DictReader(open(f'{run}/metrics.csv')) for name in ('watch_knn', 'watch_probe') if row[name]]
        for run in ('seen_cpu', 'seen', 'seen_blocks', 'seen_zero')]
print(*seen)
assert len(seen[1]) == 6 and seen[1] == seen[2] == seen[3], seen
assert len(seen[0]) == 6 and all(abs(float(x) - float(y)) < 2.5 * 100 / 12 for x, y in zip(*seen[:2])), seen  # two clips of twelve
PYTHON
finish
