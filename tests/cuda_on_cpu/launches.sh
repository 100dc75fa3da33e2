#!/usr/bin/env bash
# What a step asks of a GPU. With as many blocks as ViT-H/16 has: at most 2500 launches, of the optimizer two for the update. The host
# waits for the GPU at most twice, with several microbatches and all that is measured in a step, also on two ranks of a node, in a
# tensor group and between nodes. Asking again and again, as between nodes, is waiting too: it also happens in at most two stretches
# of a step, in which nothing is launched but what needs the sums, or the weights, that are waited for.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/../e2e/lib.sh"
make_store train.clips 16
nodes=()
usage() { # RANKS STEPS [ARGS]: launches, waits, launches of adamw and stretches of waiting, of a rank
    local ranks=$1 steps=$2
    shift 2
    rm -rf run trace.*
    EMU_TRACE=trace EMU_REPORT=2 EMU_DEVICES=$ranks run "$ranks" "${nodes[@]}" "$bin/vjepa-pretrain" "$tiny" --set run.dir=run --set train.backend=cuda \
        --set train.stop_after="$steps" --set checkpoint.at_end=false --set checkpoint.every=0 --set parallel.check_every=0 "$@" >run.log 2>&1 ||
        { fail "a run of $steps steps ended with $?: $(tail -n 5 run.log)"; return; }
    # How often products are timed at the start depends on how fast they are. During backward the host asks once and goes on.
    awk -v ranks="$ranks" -v needs='vj_optimizer_reduce|vj_model_complete_gradient|vj_optimizer_download_norms|vj_device_gather_run|vj_cuda_copy_spans' '
         FNR == 1 { waiting = 0 }
         /vj_step_open/ || ($1 == "ask" && /vj_model_microbatch/) { next }
         $1 == "wait" || $1 == "ask" { s += !waiting; waiting = 1 }
         $1 == "launch" && $0 !~ needs { waiting = 0 }
         /^emu: [0-9]+ launches by/ { l += $2 } /^emu: [0-9]+ waits of/ { w += $2 }
         /^emu: [0-9]+ launches by vj_cuda_adamw/ { a += $2 } END { print l / ranks, w / ranks, a / ranks, s / ranks }' run.log trace.*
}
each() { # NAME RANKS FEW MANY [ARGS]: launches, waits, adamw and stretches of a step, from runs of few and of many steps
    local name=$1 few=$3 many=$4 a b
    a=$(usage "$2" "$few" "${@:5}")
    b=$(usage "$2" "$many" "${@:5}")
    read -r launches waits adamw stretches <<<"$(awk -v a="$a" -v b="$b" -v steps=$((many - few)) 'BEGIN {
        split(a, x); split(b, y); for (i = 1; i < 5; i++) printf "%g ", (y[i] - x[i]) / steps }')"
    echo "$name: $launches launches, $waits waits of the host in $stretches stretches and $adamw launches of adamw a step"
    at_most "$name" waits "$waits" 2
    at_most "$name" 'stretches of waiting' "$stretches" 2
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
each 'two ranks, zero' 2 2 5 "${small[@]}" --set log.rank_every=1 --set parallel.zero=1
each 'two ranks, reproducible' 2 2 5 "${small[@]}" --set log.rank_every=0 --set parallel.reduction=reproducible
each 'tensor group' 3 2 5 "${small[@]}" --set log.rank_every=1 --set parallel.tensor=3 --set train.precision=bf16
# Two nodes, which the wrapper makes of one: the host asks the GPU and MPI in turn what is done.
nodes=(env LD_PRELOAD="$tools/libcount_mpi.so" VJEPA_NODE_RANKS=1)
each 'two nodes' 2 2 5 "${small[@]}" --set log.rank_every=1
each 'two nodes, zero' 2 2 5 "${small[@]}" --set log.rank_every=1 --set parallel.zero=1 --set train.precision=bf16
each 'two nodes, reproducible' 2 2 5 "${small[@]}" --set log.rank_every=0 --set parallel.reduction=reproducible
finish
