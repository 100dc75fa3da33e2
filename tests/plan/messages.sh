#!/usr/bin/env bash
# Checks that vjepa-plan's forecast of messages and bytes by communicator is what a run gives to MPI, counted by a wrapper (count_mpi.c):
# with data ranks, tensor groups, parallel.zero, several nodes (which the wrapper simulates), numbers of ranks on a node that are no power
# of two, and reproducible sums; with VJ_TEST_BACKEND=cuda for GPUs on several nodes.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/../e2e/lib.sh"
make_store train.clips 24
cat >small.yaml <<'END'
data: {train: [train.clips], frames: 4, crop: 32, threads: 1, read_ahead: 1}
model: {size: custom, width: 96, depth: 5, heads: 4, patch: 8, tubelet: 2, init: fan_in}
predictor: {width: 48, depth: 2, heads: 4}
mask: {group: 2, generators: [{kind: tube, ratio: 0.5}]}
parallel: {bucket_mb: 1, check_every: 3}
train: {batch: 12, microbatch: 1, steps_per_epoch: 4, epochs: 1}
checkpoint: {at_end: false, every: 0}
log: {rank_every: 2, rank_alarm: 0}
END

# Steps 2 and 3 are counted, from the beginning of step 2 to that of step 4.
count() { # RANKS [ARGS]
    local ranks=$1
    shift
    rm -rf run counts.*
    VJEPA_COUNTS=$scratch/counts VJEPA_COUNT_FROM=2 VJEPA_COUNT_TO=4 run "$ranks" env LD_PRELOAD="$tools/libcount_mpi.so" \
        "$bin/vjepa-pretrain" small.yaml --set run.dir=run "$@" >run.log 2>&1
}

cat >compare.py <<'PY'
import collections, glob, json, sys
name, sent, forecast = sys.argv[1], collections.Counter(), collections.Counter()
files = glob.glob('counts.*')
assert len(files) == int(sys.argv[2]), f'{len(files)} ranks have counted'
for file in files:
    for line in open(file):
        communicator, messages, size = line.strip().split(',')
        sent[communicator, 'messages'] += int(messages)
        sent[communicator, 'bytes'] += int(size)
for row in json.load(open('plan.json'))['messages']:
    times = sum(step % row['every_steps'] == 0 for step in (2, 3))
    for what in ('messages', 'bytes'):
        forecast[row['communicator'], what] += times * row[what]
print(name, {f'{k[0]}, {k[1]}': n for k, n in sorted(sent.items())})
assert sent and +sent == +forecast, f'{name}: sent but not forecast, or the other way round: {sorted(set(sent.items()) ^ set(forecast.items()))}'
PY

check() { # NAME NODESxRANKS [ARGS]
    local name=$1 layout=$2 nodes=${2%x*} ranks=${2#*x}
    shift 2
    local machine=(--set cluster.nodes="$nodes" --set cluster.cores_per_node="$ranks" --set cluster.memory_gb=100)
    [[ $* != *backend=cuda* ]] || machine+=(--set cluster.gpus_per_node="$ranks")
    "$bin/vjepa-plan" small.yaml --layout "$layout" "${machine[@]}" "$@" --json >plan.json 2>plan.log || { fail "$name: $(cat plan.log)"; return; }
    export VJEPA_NODE_RANKS=$ranks
    count $((nodes * ranks)) "$@" || { fail "$name: $(tail -n 5 run.log)"; return; }
    /usr/bin/python3 compare.py "$name" $((nodes * ranks)) || fail "$name"
}
if [ "${VJ_TEST_BACKEND:-cpu}" = cuda ]; then # the emulated GPUs, which are slow; what is between the nodes
    gpus=(--set train.backend=cuda --set train.batch=4 --set model.depth=2 --set predictor.depth=1)
    check gpus 2x2 "${gpus[@]}"
    check gpus_zero 2x1 "${gpus[@]}" --set parallel.zero=1
    check gpus_zero_beside 2x2 "${gpus[@]}" --set parallel.zero=1 --set train.precision=bf16
    finish
    exit
fi
check tensor 1x4 --set parallel.tensor=2 --set parallel.zero=1
check nodes 2x2
check nodes_zero 2x2 --set parallel.zero=1
check nodes_tensor 2x2 --set parallel.tensor=2 --set parallel.reduction=reproducible
check uneven_zero 2x3 --set parallel.zero=1
finish
