#!/usr/bin/env bash
# Check and measure the CUDA backend on a machine with an NVIDIA GPU, in one call of less than ten minutes.
#   bash tests/gpu/run.sh [OUT [PARTS]]
# Needs nvcc (CUDA 12 or newer), CMake 3.18 or newer and compilers of C and C++; no MPI, HDF5, FFmpeg or network. Writes eight files to the
# folder OUT (default: gpu-results), each line as it comes. PARTS is a regular expression: only parts are run whose names (in summary.txt)
# match it, besides the build and the trial. So a second call can do what the first had no time for: 'sanitizers|ncu|racecheck'. "peer NAME"
# needs "step NAME". In the order in which the parts are run:
#   machine.txt     the GPU, its driver and the compiler; what building says; clocks, power, temperature and memory every two seconds
#   correct.txt     trial: are products and attention by wgmma right? kernels NAME: all kernels against the CPU's, and twice for equal
#                   bits. model: three training steps of a tiny network against the CPU's, loss and gradient
#   rates.txt       ceilings: GB/s of a copy, TFLOP/s of an 8192^3 product in bf16 by each who can multiply, rate of GELU. products:
#                   TFLOP/s of a step's products by mma.sync, wgmma, cuBLASLt, and as chosen between them
#   steps.txt       step NAME: ViT-L/16 224, ViT-H/16 224, ViT-H/16 384: ms a step and by phase, share of 989 TFLOP/s, memory.
#                   profile NAME: the same by operation, with each launch waited for
#   peer.txt        PyTorch's step of the same shapes, if PyTorch is there
#   sanitizers.txt  small kernels under compute-sanitizer, if it is there. racecheck knows neither wgmma nor loads by TMA: so it must
#                   find nothing without these, and what it finds with them is only shown. racecheck and initcheck see own kernels only:
#                   cuBLASLt's use wgmma and TMA too, and what they find there says nothing about vjepa
#   ncu.txt         the largest kernels, if ncu is there
#   summary.txt     the exit code and seconds of each part
# A part that fails or hangs is ended, and the others run. If even the trial of wgmma makes the GPU fail, the rest is run without it
# (VJ_WGMMA in docs/cuda.md), and memcheck looks at the trial. A part in which a call to CUDA fails is run again with each launch waited for
# (CUDA_LAUNCH_BLOCKING), so that the message names the kernel. A step that fails is measured with less of wgmma.
# Exit code: 0; 1 if a part that checks vjepa failed; 2 without a GPU or compiler, or with a driver that is too old; 3 if none failed, but
# some did not fit into the time (GPU_SECONDS, default 570; summary.txt says which). No part fails for being slow.
set -uo pipefail
case ${1:-} in
--help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
esac
out=$(realpath -m "${1:-gpu-results}")
parts=${2:-.}
cd "$(dirname "$0")/../.." || exit 2
export PATH=$PATH:/usr/local/cuda/bin
for tool in nvcc cmake nvidia-smi; do
  if ! command -v $tool >/dev/null; then
    echo "tests/gpu/run.sh: $tool not found; it needs a machine with an NVIDIA GPU, its driver, nvcc and CMake" >&2
    exit 2
  fi
done
if ! nvidia-smi -L | grep GPU >/dev/null; then # not grep -q, which may end before nvidia-smi
  echo "tests/gpu/run.sh: nvidia-smi -L lists no GPU" >&2
  exit 2
fi
mkdir -p "$out" || exit 2
rm -f "$out"/{machine,correct,rates,steps,peer,sanitizers,ncu,summary}.txt
summary=$out/summary.txt
failed=0
unfinished=0

wanted() { # NAME
  [[ $1 =~ ^(build|trial) || $1 =~ $parts ]]
}

# part FILE NAME SECONDS COMMAND...: to the end of FILE.txt, within the time that is left. Returns the command's exit code.
part() {
  local file=$out/$1.txt name=$2 seconds=$3 left=$((${GPU_SECONDS:-570} - SECONDS)) began=$SECONDS code
  wanted "$name" || return 0
  shift 3
  if [ $left -lt 5 ]; then
    echo "$name: left out, no time" | tee -a "$summary"
    return 124
  fi
  echo "==== $name" >>"$file"
  timeout -k 10 $((seconds < left ? seconds : left)) "$@" >>"$file" 2>&1
  code=$?
  [ $code != 137 ] || code=124 # it did not end when it was told to
  echo "$name: exit code $code, $((SECONDS - began)) s$([ $code = 124 ] && echo ' (time over)')" | tee -a "$summary"
  return $code
}

# What vjepa must get right. Returns the command's exit code.
check() {
  local file=$out/$1.txt before code
  before=$(stat -c %s "$file" 2>/dev/null || echo 0)
  part "$@"
  code=$?
  case $code in
  0) ;;
  124) unfinished=1 ;;
  *) failed=1 ;;
  esac
  # Calls fail later than the launch that is the cause.
  if [ $code = 1 ] && tail -c +$((before + 1)) "$file" | grep -q 'cuda: '; then
    part "$1" "$2, each launch waited for" "$3" env CUDA_LAUNCH_BLOCKING=1 "${@:4}"
  fi
  return $code
}

# Where cuBLASLt lies that the loader does not know of: beside nvcc, or with PyTorch.
given_path=${LD_LIBRARY_PATH:-}
nvcc=$(command -v nvcc)
for dir in "$(dirname "$(readlink -f "$nvcc")")"/../lib64 \
  "$(python3 -c 'import nvidia; print(list(nvidia.__path__)[0])' 2>/dev/null || true)"/*/lib; do
  if compgen -G "$dir/libcublasLt.so.*" >/dev/null; then export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$dir; fi
done

# A driver runs programs of its version of CUDA and of older ones. If nvcc is newer, look for another one.
version_of() { "$1" --version | sed -n 's/.*release \([0-9]*\)\..*/\1/p'; }
driver=$(nvidia-smi | sed -n 's/.*CUDA \(UMD \)\{0,1\}Version: *\([0-9]*\)\..*/\2/p')
if [ -n "$driver" ] && [ "$(version_of "$nvcc")" -gt "$driver" ]; then
  while read -r other; do
    if [ -x "$other" ] && [ "$(version_of "$other")" -le "$driver" ]; then
      nvcc=$other
      break
    fi
  done < <(compgen -G '/usr/local/cuda-*/bin/nvcc' | sort -rV)
fi
export CUDACXX=$nvcc NVCC_APPEND_FLAGS="${NVCC_APPEND_FLAGS:-} -allow-unsupported-compiler"
PATH=$(dirname "$nvcc"):$PATH

{ nvidia-smi; nvidia-smi -q -d CLOCK,POWER; "$nvcc" --version; cmake --version; } >"$out/machine.txt" 2>&1
build=${TMPDIR:-/tmp}/vjepa-gpu-check.$$
trap 'rm -rf "$build"' EXIT
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | sed -n '1s/[. ]//gp')
case $capability in
90) architectures=90a-real ;;
'' | *[!0-9]*) architectures='' ;; # an nvidia-smi that cannot tell
*) architectures=$capability-real ;;
esac
command -v make >/dev/null || export CMAKE_GENERATOR=${CMAKE_GENERATOR:-Ninja}
build_it() { # NAME
  # shellcheck disable=SC2016
  part machine "$1" 300 bash -c 'cmake -S tests/gpu -B "$1" -D GPU_ARCHITECTURES="$2" && cmake --build "$1" -j "$(nproc)"' - "$build" \
    "$architectures"
}
build_it build
built=$?
for version in 13 12 11; do # nvcc may not take the newest compiler
  case $built in 0 | 124) break ;; esac
  command -v g++-$version gcc-$version >/dev/null || continue
  if [ "$(g++ -dumpversion | sed 's/\..*//')" -le $version ]; then continue; fi
  rm -rf "$build"
  export CUDAHOSTCXX=g++-$version CXX=g++-$version CC=gcc-$version
  build_it "build by g++-$version"
  built=$?
done
if [ $built != 0 ]; then
  grep -A 15 -E 'CMake Error|error:|fatal' "$out/machine.txt" >&2 || tail -n 20 "$out/machine.txt" >&2
  echo "tests/gpu/run.sh: the build failed; all of it is in $out/machine.txt" >&2
  exit 1
fi
gpu_check=$build/gpu-check
nvidia-smi --query-gpu=timestamp,clocks.sm,clocks.mem,power.draw,temperature.gpu,memory.used --format=csv -l 2 >>"$out/machine.txt" 2>&1 &
watching=$!
trap 'kill $watching 2>/dev/null; rm -rf "$build"' EXIT

# What the backend finds wrong, code 1, it does not use. If the GPU is lost by the trial, go on with less.
check correct trial 60 "$gpu_check" trial
code=$?
if [ $code = 2 ]; then
  cat "$out/correct.txt" >&2
  exit 2
fi
lost=0
for less in products none; do
  case $code in 0 | 1) break ;; esac
  lost=1
  export VJ_WGMMA=$less
  part correct "trial with VJ_WGMMA=$less" 60 "$gpu_check" trial
  code=$?
done
if [ $lost = 1 ] && command -v compute-sanitizer >/dev/null; then
  part sanitizers "trial under memcheck" 60 env -u VJ_WGMMA compute-sanitizer --tool memcheck --report-api-errors no "$gpu_check" trial
fi

check rates ceilings 40 "$gpu_check" ceilings
for name in linear attention layernorm gelu losses adamw rows clips sums probes; do
  check correct "kernels $name" 60 "$gpu_check" kernels $name
done
check correct model 20 "$gpu_check" model
networks=("L224 none" "H224 block" "H384 block")
steps() { # step or profile: of all networks; what fails is measured with less of wgmma too
  local network code less
  for network in "${networks[@]}"; do
    # shellcheck disable=SC2086
    check steps "$1 ${network% *}" 60 "$gpu_check" $1 $network
    code=$?
    for less in products none; do
      case $code/${VJ_WGMMA:-all} in 0/* | 124/* | */none | */$less) continue ;; esac
      # shellcheck disable=SC2086
      part steps "$1 ${network% *} with VJ_WGMMA=$less" 60 env VJ_WGMMA=$less "$gpu_check" $1 $network
      code=$?
    done
  done
}
steps step
check rates products 30 "$gpu_check" products
steps profile

sanitize() { # FUNCTION NAME TOOL [OPTION...]
  local function=$1 name=$2 tool=$3
  shift 3
  "$function" sanitizers "$name" 45 compute-sanitizer --tool "$tool" "$@" --error-exitcode 1 "$gpu_check" --small kernels
}
sanitizers=0
if command -v compute-sanitizer >/dev/null; then
  sanitizers=1
  sanitize check memcheck memcheck --report-api-errors no # an event that is asked for too early is no error
else
  echo "sanitizers: compute-sanitizer is not here" | tee -a "$summary"
fi

if python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
  for network in "H384 block" "L224 none" "H224 block"; do
    tokens=$(sed -n "/^==== step ${network% *}\( with .*\)\{0,1\}\$/,/^==== /s/^tokens a clip: //p" "$out/steps.txt" 2>/dev/null | tail -n 1 | tr -dc '0-9 ')
    if [ -z "$tokens" ] && wanted "peer ${network% *}"; then
      echo "peer ${network% *}: left out, no step of it was measured" | tee -a "$summary"
      continue
    fi
    # shellcheck disable=SC2086
    part peer "peer ${network% *}" 90 env LD_LIBRARY_PATH="$given_path" python3 tests/gpu/peer_step.py $network $tokens
  done
else
  echo "peer: PyTorch with CUDA is not here" | tee -a "$summary"
fi

if [ $sanitizers = 1 ]; then
  VJ_PRODUCTS=own VJ_WGMMA=none sanitize check racecheck racecheck
  VJ_PRODUCTS=own sanitize check initcheck initcheck
  VJ_PRODUCTS=own sanitize part "racecheck with wgmma" racecheck
fi

if command -v ncu >/dev/null; then
  # Once for each kernel and size of grid: else the first ones would all be those of the backend's trial, of one block each.
  for kernels in 'tiles_|simple_|wgmma_(for|back)ward' 'tile_kernel|wgmma_kernel|gemm|nvjet|cutlass'; do
    part ncu "ncu $kernels" 90 env VJ_PRODUCTS=own ncu --clock-control none --set basic -k "regex:$kernels" \
      --filter-mode per-launch-config -c 1 "$gpu_check" step H384
  done
else
  echo "ncu: not here" | tee -a "$summary"
fi
dmesg 2>/dev/null | grep 'NVRM: Xid' >>"$out/machine.txt" # what the driver says of kernels that failed, if it may be read
if [ $failed = 1 ]; then exit 1; fi
exit $((3 * unfinished))
