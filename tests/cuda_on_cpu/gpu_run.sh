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
script nvcc <<<'echo "nvcc: release ${NVCC_RELEASE:-13.0}"'
script nvidia-smi <<'END_OF_SCRIPT'
case "$*" in
*compute_cap*) echo "${CAPABILITY-9.0}" ;;
-L) echo "GPU 0: a script" ;;
*) echo "a script, CUDA Version: 13.0 " ;;
esac
END_OF_SCRIPT
script cmake <<'END_OF_SCRIPT'
case $1 in
--build) cp "$(dirname "$0")/gpu-check" "$2/gpu-check"; [ "${CXX:-}" = g++-13 ] || exit "${CMAKE_CODE:-0}" ;;
-S) mkdir -p "$4"; echo "configured for $6"; [ "${CMAKE_CODE:-0}" = 0 ] || echo 'error: this does not compile' ;;
esac
END_OF_SCRIPT
script gpu-check <<'END_OF_SCRIPT'
echo "did $*, wgmma: ${VJ_WGMMA:-all}, products: ${VJ_PRODUCTS:-all}"
[ "$1" != step ] || echo "tokens a clip: 1 context 2 target of $2"
[ "$1" != "${FAILS:-}" ] || exit 1
if [ "$1" = "${CRASHES%%:*}" ] && [ "${VJ_WGMMA:-all}" != "${CRASHES#*:}" ]; then
    echo "vjepa: somewhere: cuda: ${CUDA_LAUNCH_BLOCKING:+attention_forward: }an illegal address was encountered"
    exit 1
fi
[ "$1" != "${LATE:-}" ] || exit 124
[ "$1" != trial ] || [ "${VJ_WGMMA:-all}" = "${WORKS:-all}" ] || exit "${TRIAL_CODE:-3}"
END_OF_SCRIPT
script python3 <<'END_OF_SCRIPT'
case $1 in
-c) [[ $2 != *torch* || -n ${TORCH:-} ]] ;;
*) echo "peer of $2 with $4 $5 and ${LD_LIBRARY_PATH-no path}" ;;
esac
END_OF_SCRIPT
script compute-sanitizer <<<'while [[ $1 != */gpu-check ]]; do shift; done; exec "$@"'
script ncu <<<'echo "profiled ${*: -2}"'
parts=()
ready() { # CODE [NAME=VALUE...]: run it, into ./out, all or ${parts[@]}
    local want=$1 code=0
    shift
    env PATH="$PWD/tools:/usr/bin:/bin" "$@" bash "$source_dir/tests/gpu/run.sh" out "${parts[@]}" >run.log 2>&1 || code=$?
    [ $code = "$want" ] || fail "$*: exit code $code, expected $want: $(cat run.log)"
}
kernels=(linear attention layernorm gelu losses adamw rows clips sums probes)
all_there() { # PART that failed or was late, and its code
    local files=(out/*)
    [ ${#files[@]} -le 8 ] || fail "more than eight files: ${files[*]}"
    for part in ceilings products trial "${kernels[@]/#/kernels }" model memcheck {step,profile}\ {L224,H224,H384} racecheck initcheck; do
        local code=0
        [ "${part% *}" != "${1:-}" ] || code=$2
        grep -q "^$part: exit code $code, " out/summary.txt || fail "$part: $(cat out/summary.txt)"
        grep -A 1 "^==== $part\$" out/*.txt | grep -q 'did ' || fail "$part left no result"
    done
    [ "$(grep -c '^profiled step H384' out/ncu.txt)" = 2 ] || fail "ncu was not called"
    grep -q '^configured for GPU_ARCHITECTURES=90a-real' out/machine.txt || fail "not built for the GPU: $(cat out/machine.txt)"
}
ready 0 TORCH=1 LD_LIBRARY_PATH=/given
all_there
grep -A 1 '==== racecheck$' out/sanitizers.txt | grep -q 'wgmma: none' || fail "racecheck is run with wgmma: $(cat out/sanitizers.txt)"
for tool in racecheck initcheck; do
    grep -A 1 "==== $tool\$" out/sanitizers.txt | grep -q 'products: own' || fail "$tool looks at cuBLASLt: $(cat out/sanitizers.txt)"
done
grep -q '^peer of H384 with 1 2 and /given$' out/peer.txt || fail "PyTorch was not called as it should be: $(cat out/peer.txt)"
ready 1 FAILS=kernels
all_there kernels 1
ready 3 LATE=model
all_there model 124
for works in products none; do # the GPU is lost by the trial of more than that
    ready 1 WORKS=$works
    all_there trial 3
    grep -q "^did model, wgmma: $works," out/correct.txt || fail "not run with VJ_WGMMA=$works: $(cat out/correct.txt)"
    grep -A 1 '^==== trial under memcheck$' out/sanitizers.txt | grep -q '^did trial, wgmma: all,' || fail "memcheck has not seen the trial: $(cat out/sanitizers.txt)"
done
for works in products none; do # a step fails but for less of wgmma: it is measured with that, and the message names the kernel
    ready 1 CRASHES=step:$works TORCH=1
    all_there step 1
    for network in L224 H224 H384; do
        [ "$(sed -n "s/^step $network with VJ_WGMMA=\(.*\): exit code 0, .*/\1/p" out/summary.txt)" = $works ] || fail "no other measurement: $(cat out/summary.txt)"
    done
    grep -q 'cuda: attention_forward: ' out/steps.txt || fail "no kernel is named: $(cat out/steps.txt)"
    grep -q '^peer of L224 with 1 2 ' out/peer.txt || fail "no tokens for PyTorch: $(cat out/peer.txt)"
done
parts=('^racecheck|peer|ncu') # only some, in a second call
ready 0 TORCH=1
[ "$(sed 's/:.*//' out/summary.txt | tr '\n' ' ')" = "build trial peer H384 peer L224 peer H224 racecheck racecheck with wgmma ncu tiles_|simple_|wgmma_(for|back)ward ncu tile_kernel|wgmma_kernel|gemm|nvjet|cutlass " ] ||
    fail "not the parts that were asked for: $(cat out/summary.txt)"
parts=()
ready 1 TRIAL_CODE=1 WORKS=none # wrong results: the backend goes without by itself
all_there trial 1
grep -q '^did model, wgmma: all,' out/correct.txt || fail "wgmma was left out: $(cat out/correct.txt)"
ready 2 TRIAL_CODE=2 WORKS=none
grep -q '^did trial' run.log || fail "what the GPU lacks is not shown: $(cat run.log)"
ready 0 CAPABILITY='not a field'
grep -q '^configured for GPU_ARCHITECTURES=$' out/machine.txt || fail "not built for all GPUs: $(cat out/machine.txt)"
printf '#!/bin/bash\necho 14.2.0\n' >tools/g++
for tool in g++-13 gcc-13 g++-12; do cp tools/g++ tools/$tool; done
chmod +x tools/g*
ready 0 CMAKE_CODE=1 # an older compiler does it
all_there
grep -q '^build by g++-13: exit code 0' out/summary.txt || fail "not built by the older compiler: $(cat out/summary.txt)"
rm tools/g++* tools/gcc*
ready 1 CMAKE_CODE=1
grep -q 'error: this does not compile' run.log || fail "the compiler's error is not shown: $(cat run.log)"
rm tools/nvidia-smi
ready 2
grep -q 'nvidia-smi not found' run.log || fail "what is missing is not said: $(cat run.log)"
finish
