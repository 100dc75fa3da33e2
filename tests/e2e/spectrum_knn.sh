#!/usr/bin/env bash
# vjepa-spectrum knn: neighbours and accuracies as numpy finds them by comparing all with all, on one to four ranks, in one
# pass and in many; the same from clips and an encoder that runs as from its stored features; what is refused.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
here=$source_dir/tests/e2e
[[ -x $bin/vjepa-spectrum ]] || { echo "skipped: built without ScaLAPACK"; exit 77; }
/usr/bin/python3 -c 'import h5py, numpy' 2>/dev/null || { echo "skipped: no h5py"; exit 77; }
python() { PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$here /usr/bin/python3 "$@"; }
knn() { # RANKS ARGUMENT...
    local ranks=$1
    shift
    run "$ranks" "$bin/vjepa-spectrum" knn "$@" >log || fail "knn $*: $(cat log)"
}

python "$here/check_knn.py" make
pairs=(cloud_train.h5 grid_train.h5 --validation cloud_validation.h5,grid_validation.h5 --neighbours 1,5,20)
for ranks in 1 2 3 4; do
    knn "$ranks" "${pairs[@]}" --out c.h5
    python "$here/check_knn.py" c.h5 cosine validation || fail "cosine, $ranks ranks"
done
grep -q '5 of 41 queries are copies of training clips' log || fail "copies were not said: $(cat log)"
knn 3 "${pairs[@]}" --distance euclidean --memory 0.001 --out e.h5
grep -q '1 queries a rank .* 14 passes' log || fail "not one query at a time: $(cat log)"
python "$here/check_knn.py" e.h5 euclidean validation || fail "euclidean, a query at a time"
mv cloud_train.h5 cloud.h5 && mv grid_train.h5 grid.h5
ln -s cloud.h5 cloud_train.h5 && ln -s grid.h5 grid_train.h5
for ranks in 1 3; do
    knn "$ranks" cloud.h5 grid.h5 --neighbours 1,5,20 --out l.h5
    python "$here/check_knn.py" l.h5 cosine train || fail "leave one out, $ranks ranks"
done

refused() { # EXIT WORDS ARGUMENT...
    local code=$1 words=$2 status=0
    shift 2
    timeout 300 "$bin/vjepa-spectrum" knn "$@" >refused.log 2>&1 || status=$?
    [[ $status == "$code" ]] || fail "exit $status, not $code: $*: $(cat refused.log)"
    grep -q -- "$words" refused.log || fail "no '$words' in: $(cat refused.log)"
}
python - <<'EOP'
import numpy as np
from make_features import make_features
make_features('bare.h5', np.eye(4, 37), {})
make_features('other.h5', np.ones((4, 37)), {'shape': np.arange(4), 'part': np.arange(4)}, digest=9)
EOP
refused 2 'only 149 possible' cloud.h5 --neighbours 150
refused 2 'ascending' cloud.h5 --neighbours 5,1
refused 2 'no labels' bare.h5
refused 2 'leave out --tokens' cloud.h5 --tokens
refused 2 'of width 3' cloud.h5 --validation grid_validation.h5
refused 2 'different encoders' cloud.h5 --validation other.h5
refused 2 'has 2 labels' cloud.h5 --validation bare.h5
refused 2 '2 representations' cloud.h5 grid.h5 --validation cloud_validation.h5
refused 2 'cosine or euclidean' cloud.h5 --distance manhattan
refused 2 'configuration file' --encoder random:fan_in --store a.clips
refused 2 'needs an encoder' cloud.h5 --layers all
knn 2 bare.h5 --out bare_knn.h5 # neighbours without labels

# An encoder that runs: what its stored features give.
make_store a.clips 23
ln -s a.clips train.clips
make_store b.clips 9 23
for s in a b; do
    run 1 "$bin/vjepa-embed" "$tiny" --encoder random:fan_in:3 --store $s.clips --out $s.h5 >log || fail "embed: $(cat log)"
done
knn 2 a.h5 --validation b.h5 --out stored.h5
knn 3 "$tiny" --encoder random:fan_in:3,random:fan_in:4 --store a.clips --validation b.clips --layers all --out live.h5
python - <<'EOP' || fail "an encoder that runs gives other neighbours"
import h5py
a, b = h5py.File('stored.h5')['knn'], h5py.File('live.h5')['knn']
assert sorted(b) == [f'random fan_in seed {s}{l}' for s in (3, 4) for l in ('', ' layer 1')], list(b)
for name in 'neighbours', 'similarity':
    assert (a['a'][name][()] == b['random fan_in seed 3'][name][()]).all(), name
    assert (a['a'][name][()] != b['random fan_in seed 3 layer 1'][name][()]).any(), name
EOP

# Checkpoints of two runs, whose files have the same name; one task alone; a checkpoint that is none.
pretrain 1 one --set train.stop_after=2 >log || fail "pretrain: $(cat log)"
pretrain 1 two --set train.stop_after=2 --set run.seed=8 >log || fail "pretrain: $(cat log)"
both=one/step_00000002.h5,two/step_00000002.h5
knn 2 "$tiny" --encoder $both --store a.clips --set probe.tasks=[motion] --neighbours 3 --out runs.h5
for r in one two; do
    run 1 "$bin/vjepa-embed" "$tiny" --encoder $r/step_00000002.h5 --store a.clips --out $r.h5 >log || fail "embed: $(cat log)"
done
knn 3 one.h5 two.h5 --set probe.tasks=[motion] --neighbours 3 --out files.h5
python - <<'EOP' || fail "checkpoints give other neighbours than their stored features"
import h5py, json
a, b = h5py.File('files.h5')['knn'], h5py.File('runs.h5')['knn']
for r in 'one', 'two':
    for name in 'neighbours', 'similarity':
        assert (a[r][name][()] == b[f'{r}:step_00000002.h5'][name][()]).all(), (r, name)
rows = [json.load(open(f))['knn_percent'] for f in ('files.json', 'runs.json')]
assert {row['task'] for row in rows[0]} == {'motion'} and [r['top1'] for r in rows[0]] == [r['top1'] for r in rows[1]]
EOP
refused 2 'is not among the labels' one.h5 --set probe.tasks=[sound]
refused 1 'No such file' "$tiny" --encoder none.h5 --store a.clips
finish
