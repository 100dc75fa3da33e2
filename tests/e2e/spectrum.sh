#!/usr/bin/env bash
# Checks vjepa-spectrum spectrum on one to four ranks: eigenvalues and what is computed from them, components and whitening agree with
# numpy on whole matrices and with known spectra; what cannot be computed is refused.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
needs_spectrum

python "$here/check_spectrum.py" make
stores=(few.h5 far.h5 flat.h5 law.h5 gauss.h5)
for ranks in 1 2 3 4; do
    run "$ranks" "$bin/vjepa-spectrum" spectrum --tokens "${stores[@]}" --components 11 --whitening --out tokens$ranks.h5 >log
    python "$here/check_spectrum.py" tokens$ranks.h5 1 11 || fail "tokens, $ranks ranks"
    python "$here/check_spectrum.py" same tokens1.h5 tokens$ranks.h5 || fail "other numbers on $ranks ranks than on one"
done
run 3 "$bin/vjepa-spectrum" spectrum "${stores[@]}" --out means.h5 >>log
# A rank without memory for sums over its own rows gets the rows of other ranks, for all representations or for some.
run 3 "$bin/vjepa-spectrum" spectrum --tokens "${stores[@]}" --components 11 --whitening --memory 0.3 --out little.h5 >log
python "$here/check_spectrum.py" little.h5 1 11 || fail "with little memory"
python "$here/check_spectrum.py" means.h5 0 0 || fail "means"
grep -q '^gauss  *200  *600 ' log || fail "no table: $(cat log)"

refused 2 'no features are named' "$bin/vjepa-spectrum" spectrum --out x.h5
refused 2 'end in .h5' "$bin/vjepa-spectrum" spectrum far.h5 --out x.txt
refused 2 'expected a whole number' "$bin/vjepa-spectrum" spectrum far.h5 --components many --out x.h5
refused 2 '--memory none: expected a number above 0' "$bin/vjepa-spectrum" spectrum far.h5 --memory none
refused 2 'give --out OUT.h5' "$bin/vjepa-spectrum" spectrum far.h5 --components 3
refused 1 'No such file' "$bin/vjepa-spectrum" spectrum far.h5 missing.h5
python - <<'EOF'
import numpy as np
from make_features import make_features
make_features('one.h5', np.ones((1, 1, 4)), {})
make_features('nan.h5', np.array([[1.0, 2], [3, np.nan], [5, 6]]), {})
make_features('huge.h5', np.ones((2, 1, 300000)), {})
make_features('same.h5', np.full((9, 2, 4), 0.1), {})
EOF
refused 1 'has one row' "$bin/vjepa-spectrum" spectrum one.h5
refused 1 'not finite' "$bin/vjepa-spectrum" spectrum nan.h5
refused 2 'MiB a rank are needed' "$bin/vjepa-spectrum" spectrum huge.h5
[[ ! -e x.h5 && ! -e x.json ]] || fail "a refused command left a file"
echo '{"mine": 1}' >x.json
refused 2 'x.json was not written by' "$bin/vjepa-spectrum" spectrum far.h5 --out x.h5
refused 2 'no/x.h5: the folder no cannot be used' "$bin/vjepa-spectrum" spectrum far.h5 --out no/x.h5
rm x.json
run 1 "$bin/vjepa-spectrum" spectrum far.h5 --dry-run --out dry.h5 >/dev/null
[[ ! -e dry.h5 ]] || fail "a dry run wrote a file"
# Before long work it says how long it takes; here for 64 layers of 10,000 tokens of width 560.
python -c 'from make_features import *; make_features("long.h5", np.zeros((10, 1000, 560), "f4"), {})'
for layer in $(seq 64); do ln -s long.h5 layer$layer.h5; done
run 2 "$bin/vjepa-spectrum" spectrum --tokens layer*.h5 --dry-run >log
grep -Eq '^spectrum: 2.01e\+11 operations in products take about [0-9.]+ (us|ms|s|minutes|hours|days), at [0-9]+ GFLOP/s \([0-9]+ % of the double peak' log ||
    fail "it does not say how long it takes: $(cat log)"
# Collapsed features give no NaN in JSON and no crash.
run 2 "$bin/vjepa-spectrum" spectrum same.h5 --components 2 --whitening --out same2.h5 >log
python -c 'import json; json.load(open("same2.json"))' || fail "no JSON: $(cat same2.json)"

# The measured rates depend on the machine, but they must be there.
run 2 "$bin/vjepa-spectrum" speed --width 70 --rows 90 --out speed.h5 >log
python - <<'EOF' || fail "speed: $(cat log)"
import json
report = json.load(open('speed.json'))
assert report['fp64_peak_gflops'] > 0 and report['blas'] and report['extrapolated_s_of_1e7_rows'] > 0
rows = {row['operation']: row for row in report['operations']}
assert rows['sum of products']['gflops'] > 0 and rows['projections']['fraction_of_peak'] > 0, rows
assert rows['eigenvectors']['time_s']['min'] > 0 and rows['eigenvectors']['gflops'] is None, rows
EOF
refused 2 'reads no features' "$bin/vjepa-spectrum" speed far.h5
refused 2 'expected a whole number from 1' "$bin/vjepa-spectrum" speed --width 0
finish
