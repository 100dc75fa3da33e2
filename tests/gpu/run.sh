#!/usr/bin/env bash
# Check and measure the CUDA backend on a machine with an NVIDIA GPU, in one call of less than ten minutes.
#   bash tests/gpu/run.sh [OUT]
# Needs nvcc, CMake and a C compiler; no MPI, HDF5, FFmpeg or network. Writes to the folder OUT (default: gpu-results), each line as
# it comes, in this order:
#   machine.txt, build.txt        the GPU and the compiler; what building says
#   ceilings.txt                  GB/s of a copy, TFLOP/s of an 8192^3 product in bf16 by each who can multiply, rate of GELU
#   products.txt                  TFLOP/s of a step's products by mma.sync, wgmma, cuBLASLt, and as chosen between them
#   kernels.txt                   all kernels against the CPU's, and twice for equal bits
#   model.txt                     three training steps of a tiny network against the CPU's: loss, gradient
#   memcheck.txt                  small kernels under compute-sanitizer, if it is there
#   step-NAME.txt                 ViT-L/16 224, ViT-H/16 224, ViT-H/16 384: ms a step and by phase, share of 989 TFLOP/s, memory
#   profile-NAME.txt              the same by operation, with each launch waited for
#   peer-NAME.txt                 PyTorch's step of the same shapes, if PyTorch is there
#   racecheck.txt, initcheck.txt  as memcheck.txt
#   ncu-attention.txt, ncu-product.txt               if ncu is there
#   summary.txt                   the exit code and seconds of each part
# Exit code: 0; 1 if a part that checks vjepa failed; 2 without a GPU or compiler; 3 if none failed, but some did not fit into the time
# (GPU_SECONDS, default 570; summary.txt says which). No part fails for being slow.
set -uo pipefail
case ${1:-} in
--help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
esac
out=$(realpath -m "${1:-gpu-results}")
cd "$(dirname "$0")/../.." || exit 2
export PATH=$PATH:/usr/local/cuda/bin
for tool in nvcc cmake nvidia-smi; do
  if ! command -v $tool >/dev/null; then
    echo "tests/gpu/run.sh: $tool not found; it needs a machine with an NVIDIA GPU, its driver, nvcc and CMake" >&2
    exit 2
  fi
done
if ! nvidia-smi -L | grep -q GPU; then
  echo "tests/gpu/run.sh: nvidia-smi -L lists no GPU" >&2
  exit 2
fi
mkdir -p "$out" || exit 2
summary=$out/summary.txt
: >"$summary"
failed=0
unfinished=0

# part NAME SECONDS COMMAND...: into NAME.txt, within the time that is left. Returns the command's exit code.
part() {
  local name=$1 seconds=$2 left=$((${GPU_SECONDS:-570} - SECONDS)) began=$SECONDS code
  shift 2
  if [ $left -lt 5 ]; then
    echo "$name: left out, no time" | tee -a "$summary"
    return 124
  fi
  timeout -k 10 $((seconds < left ? seconds : left)) "$@" >"$out/$name.txt" 2>&1
  code=$?
  [ $code != 137 ] || code=124 # it did not end when it was told to
  echo "$name: exit code $code, $((SECONDS - began)) s$([ $code = 124 ] && echo ' (time over)')" | tee -a "$summary"
  return $code
}

# What vjepa must get right.
check() {
  part "$@"
  case $? in
  0) ;;
  124) unfinished=1 ;;
  *) failed=1 ;;
  esac
}

# Small kernels under a tool of compute-sanitizer.
sanitize() {
  if command -v compute-sanitizer >/dev/null; then
    check "$1" 45 compute-sanitizer --tool "$1" --error-exitcode 1 "$gpu_check" --small kernels
  else
    echo "$1: compute-sanitizer is not here" | tee -a "$summary"
  fi
}

# Where cuBLASLt lies that the loader does not know of: beside nvcc, or with PyTorch.
for dir in "$(dirname "$(readlink -f "$(command -v nvcc)")")"/../lib64 \
  "$(python3 -c 'import nvidia; print(list(nvidia.__path__)[0])' 2>/dev/null || true)"/*/lib; do
  if compgen -G "$dir/libcublasLt.so.*" >/dev/null; then export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$dir; fi
done

{ nvidia-smi; nvidia-smi -q -d CLOCK,POWER; nvcc --version; cmake --version; } >"$out/machine.txt" 2>&1
build=${TMPDIR:-/tmp}/vjepa-gpu-check.$$
trap 'rm -rf "$build"' EXIT
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d '. ')
[ "$capability" != 90 ] || capability=90a
command -v make >/dev/null || export CMAKE_GENERATOR=${CMAKE_GENERATOR:-Ninja}
# shellcheck disable=SC2016
if ! part build 300 bash -c 'cmake -S tests/gpu -B "$1" -D GPU_ARCHITECTURES="$2" && cmake --build "$1" -j "$(nproc)"' - "$build" \
  "$capability-real"; then
  grep -A 15 -E 'CMake Error|error:|fatal' "$out/build.txt" >&2 || tail -n 20 "$out/build.txt" >&2
  echo "tests/gpu/run.sh: the build failed; all of it is in $out/build.txt" >&2
  exit 1
fi
gpu_check=$build/gpu-check

check ceilings 40 "$gpu_check" ceilings
check products 30 "$gpu_check" products
check kernels 120 "$gpu_check" kernels
check model 20 "$gpu_check" model
sanitize memcheck
for network in "L224 none" "H224 block" "H384 block"; do
  # shellcheck disable=SC2086
  set -- $network
  check "step-$1" 60 "$gpu_check" step "$1" "$2"
  check "profile-$1" 60 "$gpu_check" profile "$1" "$2"
done

if python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
  for network in "H384 block" "L224 none" "H224 block"; do
    # shellcheck disable=SC2086
    set -- $network
    tokens=$(sed -n 's/^tokens a clip: //p' "$out/step-$1.txt" | tr -dc '0-9 ')
    # shellcheck disable=SC2086
    part "peer-$1" 90 python3 tests/gpu/peer_step.py "$1" "$2" $tokens
  done
else
  echo "peer: PyTorch with CUDA is not here" | tee -a "$summary"
fi

sanitize racecheck
sanitize initcheck

if command -v ncu >/dev/null; then
  part ncu-attention 60 ncu --clock-control none --set basic -k 'regex:tiles_|simple_|wgmma_(for|back)ward' -c 6 --kill yes "$gpu_check" step H384
  part ncu-product 60 ncu --clock-control none --set basic -k 'regex:tile_kernel|wgmma_kernel|gemm|nvjet|cutlass' -c 12 --kill yes "$gpu_check" step H384
else
  echo "ncu: not here" | tee -a "$summary"
fi
if [ $failed = 1 ]; then exit 1; fi
exit $((3 * unfinished))
