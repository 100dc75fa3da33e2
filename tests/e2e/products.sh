#!/usr/bin/env bash
# Checks that with each library for products a run that was stopped and goes on ends in the same bits, and that with "auto" it keeps
# its first choice.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
unset VJ_ISA # who multiplies is chosen here, and not by whoever starts the tests
make_store train.clips 40
pretrain() { # DIR [ARGS]
    local dir=$1
    shift
    run 2 "$bin/vjepa-pretrain" "$tiny" --set run.dir="$dir" "$@"
}
same() { # DIR DIR
    "$bin/vjepa-inspect" --compare "$1/step_00000024.h5" "$2/step_00000024.h5" >compare.log || fail "$1 and $2: $(tail -n 3 compare.log)"
}

for products in portable onednn cblas; do
    if ! pretrain "$products" --set train.products="$products" >whole.log 2>&1; then
        grep -q "products by $products: not in this build; configure it with cmake -DVJEPA_" whole.log ||
            fail "$products was refused without a reason: $(cat whole.log)"
        continue
    fi
    grep -q "^products: $products .*GFLOP/s a rank (own" whole.log || fail "$products: no rates in the log: $(grep products whole.log)"
    grep -q "products: $products" "$products/config.yaml" || fail "$products is not in the run's config.yaml"
    pretrain "$products-cut" --set train.products="$products" --set train.stop_after=5 >/dev/null
    pretrain "$products-cut" --set train.products=auto >resumed.log
    grep -q "auto keeps to $products, with which $products-cut/step_00000005.h5" resumed.log ||
        fail "auto did not keep to $products: $(grep products resumed.log)"
    same "$products" "$products-cut"
done

# A given setting, and the environment, take precedence over the checkpoint's; both are reported.
pretrain portable-cut2 --set train.products=portable --set train.stop_after=5 >/dev/null
VJ_PRODUCTS=own pretrain portable-cut2 --set train.products=auto --set train.stop_after=10 >resumed.log
grep -q 'products by own: .* was trained with portable' resumed.log || fail "VJ_PRODUCTS: $(grep products resumed.log)"
pretrain portable-cut2 --set train.products=portable >resumed.log
grep -q 'products by portable: .* was trained with own' resumed.log || fail "train.products: $(grep products resumed.log)"

# Files have the choice that "auto" made, not the word "auto".
pretrain auto --set train.products=auto >auto.log
grep -q '^products: ' auto.log || fail "auto: $(cat auto.log)"
if grep -q 'products: auto' auto/config.yaml; then fail "auto/config.yaml has products: auto"; fi

# The same is true for the precision: a run that goes on keeps it, whatever "auto" would choose on this machine.
pretrain precision --set train.precision=auto --set train.stop_after=5 >precision.log
grep -Eq '^precision: auto takes (bf16: .* multiplies bf16 itself|fp32: .* has no products of bf16)$' precision.log || fail "auto: $(cat precision.log)"
grep -Eq '^ *precision: "?(fp32|bf16)' precision/config.yaml || fail "precision/config.yaml: $(grep precision precision/config.yaml)"
pretrain precision-bf16 --set train.precision=bf16 --set train.stop_after=5 >/dev/null
pretrain precision-bf16 --set train.precision=auto --set train.stop_after=10 >resumed.log
grep -q 'precision: auto keeps to bf16, with which precision-bf16/step_00000005.h5' resumed.log ||
    fail "auto did not keep to bf16: $(grep precision resumed.log)"
pretrain precision-library --set train.precision=auto --set train.products=cblas --dry-run >library.log 2>&1 ||
    grep -q 'not in this build' library.log || fail "auto with a library: $(cat library.log)"
if [ -e cblas/config.yaml ]; then
    grep -q 'precision: auto takes fp32, in which train.products cblas' library.log || fail "auto with a library: $(cat library.log)"
fi

# A library that is much too slow is reported; here the reference BLAS is loaded in front of the linked one.
for reference in /usr/lib/*/blas/libblas.so.3; do
    if [ ! -e "$reference" ] || [ ! -e cblas/config.yaml ]; then continue; fi
    run 1 env LD_PRELOAD="$reference" ASAN_OPTIONS="${ASAN_OPTIONS:-}:verify_asan_link_order=0" "$bin/vjepa-pretrain" \
        "$tiny" --set train.products=cblas --dry-run >slow.log || fail "with $reference: $(cat slow.log)"
    grep -q '^WARNING: products by cblas blas/libblas.* set train.products to' slow.log ||
        fail "the reference BLAS passed unnoticed: $(cat slow.log)"
done

refuse() { # PATTERN COMMAND...
    local pattern=$1 code=0
    shift
    "$@" >refused.log 2>&1 || code=$?
    [ "$code" -eq 2 ] || fail "$*: exit code $code, not 2"
    grep -q "$pattern" refused.log || fail "$*: $(cat refused.log)"
}
VJ_PRODUCTS=abacus refuse 'products by abacus: unknown; there are own' pretrain abacus
refuse 'train.products: onednn multiplies in fp32' pretrain abacus --set train.products=onednn --set train.precision=bf16
finish
