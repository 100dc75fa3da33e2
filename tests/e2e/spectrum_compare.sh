#!/usr/bin/env bash
# Checks vjepa-spectrum compare on one to four ranks: CKA, unbiased CKA and Procrustes distance of all pairs agree with numpy on whole
# matrices, with clips or tokens as rows; what cannot be compared is refused.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
needs_spectrum

python "$here/check_compare.py" make
for ranks in 1 2 3 4; do
    run "$ranks" "$bin/vjepa-spectrum" compare x.h5 turned.h5 wide.h5 other.h5 --out means$ranks.h5 >log
    run "$ranks" "$bin/vjepa-spectrum" compare --tokens x.h5 turned.h5 other.h5 --out tokens$ranks.h5 >>log
    python "$here/check_compare.py" means$ranks.h5 tokens$ranks.h5 || fail "$ranks ranks"
done
grep -q '^x *turned  *1  *1 ' log || fail "no table: $(cat log)"

refused 2 'two representations or more' "$bin/vjepa-spectrum" compare x.h5
refused 1 'all 40 rows of constant are equal' "$bin/vjepa-spectrum" compare x.h5 constant.h5
refused 2 '3 tokens a clip, wide 1' "$bin/vjepa-spectrum" compare --tokens x.h5 wide.h5
refused 2 '4 rows or more' "$bin/vjepa-spectrum" compare few.h5 few.h5
refused 2 'MiB a rank are needed' "$bin/vjepa-spectrum" compare huge.h5 huge.h5 --dry-run
cp x.h5 kept.h5
refused 2 'did not write' "$bin/vjepa-spectrum" compare x.h5 turned.h5 --out kept.h5
cmp -s x.h5 kept.h5 || fail "features were replaced by results"
finish
