#!/usr/bin/env bash
# Checks vjepa-spectrum --encoder: every command gives what it gives for the features that vjepa-embed stored. Checks layers, several
# encoders, runs whose checkpoints have the same name, progress, and refusals.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
needs_spectrum
spectrum() { # RANKS ARGUMENT...
    local ranks=$1
    shift
    run "$ranks" "$bin/vjepa-spectrum" "$@" >log || fail "vjepa-spectrum $*: $(cat log)"
}
embed() { # ENCODER STORE OUT [ARGUMENT...]
    local encoder=$1 store=$2 out=$3
    shift 3
    run 1 "$bin/vjepa-embed" "$tiny" --encoder "$encoder" --store "$store" --out "$out" "$@" >log || fail "embed: $(cat log)"
}

make_store a.clips 23
ln -s a.clips train.clips
make_store b.clips 9 23
pretrain 1 one --set train.stop_after=2 >log 2>&1 || fail "pretrain: $(cat log)"
pretrain 1 two --set train.stop_after=2 --set run.seed=8 >log 2>&1 || fail "pretrain: $(cat log)"
mkdir train validation
encoder=one/step_00000002.h5
embed $encoder a.clips train/step_00000002.h5
embed $encoder b.clips validation/step_00000002.h5

# Encoders have the same name either way, so all datasets of both files, and the grid of tokens, must be equal.
cat >alike.py <<'EOP'
import sys
import h5py, numpy as np
a, b = (h5py.File(f'{sys.argv[1]}_{how}.h5') for how in ('stored', 'live'))
names = {}
for how, f in ('stored', a), ('live', b):
    names[how] = []
    f.visititems(lambda name, x: names[how].append(name) if isinstance(x, h5py.Dataset) else None)
assert names['stored'] == names['live'] and len(names['live']) > 3, names
for name in names['live']:
    if name == 'compare/names':
        assert list(b[name]) == [b'one:step_00000002.h5', b'two:step_00000002.h5'], list(b[name])
        continue
    x, y = a[name][()], b[name][()]
    if x.dtype.kind == 'f':
        assert np.allclose(x, y, 1e-6 if x.itemsize == 4 else 1e-8, 1e-9 * np.abs(x).max(), equal_nan=True), (name, x, y)
    else:
        assert (x == y).all(), name
if sys.argv[1] == 'spectrum':
    for f in a, b:
        assert list(f['representations/step_00000002'].attrs['grid']) == [int(n) for n in sys.argv[2:]]
EOP
for command in spectrum compare classes knn ridge; do
    stored=(train/step_00000002.h5) live=(--encoder "$encoder") more=() passes=1
    case $command in
    spectrum) more=(--tokens --components 3) ;;
    compare) # with the other run, whose checkpoint has the same name
        embed two/step_00000002.h5 a.clips two.h5
        stored+=(two.h5) live=(--encoder "$encoder,two") passes=2 ;;
    classes) passes=2 ;;
    ridge) passes=3 more=(--path 1e-2,1e2,5) ;;
    esac
    [[ $command != knn && $command != ridge ]] || stored+=(--validation validation/step_00000002.h5) live+=(--validation b.clips)
    spectrum 1 $command "$tiny" "${stored[@]}" "${more[@]}" --out ${command}_stored.h5
    spectrum 2 $command "$tiny" "${live[@]}" --store a.clips "${more[@]}" --out ${command}_live.h5
    all=$((23 * passes))
    [[ $command != ridge && $command != knn ]] || all=$((all + 9))
    grep -Eq "^each pass takes about [0-9.]+ (us|ms|s|minutes|hours|days) in products alone\$" log || fail "$command does not say how long: $(cat log)"
    grep -q "$command: $all clips read, in all passes, in .* s, .* clips/s" log || fail "$command does not say how fast: $(cat log)"
    /usr/bin/python3 alike.py $command 2 4 4 || fail "$command: an encoder that runs gives something else than its stored features"
done

refused 2 'is not among the labels' "$bin/vjepa-spectrum" knn "$tiny" --encoder $encoder --store a.clips --set probe.tasks=[sound]
refused 1 'No such file' "$bin/vjepa-spectrum" knn "$tiny" --encoder none.h5 --store a.clips
finish
