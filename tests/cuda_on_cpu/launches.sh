#!/usr/bin/env bash
# What a step asks of a GPU. With as many blocks as ViT-H/16 has: at most 2500 launches, of the optimizer two for the update. The host
# waits for the GPU at most twice, with several microbatches and all that is measured in a step, also on two ranks of a node, in a
# tensor group and between nodes.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/../e2e/lib.sh"
make_store train.clips 16
nodes=()
usage() { # RANKS STEPS [ARGS]: launches, waits and launches of adamw, of a rank
    local ranks=$1 steps=$2
    shift 2
    rm -rf run
    EMU_REPORT=2 EMU_DEVICES=$ranks run "$ranks" "${nodes[@]}" "$bin/vjepa-pretrain" "$tiny" --set run.dir=run --set train.backend=cuda \
        --set train.stop_after="$steps" --set checkpoint.at_end=false --set checkpoint.every=0 --set parallel.check_every=0 "$@" >run.log 2>&1 ||
        { fail "a run of $steps steps ended with $?: $(tail -n 5 run.log)"; return; }
    # How often products are timed at the start depends on how fast they are.
    awk -v ranks="$ranks" '/vj_step_open/ { next } /^emu: [0-9]+ launches by/ { l += $2 } /^emu: [0-9]+ waits of/ { w += $2 }
         /^emu: [0-9]+ launches by vj_cuda_adamw/ { a += $2 } END { print l / ranks, w / ranks, a / ranks }' run.log
}
each() { # NAME RANKS FEW MANY [ARGS]: launches, waits and adamw of a step, from runs of few and of many steps
    local name=$1 few=$3 many=$4 a b
    a=$(usage "$2" "$few" "${@:5}")
    b=$(usage "$2" "$many" "${@:5}")
    read -r launches waits adamw <<<"$(awk -v a="$a" -v b="$b" -v steps=$((many - few)) 'BEGIN {
        split(a, x); split(b, y); for (i = 1; i < 4; i++) printf "%g ", (y[i] - x[i]) / steps }')"
    echo "$name: $launches launches, $waits waits of the host and $adamw launches of adamw a step"
}
at_most() { # NAME WHAT NUMBER MOST
    awk -v n="$3" -v most="$4" 'BEGIN { exit !(n > 0 && n <= most) }' || fail "$1: $3 $2 a step, expected at most $4: $(grep '^emu: .* waits of' run.log)"
}

each deep 1 1 2 --set train.batch=2 --set train.microbatch=2 --set model.depth=32 --set predictor.depth=12 --set train.precision=bf16 --set log.rank_every=0
at_most deep launches "$launches" 2500
at_most deep 'launches of adamw' "$adamw" 2
[ "${launches%.*}" -gt 100 ] || fail "a step has $launches launches: they are not counted"
small=(--set train.batch=8 --set train.microbatch=2)
each bf16 1 2 5 "${small[@]}" --set log.rank_every=1 --set train.precision=bf16
at_most bf16 waits "$waits" 2
each 'two ranks, zero' 2 2 5 "${small[@]}" --set log.rank_every=1 --set parallel.zero=1
at_most 'two ranks, zero' waits "$waits" 2
each 'two ranks, reproducible' 2 2 5 "${small[@]}" --set log.rank_every=0 --set parallel.reduction=reproducible
at_most 'two ranks, reproducible' waits "$waits" 2
each 'tensor group' 3 2 5 "${small[@]}" --set log.rank_every=1 --set parallel.tensor=3 --set train.precision=bf16
at_most 'tensor group' waits "$waits" 2
# Two nodes, which the wrapper makes of one. The host asks the GPU and MPI in turn what is done: it waits for neither.
nodes=(env LD_PRELOAD="$tools/libcount_mpi.so" VJEPA_NODE_RANKS=1)
each 'two nodes' 2 2 5 "${small[@]}" --set log.rank_every=1
at_most 'two nodes' waits "$waits" 2
each 'two nodes, zero' 2 2 5 "${small[@]}" --set log.rank_every=1 --set parallel.zero=1 --set train.precision=bf16
at_most 'two nodes, zero' waits "$waits" 2
each 'two nodes, reproducible' 2 2 5 "${small[@]}" --set log.rank_every=0 --set parallel.reduction=reproducible
at_most 'two nodes, reproducible' waits "$waits" 2
finish
