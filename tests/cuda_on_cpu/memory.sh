#!/usr/bin/env bash
# vjepa-plan's forecast of a GPU's memory is within 5 % of what a run takes at most on the emulated GPU, with and without what all
# runs have alike: precisions, recompute, ranks, parallel.zero, tensor groups, nodes.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/../e2e/lib.sh"
make_store train.clips 24
cat >base.yaml <<'END'
data: {train: [train.clips], frames: 4, crop: 48, threads: 1, read_ahead: 1}
model: {size: custom, width: 256, depth: 3, heads: 4, patch: 8, tubelet: 2, init: fan_in}
predictor: {width: 96, depth: 2, heads: 4}
mask: {generators: [{kind: multiblock, blocks: 2, spatial_scale: [0.3, 0.3], temporal_scale: [0.5, 1.0], aspect: [0.75, 1.5]}]}
train: {batch: 4, microbatch: 2, steps_per_epoch: 2, epochs: 1, stop_after: 1}
parallel: {bucket_mb: 1, check_every: 0}
checkpoint: {at_end: false, every: 0}
log: {rank_every: 1, rank_alarm: 0}
pack: {frames: 4, short_side: 36, codec: raw}
END
check() { # NAME NODESxRANKS [ARGS]
    local name=$1 layout=$2 nodes=${2%x*} ranks=${2#*x} forecast taken fixed
    shift 2
    "$bin/vjepa-plan" base.yaml --layout "$layout" --set cluster.nodes="$nodes" --set cluster.cores_per_node="$ranks" --set cluster.memory_gb=100 \
        --set cluster.gpus_per_node="$ranks" --set train.backend=cuda "$@" --json >plan.json 2>plan.log || { fail "$name: $(cat plan.log)"; return; }
    rm -rf run
    VJEPA_NODE_RANKS=$ranks EMU_REPORT=1 EMU_DEVICES=$ranks run $((nodes * ranks)) env LD_PRELOAD="$tools/libcount_mpi.so" \
        "$bin/vjepa-pretrain" base.yaml --set run.dir=run --set train.backend=cuda "$@" >run.log 2>&1 || { fail "$name: $(tail -n 5 run.log)"; return; }
    forecast=$(/usr/bin/python3 -c 'import json; print(json.load(open("plan.json"))["layouts"][0]["gb_a_gpu"] * 1e9)')
    fixed=$(((nodes * ranks > 1 ? 64 : 48) << 20)) # what cuBLASLt works in, and the tables of one lane or two
    taken=$(awk '/^emu: device .* taken at most/ { if ($4 > most) most = $4 } END { print most }' run.log)
    awk -v f="$forecast" -v t="$taken" -v fixed="$fixed" -v name="$name" 'BEGIN {
        printf "%s: forecast %.1f MB, taken %.1f MB, %+.1f %%, and without %.1f MB of them ", name, f / 1e6, t / 1e6, 100 * (f / t - 1), fixed / 1e6
        f -= fixed; t -= fixed; printf "%+.1f %%\n", 100 * (f / t - 1); exit !(f > 0.95 * t && f < 1.05 * t) }' ||
        fail "$name: the forecast is not within 5 % of what was taken"
}
check one 1x1 --set train.precision=bf16
check recompute 1x1 --set train.precision=fp32 --set train.recompute=block
check two 1x2 --set train.precision=fp32
# One microbatch a step: activations are in memory of the gradient and of bf16 copies, whose place depends on the layout.
check copies 1x2 --set train.precision=bf16
check copies_block 1x1 --set train.precision=bf16 --set train.batch=2 --set train.recompute=block
check copies_tensor 1x2 --set train.precision=bf16 --set train.batch=2 --set parallel.tensor=2
check zero 1x2 --set train.precision=bf16 --set parallel.zero=1
check tensor 1x2 --set train.precision=bf16 --set parallel.tensor=2
check nodes 2x1 --set train.precision=bf16 --set parallel.zero=1
finish
