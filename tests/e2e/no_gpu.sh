#!/usr/bin/env bash
# Checks a build with the CUDA backend on a machine without a GPU: `cuda` says what is missing and ends with 2, `auto` takes the CPU.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
export EMU_NO_DRIVER=1 # where the GPU is emulated
make_store train.clips 24
few=(--set train.batch=4 --set train.stop_after=1)
rc=0
pretrain 1 gpu "${few[@]}" --set train.backend=cuda >gpu.log 2>&1 || rc=$?
if [ "$rc" -eq 0 ] || grep -q 'this build has no CUDA' gpu.log; then
    echo "skipped: this build has no CUDA backend, or there is a GPU"
    exit 77
fi
[ "$rc" -eq 2 ] || fail "backend cuda without a GPU ends with $rc instead of 2"
grep -q 'there is no CUDA device here (.*there is no driver, one for CUDA [0-9]* is needed' gpu.log ||
    fail "what is missing is not said: $(cat gpu.log)"
grep -q 'set train.backend=cpu' gpu.log || fail "what to do is not said: $(cat gpu.log)"
pretrain 1 auto "${few[@]}" --set train.backend=auto >auto.log 2>&1 || fail "auto ended with $?: $(cat auto.log)"
grep -q 'cpu' auto.log || fail "auto does not take the cpu: $(cat auto.log)"
finish
