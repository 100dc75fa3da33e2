#!/usr/bin/env bash
# Checks vjepa-spectrum knn on one to four ranks, in one pass and in many: neighbours and accuracies agree with numpy, which compares
# all with all. Checks refusals. With --encoder: spectrum_encoder.sh.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
needs_spectrum
knn() { # RANKS ARGUMENT...
    local ranks=$1
    shift
    run "$ranks" "$bin/vjepa-spectrum" knn "$@" >log 2>warned || fail "knn $*: $(cat log warned)"
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

python - <<'EOP'
import numpy as np
from make_features import make_features
make_features('bare.h5', np.eye(4, 37), {})
make_features('other.h5', np.ones((4, 37)), {'shape': np.arange(4), 'part': np.arange(4)}, digest=9)
EOP
refused 2 'only 149 possible' "$bin/vjepa-spectrum" knn cloud.h5 --neighbours 150
refused 2 'ascending' "$bin/vjepa-spectrum" knn cloud.h5 --neighbours 5,1
refused 2 'no labels' "$bin/vjepa-spectrum" knn bare.h5
refused 2 'leave out --tokens' "$bin/vjepa-spectrum" knn cloud.h5 --tokens
refused 2 'of width 3' "$bin/vjepa-spectrum" knn cloud.h5 --validation grid_validation.h5
refused 2 'different encoders' "$bin/vjepa-spectrum" knn cloud.h5 --validation other.h5
refused 2 'has 2 labels' "$bin/vjepa-spectrum" knn cloud.h5 --validation bare.h5
refused 2 '2 representations' "$bin/vjepa-spectrum" knn cloud.h5 grid.h5 --validation cloud_validation.h5
refused 2 'cosine or euclidean' "$bin/vjepa-spectrum" knn cloud.h5 --distance manhattan
refused 2 'configuration file' "$bin/vjepa-spectrum" knn --encoder random:fan_in --store a.clips
refused 2 'needs an encoder' "$bin/vjepa-spectrum" knn cloud.h5 --layers all
knn 2 bare.h5 --out bare_knn.h5 # neighbours without labels
[ ! -s warned ] || fail "features that differ: $(cat warned)"
knn 2 other.h5 --neighbours 1 --out other_knn.h5
grep -q 'all training features of other.h5 are equal' warned || fail "equal features: $(cat warned)"
finish
