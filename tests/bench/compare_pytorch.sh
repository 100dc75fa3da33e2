#!/usr/bin/env bash
# Compares our training step with PyTorch's on the same shapes and precision, in turns (ours, PyTorch, ours ...), so
# that other load meets both; prints a Markdown table. "best" is the fastest step of all rounds, "median" the median of
# the rounds' medians. PyTorch runs "tuned" (jemalloc keeps huge pages; a PyTorch that multiplies with OpenBLAS gets the
# one with OpenMP, and its AVX-512 kernels where the processor has them), with --compile in each round also through
# torch.compile, and once "as installed". Best on a quiet machine; tiny takes a minute, large about ten.
#   compare_pytorch.sh [--sizes tiny,large] [--dtypes fp32,bf16] [--rounds N] [--threads N] [--compile] [--skip-as-installed]
# Needs vjepa-bench (VJEPA_BIN, or build/bin of this checkout) and PyTorch for PYTHON (/usr/bin/python3). Most users
# have it from the Python package index: python3 -m venv DIR && DIR/bin/pip install torch numpy, then
# PYTHON=DIR/bin/python and apt-get install libjemalloc2 (for --compile: g++). For Debian's: python3-torch
# libopenblas0-openmp libjemalloc2
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bin=${VJEPA_BIN:-$here/../../build/bin}
python=${PYTHON:-/usr/bin/python3}
sizes=tiny,large dtypes=fp32,bf16 rounds=5 threads=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc) as_installed=1 compile=0 command="$(basename "$0") $*"
usage() {
    echo "compare_pytorch.sh: $1" >&2
    exit 2
}
while (($#)); do
    case $1 in
    --skip-as-installed) as_installed=0 && shift && continue ;;
    --compile) compile=1 && shift && continue ;;
    --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" && exit 0 ;;
    --sizes | --dtypes | --rounds | --threads) (($# > 1)) || usage "$1 takes a value" ;;
    *) usage "unknown option $1; see --help" ;;
    esac
    printf -v "${1#--}" '%s' "$2"
    shift 2
done
[[ $rounds =~ ^[1-9][0-9]*$ && $threads =~ ^[1-9][0-9]*$ ]] || usage "--rounds and --threads take numbers"
[ -x "$bin/vjepa-bench" ] || usage "$bin/vjepa-bench is missing: build first, or set VJEPA_BIN"
"$python" -c 'import torch' 2>/dev/null || {
    echo "skipped: no PyTorch in $python. Debian: apt-get install python3-torch libopenblas0-openmp libjemalloc2" >&2
    exit 77
}
lib=/usr/lib/$(uname -m)-linux-gnu
tuning=(LD_PRELOAD="$lib/libjemalloc.so.2" MALLOC_CONF=thp:always,dirty_decay_ms:-1,muzzy_decay_ms:-1)
needed=("$lib/libjemalloc.so.2")
if ! "$python" -c 'import sys, torch; sys.exit(not torch.backends.mkl.is_available())'; then # it has OpenBLAS
    tuning+=(LD_LIBRARY_PATH="$lib/openblas-openmp")
    needed+=("$lib/openblas-openmp")
    if grep -qw avx512f /proc/cpuinfo; then tuning+=(ATEN_CPU_CAPABILITY=avx512 OPENBLAS_CORETYPE="${OPENBLAS_CORETYPE:-SKYLAKEX}"); fi
fi
for file in "${needed[@]}"; do
    [ -e "$file" ] || {
        echo "skipped: $file is missing, PyTorch would be slower than it can be: apt-get install libopenblas0-openmp libjemalloc2" >&2
        exit 77
    }
done
scratch=$(mktemp -d "${TMPDIR:-/tmp}/vjepa-compare.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

# The masks hide whole tubes; peer_pytorch.py has the same numbers of tokens. The watch on the effective rank is off,
# since PyTorch's step has none.
masks='mask: {cut: none, generators: [{kind: tube, ratio: 0.75}, {kind: tube, ratio: 0.9}]}'
cat >"$scratch/tiny.yaml" <<YAML
data: {frames: 16, crop: 64}
model: {size: custom, width: 192, depth: 12, heads: 3, patch: 8, tubelet: 2}
predictor: {width: 96, depth: 6, heads: 3}
$masks
train: {batch: 4, microbatch: 4}
log: {rank_every: 0}
YAML
cat >"$scratch/large.yaml" <<YAML
data: {frames: 16, crop: 224}
model: {size: large, patch: 16, tubelet: 2}
predictor: {width: 384, depth: 12, heads: 12}
$masks
train: {batch: 1, microbatch: 1}
log: {rank_every: 0}
YAML

ours() { # SIZE DTYPE STEPS
    env -u OMP_WAIT_POLICY OMP_NUM_THREADS="$threads" OMP_PROC_BIND=true \
        OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_hwloc_base_binding_policy=none \
        "$bin/vjepa-bench" step "$scratch/$1.yaml" --as-configured --set precision="$2" --repeats "$3" --json
}
tuned() { # SIZE DTYPE STEPS BATCH [--compile]
    env -u OMP_WAIT_POLICY "${tuning[@]}" OMP_NUM_THREADS="$threads" OMP_PROC_BIND=true \
        "$python" "$here/peer_pytorch.py" --size "$1" --dtype "$2" --steps "$3" --batch "$4" --threads "$threads" "${@:5}"
}
installed() { # SIZE DTYPE STEPS BATCH
    env -u OMP_WAIT_POLICY -u OMP_NUM_THREADS -u OPENBLAS_NUM_THREADS -u OPENBLAS_CORETYPE \
        "$python" "$here/peer_pytorch.py" --size "$1" --dtype "$2" --steps "$3" --batch "$4" --threads "$threads"
}

for size in ${sizes//,/ }; do
    case $size in
    tiny) steps=10 batch=4 ;;
    large) steps=3 batch=1 ;;
    *) usage "--sizes: $size is neither tiny nor large" ;;
    esac
    for dtype in ${dtypes//,/ }; do
        [[ $dtype == fp32 || $dtype == bf16 ]] || usage "--dtypes: $dtype is neither fp32 nor bf16"
        for ((round = 1; round <= rounds; round++)); do
            echo "$size $dtype, round $round of $rounds" >&2
            ours "$size" "$dtype" "$steps" >"$scratch/$size.$dtype.ours.$round"
            tuned "$size" "$dtype" "$steps" "$batch" >"$scratch/$size.$dtype.tuned.$round"
            ((compile)) || continue
            tuned "$size" "$dtype" "$steps" "$batch" --compile >"$scratch/$size.$dtype.compiled.$round"
        done
        ((as_installed)) || continue
        echo "$size $dtype, PyTorch as installed" >&2
        installed "$size" "$dtype" "$((steps > 3 ? 3 : 2))" "$batch" >"$scratch/$size.$dtype.installed.1"
    done
done

"$python" - "$scratch" "$sizes" "$dtypes" "$command" <<'PY'
import glob, json, os, re, statistics, sys

scratch, sizes, dtypes, command = sys.argv[1:]

def load(size, dtype, who):
    runs = [json.load(open(f)) for f in glob.glob(f'{scratch}/{size}.{dtype}.{who}.*')]
    if not runs:
        return None
    last = runs[-1]
    last['best'] = min(r['step_s']['min'] for r in runs)
    last['median'] = statistics.median(r['step_s']['median'] for r in runs)
    last['memory'] = max(r['peak_bytes'] for r in runs)
    last['peak'] = max(r.get('peak_gflops', 0) for r in runs)
    return last

def seconds(r):
    return f"{r['best']:.4g} ({r['median']:.4g})" if r else '-'

print('| size | dtype | ours, s: best (median) | PyTorch tuned | compiled | as installed | tuned / ours | compiled / ours | '
      'installed / ours | ours, GFLOP/s | tuned, GFLOP/s | ours, % of peak | memory: ours, MiB | tuned | ours / tuned | '
      'less the state: ours, MiB | tuned | ours / tuned |')
print('|' + ' --- |' * 18)
for size in sizes.split(','):
    for dtype in dtypes.split(','):
        ours, tuned, compiled, installed = (load(size, dtype, who) for who in ('ours', 'tuned', 'compiled', 'installed'))
        assert ours['context_rows'] == tuned['context_rows'], 'the two do not do the same work'
        ratio = lambda r: f"{r['best'] / ours['best']:.2f}" if r else '-'
        mib = lambda r, less=0: f"{(r['memory'] - less) / 2**20:.0f}"
        state = tuned['state_bytes']
        print(f"| {size} | {dtype} | {seconds(ours)} | {seconds(tuned)} | {seconds(compiled)} | {seconds(installed)} | "
              f"{ratio(tuned)} | {ratio(compiled)} | {ratio(installed)} | {ours['gflop'] / ours['best']:.0f} | "
              f"{ours['gflop'] / tuned['best']:.0f} | {100 * ours['gflop'] / ours['best'] / ours['peak']:.0f} | "
              f"{mib(ours)} | {mib(tuned)} | {ours['memory'] / tuned['memory']:.2f} | {mib(ours, state)} | "
              f"{mib(tuned, state)} | {(ours['memory'] - state) / (tuned['memory'] - state):.2f} |")
model = re.search(r'model name\s*: (.*)', open('/proc/cpuinfo').read())
print(f"\nMachine: {model.group(1) if model else 'unknown CPU'}, {os.cpu_count()} cores, {ours['threads']} threads. "
      f"Ours: {ours['version']}, {ours['kernels']}, fp32 peak {ours['fp32_peak_gflops']:.0f} GFLOP/s, bf16 peak "
      f"{ours['bf16_peak_gflops']:.0f} ({ours['bf16_instruction']}). PyTorch {tuned['pytorch']}, attention "
      f"{tuned['attention']}, AdamW {tuned['adamw']}. GFLOP/s of best steps, both by vjepa-bench's count. "
      f"The state: weights, gradient, AdamW's moments and the target encoder, fp32. Command: {command}")
PY
