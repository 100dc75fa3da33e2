#!/usr/bin/env bash
# Compares a frozen evaluation with the same in PyTorch, in turns (ours, PyTorch, ours ...), so that other load meets
# both: the same clips and encoder (a checkpoint that both read), training views drawn anew in every epoch, attentive
# probes, then the centre view of other clips. Prints a Markdown table of seconds (training and measuring, without the
# programs' start) and their ratio. Views: plain (random crops alone) and augmented (RandAugment and erasing too).
#   compare_evaluation.sh [--views plain,augmented] [--probes 1,9] [--cores N] [--workers 0,N] [--rounds N] [--dtype fp32|bf16] [--compile]
#   compare_evaluation.sh --campaign [--views ...] [--cores N] [--rounds N] [--dtype ...]
# --cores N: ours runs on N ranks of one thread, PyTorch on N threads, both on the first N processors. --workers:
# numbers of processes that make PyTorch's views; the fastest counts. --campaign: no PyTorch, but the cost of campaigns
# compared with that of one probe: one with all labels, the low-shot campaign of 9 (5, 10, 50 % x 3 splits), and 20
# heads of a sweep. Best on a quiet machine, or ahead of other programs: chrt -r 60. A round of one variant takes some
# 20 s of a core.
# Needs vjepa-evaluate and the test programs (VJEPA_BIN, or build/bin of this checkout); PYTHON: one with torch, h5py and Pillow.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bin=${VJEPA_BIN:-$here/../../build/bin}
python=${PYTHON:-/usr/bin/python3}
views=plain,augmented probes=1,9 cores=1 workers=0 rounds=3 dtype=fp32 compile=() campaign=0 command="$(basename "$0") $*"
usage() {
    echo "compare_evaluation.sh: $1" >&2
    exit 2
}
while (($#)); do
    case $1 in
    --compile) compile=(--compile) && shift && continue ;;
    --campaign) campaign=1 && shift && continue ;;
    --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" && exit 0 ;;
    --views | --probes | --cores | --workers | --rounds | --dtype) (($# > 1)) || usage "$1 takes a value" ;;
    *) usage "unknown option $1; see --help" ;;
    esac
    printf -v "${1#--}" '%s' "$2"
    shift 2
done
[[ $rounds =~ ^[1-9][0-9]*$ && $cores =~ ^[1-9][0-9]*$ ]] || usage "--rounds and --cores take numbers"
[[ $dtype == fp32 || $dtype == bf16 ]] || usage "--dtype: $dtype is neither fp32 nor bf16"
[ -x "$bin/vjepa-evaluate" ] || usage "$bin/vjepa-evaluate is missing: build first, or set VJEPA_BIN"
"$python" -c 'import torch, h5py, PIL' 2>/dev/null || ((campaign)) || {
    echo "skipped: $python lacks torch, h5py or Pillow (PYTHON=...). Debian: apt-get install python3-torch python3-h5py python3-pil" >&2
    exit 77
}
scratch=$(mktemp -d "${TMPDIR:-/tmp}/vjepa-compare.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
# shellcheck source=jobs/mpi_env.sh
. "$here/../../jobs/mpi_env.sh"
export OMP_NUM_THREADS=1
on_cores=(taskset -c "0-$((cores - 1))")

cat >"$scratch/small.yaml" <<YAML
data: {train: [$scratch/train.clips], frames: 16, crop: 64, threads: 1}
model: {size: custom, width: 192, depth: 6, heads: 3, patch: 8, tubelet: 2, init: fan_in}
predictor: {width: 96, depth: 2, heads: 3}
mask: {cut: none, generators: [{kind: tube, ratio: 0.75}]}
train: {batch: 4, microbatch: 4, stop_after: 1, precision: $dtype}
probe: {tasks: [motion], pooling: [attentive], labels: [100], epochs: 2, batch: 16, lr: 1.0e-3}
evaluate: {flip: 0, batch: 8}
YAML
make_store() { "$bin/../tests/make_store" "$scratch/$1.clips" "$2" 16 73 98 "$3" >/dev/null; }
make_store train 64 0
make_store validation 32 1000
mpirun -n 1 "$bin/vjepa-pretrain" "$scratch/small.yaml" --set run.dir="$scratch/run" >"$scratch/pretrain.log" 2>&1 ||
    { cat "$scratch/pretrain.log" >&2 && exit 1; }
checkpoint=$(ls "$scratch"/run/step_*.h5)

ours() { # VIEWS OUT [ARGS]
    local out=$2 augment=(--set evaluate.augment=none --set evaluate.erasing=0)
    [ "$1" = plain ] || augment=()
    shift 2
    rm -rf "$scratch/results"
    "${on_cores[@]}" mpirun -n "$cores" "$bin/vjepa-evaluate" "$scratch/small.yaml" a="$checkpoint" --train "$scratch/train.clips" --attention 0 \
        --validation "$scratch/validation.clips" --out "$scratch/results" "${augment[@]}" "$@" >"$out" 2>&1 || {
        cat "$out" >&2
        exit 1
    }
    awk -F , 'NR > 1 { print "top1", $12 }' "$scratch/results/heads.csv" >>"$out"
}
theirs() { # VIEWS PROBES WORKERS OUT
    local augment=(--augment)
    [ "$1" = augmented ] || augment=()
    env OMP_NUM_THREADS="$cores" "${on_cores[@]}" "$python" "$here/peer_evaluation.py" "$checkpoint" "$scratch/train.clips" "$scratch/validation.clips" \
        --probes "$2" --threads "$cores" --workers "$3" --dtype "$dtype" "${augment[@]}" "${compile[@]}" >"$4"
}

shares='probe.labels=[5, 10, 50]' rates='evaluate.sweep_lr=[0.005, 0.003, 0.001, 0.0003, 0.0001]' decays='evaluate.sweep_wd=[0.01, 0.1, 0.4, 0.8]'
for view in ${views//,/ }; do
    [[ $view == plain || $view == augmented ]] || usage "--views: $view is neither plain nor augmented"
    for ((round = 1; round <= rounds && campaign; round++)); do
        echo "$view views, round $round of $rounds" >&2
        ours "$view" "$scratch/$view.one.ours.$round" --set probe.seeds=1
        ours "$view" "$scratch/$view.low-shot.ours.$round" --set probe.seeds=3 --set "$shares"
        ours "$view" "$scratch/$view.sweep.ours.$round" --set probe.seeds=1 --set "$rates" --set "$decays"
    done
    for n in ${probes//,/ }; do
        for ((round = 1; round <= rounds && !campaign; round++)); do
            echo "$view views, $n probes, round $round of $rounds" >&2
            ours "$view" "$scratch/$view.$n.ours.$round" --set probe.seeds="$n"
            for w in ${workers//,/ }; do theirs "$view" "$n" "$w" "$scratch/$view.$n.torch.$w.$round"; done
        done
    done
done

"$python" - "$scratch" "$views" "$probes" "$campaign" "$command" <<'PY'
import glob, json, re, statistics, sys

scratch, views, probes, campaign, command = sys.argv[1:]

def ours(path):
    text = open(path).read()
    # The log has a line on training, and one on measuring.
    train, = re.findall(r'samples encoded in ([0-9.]+) s', text)
    measure = sum(float(s) for s in re.findall(r'(?:validation|held-out) samples measured in ([0-9.]+) s', text))
    wait = max(float(w) for w in re.findall(r'([0-9.]+) % of the time waiting for clips', text))
    top1 = [float(t) for t in re.findall(r'^top1 (.*)', text, re.M)]
    return {'train_s': float(train), 'measure_s': measure, 'top1': top1, 'wait': wait}

def best(runs):
    total = [r['train_s'] + r['measure_s'] for r in runs]
    one = dict(runs[total.index(min(total))], best=min(total), median=statistics.median(total))
    one['top1'] = statistics.mean(one['top1'])
    return one

def machine():
    model = re.search(r'model name\s*: (.*)', open('/proc/cpuinfo').read())
    return f"\nMachine: {model.group(1) if model else 'unknown CPU'}"

if campaign == '1':
    print('| views | probes | s: best (median) | times one probe, best (median) | wait for clips |')
    print('|' + ' --- |' * 5)
    for view in views.split(','):
        one = None
        for name, what in (('one', 'one, all labels'), ('low-shot', '9: 5, 10, 50 % x 3'), ('sweep', '20: 5 rates x 4 decays')):
            a = best([ours(f) for f in glob.glob(f'{scratch}/{view}.{name}.ours.*')])
            one = one or a
            print(f"| {view} | {what} | {a['best']:.2f} ({a['median']:.2f}) | {a['best'] / one['best']:.2f} "
                  f"({a['median'] / one['median']:.2f}) | {a['wait']:.1f} % |")
    print(f'{machine()}. Command: {command}')
    sys.exit()
print('| views | probes | ours, s: best (median) | PyTorch | PyTorch / ours | training | measuring | our wait for clips | top-1, ours | PyTorch |')
print('|' + ' --- |' * 10)
for view in views.split(','):
    for n in probes.split(','):
        a = best([ours(f) for f in glob.glob(f'{scratch}/{view}.{n}.ours.*')])
        by_workers = {}
        for f in glob.glob(f'{scratch}/{view}.{n}.torch.*'):
            by_workers.setdefault(f.split('.')[-2], []).append(json.load(open(f)))
        b = min((best(runs) for runs in by_workers.values()), key=lambda r: r['best'])
        print(f"| {view} | {n} | {a['best']:.2f} ({a['median']:.2f}) | {b['best']:.2f} ({b['median']:.2f}) | **{b['best'] / a['best']:.2f}** | "
              f"{b['train_s'] / a['train_s']:.2f} | {b['measure_s'] / a['measure_s']:.2f} | {a['wait']:.1f} % | {a['top1']:.1f} | {b['top1']:.1f} |")
print(f"{machine()}, {b['threads']} core(s) used. PyTorch {b['pytorch']}, {b['precision']}, attention "
      f"{b['attention']}, {b['workers']} workers{', compiled' if b['compiled'] else ''}. Command: {command}")
PY
