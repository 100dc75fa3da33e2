#!/usr/bin/env bash
# tests/gpu/run.sh is run seldom, and by strangers: with compilers, a GPU and gpu-check that are only scripts here, a part that fails
# or does not end in time costs none of the others their results, the exit code says what happened, and what is missing is named.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/../e2e/lib.sh"
mkdir tools
script() { # NAME, its text on standard input
    { echo '#!/bin/bash'; cat; } >"tools/$1"
    chmod +x "tools/$1"
}
script nvcc <<<'echo "nvcc: release 13.0"'
script nvidia-smi <<<'case "$*" in *compute_cap*) echo 9.0 ;; -L) echo "GPU 0: a script" ;; *) echo "a script" ;; esac'
script cmake <<'END'
case $1 in
--build) cp "$(dirname "$0")/gpu-check" "$2/gpu-check"; exit "${CMAKE_CODE:-0}" ;;
-S) mkdir -p "$4"; echo "configured for $6"; [ "${CMAKE_CODE:-0}" = 0 ] || echo 'error: this does not compile' ;;
esac
END
script gpu-check <<'END'
echo "did $*"
[ "$1" != step ] || echo 'tokens a clip: 1 context 2 target'
[ "$1" != "${FAILS:-}" ] || exit 1
[ "$1" != "${LATE:-}" ] || exit 124
END
script compute-sanitizer <<<'shift 4; exec "$@"'
script ncu <<<'echo "profiled ${*: -2}"'
ready() { # CODE [NAME=VALUE...]: run it, into ./out
    local want=$1 code=0
    shift
    rm -rf out
    env PATH="$PWD/tools:/usr/bin:/bin" PYTHONPATH=/nowhere "$@" bash "$source_dir/tests/gpu/run.sh" out >run.log 2>&1 || code=$?
    [ $code = "$want" ] || fail "$*: exit code $code, expected $want: $(cat run.log)"
}
parts=(ceilings products kernels model memcheck step-{L224,H224,H384} profile-{L224,H224,H384} racecheck initcheck)
all_there() { # PART that failed or was late, and its code
    for part in "${parts[@]}"; do
        grep -q '^did ' "out/$part.txt" || fail "$part left no result"
        local code=0
        [ "$part" != "${1:-}" ] || code=$2
        grep -q "^$part: exit code $code, " out/summary.txt || fail "$part: $(cat out/summary.txt)"
    done
    grep -q '^profiled step H384' out/ncu-attention.txt && grep -q '^profiled step H384' out/ncu-product.txt || fail "ncu was not called"
    grep -q '^configured for GPU_ARCHITECTURES=90a-real' out/build.txt || fail "not built for the GPU: $(cat out/build.txt)"
}
ready 0
all_there
ready 1 FAILS=model
all_there model 1
ready 3 LATE=ceilings
all_there ceilings 124
ready 1 CMAKE_CODE=1
grep -q 'error: this does not compile' run.log || fail "the compiler's error is not shown: $(cat run.log)"
rm tools/nvidia-smi
ready 2
grep -q 'nvidia-smi not found' run.log || fail "what is missing is not said: $(cat run.log)"
finish
