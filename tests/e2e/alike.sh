#!/usr/bin/env bash
# Checks that in every program ranks with different kernels are refused with a message that names both ranks, and that ranks
# with different numbers of threads run and get the same bits.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
unset VJ_ISA # the kernels are chosen here, and not by whoever starts the tests
make_store train.clips 8

two() { # VARIABLE A B COMMAND...: rank 0 has VARIABLE=A, rank 1 B
    local variable=$1 a=$2 b=$3
    shift 3
    timeout 600 mpirun -n 1 env "$variable=$a" "$@" : -n 1 env "$variable=$b" "$@"
}
refused() { # TEXT VARIABLE A B COMMAND...: exit code 2 and TEXT
    local text=$1 code=0
    shift
    two "$@" >refused.log 2>&1 || code=$?
    [ "$code" -eq 2 ] || fail "exit code $code instead of 2 for $*: $(tail -n 3 refused.log)"
    grep -qE "$text" refused.log || fail "the message for $* does not say '$text': $(cat refused.log)"
}
embed=("$bin/vjepa-embed" "$tiny" --encoder random:published --store train.clips)
pretrain=("$bin/vjepa-pretrain" "$tiny" --set train.epochs=1)
bench=("$bin/vjepa-bench" step "$tiny" --repeats 3)
both='rank 1 on .* computes with portable, fp32, rank 0 on .* with avx2, fp32'

"${embed[@]}" --out same.h5 >/dev/null
if VJ_ISA=avx2 "${embed[@]}" --out avx2.h5 >/dev/null 2>&1; then
    refused "$both" VJ_ISA avx2 portable "${embed[@]}" --out mixed.h5
    [ ! -e mixed.h5 ] || fail "refused ranks left features"
    refused "$both" VJ_PRODUCTS avx2 portable "${pretrain[@]}" --set run.dir=mixed
    refused "$both" VJ_ISA avx2 portable "${bench[@]}"
    refused "$both" VJ_ISA avx2 portable "$bin/vjepa-probe" "$tiny" "same=same.h5,same.h5" --out probes
else
    echo "no avx2 here: kernels that differ were not tried"
fi

two OMP_NUM_THREADS 1 2 "${embed[@]}" --out threads.h5 >/dev/null || fail "vjepa-embed with 1 and 2 threads"
/usr/bin/python3 - <<'PY' || fail "features of ranks with 1 and 2 threads differ from one rank's"
import h5py
def data(path):
    found = {}
    h5py.File(path).visititems(lambda name, node: found.update({name: node[()].tobytes()}) if isinstance(node, h5py.Dataset) else None)
    return found
assert data('same.h5') == data('threads.h5')
PY
two OMP_NUM_THREADS 2 1 "${pretrain[@]}" --set run.dir=threads >/dev/null || fail "vjepa-pretrain with 2 and 1 threads"
run 2 "${pretrain[@]}" --set run.dir=equal >/dev/null
"$bin/vjepa-inspect" --compare {equal,threads}/"$(basename "$(compgen -G 'equal/step_*.h5' | tail -n 1)")" >compare.log || fail "2 and 1 threads: $(tail -n 3 compare.log)"
finish
