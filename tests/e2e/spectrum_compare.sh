#!/usr/bin/env bash
# vjepa-spectrum compare: CKA, unbiased CKA and Procrustes distance of all pairs, as numpy computes them from whole matrices,
# on one to four ranks; rows that are clips or tokens; what cannot be compared is refused.
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

refused() { # WORDS ARGUMENT...
    local words=$1 status=0
    shift
    timeout 300 "$bin/vjepa-spectrum" compare "$@" >refused.log 2>&1 || status=$?
    [[ $status != 0 ]] || fail "not refused: $*"
    grep -q -- "$words" refused.log || fail "no '$words' in: $(cat refused.log)"
}
refused 'two representations or more' x.h5
refused 'all 40 rows of constant are equal' x.h5 constant.h5
refused '3 tokens a clip, wide 1' --tokens x.h5 wide.h5
refused '4 rows or more' few.h5 few.h5
refused 'MiB a rank are needed' huge.h5 huge.h5 --dry-run
cp x.h5 kept.h5
refused 'did not write' x.h5 turned.h5 --out kept.h5
cmp -s x.h5 kept.h5 || fail "features were replaced by results"
finish
