#!/usr/bin/env bash
# Whole runs on the emulated GPU: they follow the cpu's, in both precisions; any number of ranks, each with a GPU of its own or
# sharing one, trains the same bits with reduction reproducible, also killed in the middle and started again; a run moves from
# the cpu to GPUs and back.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/../e2e/lib.sh"
make_store train.clips 24
few=(--set train.batch=4 --set train.microbatch=2 --set train.stop_after=6 --set checkpoint.every=2)
train() { # RANKS DIR BACKEND [ARGS]
    local ranks=$1 dir=$2 backend=$3
    shift 3
    run "$ranks" "$bin/vjepa-pretrain" "$tiny" "${few[@]}" --set run.dir="$dir" --set train.backend="$backend" "$@" >"$dir.log" 2>&1 ||
        fail "$dir ended with $?: $(tail -n 5 "$dir.log")"
}
follows() { # DIR OTHER FIRST LATER: the losses of OTHER, but for FIRST (relative) in the first step, LATER afterwards
    awk -F, -v first="$3" -v later="$4" '
        NR == FNR { loss[FNR] = $3; next }
        FNR > 1 {
            d = $3 / loss[FNR] - 1; limit = FNR == 2 ? first : later
            if (!(d <= limit && d >= -limit)) { printf "step %d: loss %s, expected %s\n", $1, $3, loss[FNR]; bad = 1 }
        }
        END { if (FNR != 7) { print "rows: " FNR; bad = 1 }; exit bad }' "$2/metrics.csv" "$1/metrics.csv" >follows.log ||
        fail "$1 does not follow $2: $(cat follows.log)"
}
same() { # DIR OTHER
    "$bin/vjepa-inspect" --compare "$1" "$2" >compare.log || fail "$1 and $2: $(tail -n 3 compare.log)"
}

for precision in fp32 bf16; do
    train 1 "cpu-$precision" cpu --set train.precision=$precision
    train 1 "gpu-$precision" cuda --set train.precision=$precision
done
follows gpu-fp32 cpu-fp32 1e-6 1e-4
follows gpu-bf16 cpu-bf16 1e-4 5e-3
grep -q 'cuda (Emulated' gpu-fp32.log || fail "the log does not say what computes: $(head -n 20 gpu-fp32.log)"

# Threads, blocks and streams in another order: the same bits.
EMU_ORDER=3 EMU_STREAMS=3 train 1 shuffled cuda --set train.precision=bf16
same gpu-bf16 shuffled

# Checkpoints are copied beside the next step: the same bits.
train 1 background cuda --set train.precision=bf16 --set checkpoint.async=true
same gpu-bf16 background

bits=(--set train.precision=bf16 --set parallel.reduction=reproducible --set train.microbatch=1 --set train.stop_after=4)
EMU_DEVICES=4 train 1 one cuda "${bits[@]}"
EMU_DEVICES=4 train 2 two cuda "${bits[@]}"
same one two
# With one microbatch each: bf16 copies of weights are made block by block, and activations are in memory lent to them.
EMU_DEVICES=4 train 4 four cuda "${bits[@]}"
same one four
grep -q 'sums: from GPU to GPU' two.log || fail "two ranks do not sum from GPU to GPU: $(grep -i sums two.log)"
EMU_DEVICES=2 train 4 zero cuda "${bits[@]}" --set parallel.zero=1
same one zero
# GPUs that cannot share memory sum through the host's.
EMU_IPC=0 EMU_DEVICES=2 train 2 apart cuda "${bits[@]}"
same one apart
grep -q 'the GPUs of a node cannot share memory' apart.log || fail "no warning that GPUs cannot share memory: $(head -n 20 apart.log)"
# Two nodes, which the wrapper makes of one: messages between them from pinned memory, or from device memory if MPI takes it.
on_nodes() { # DIR WAY
    EMU_DEVICES=2 VJEPA_NODE_RANKS=$((ranks / 2)) VJEPA_COUNTS=$scratch/counts VJEPA_COUNT_FROM=2 VJEPA_COUNT_TO=3 \
        LD_PRELOAD=$tools/libcount_mpi.so train "$ranks" "$1" cuda "${bits[@]}"
    same one "$1"
    grep -q "sums: from GPU to GPU on a node, MPI from $2 between nodes" "$1.log" || fail "$1 does not sum from $2: $(grep -i sums "$1.log")"
}
ranks=2 on_nodes pinned 'pinned host memory'
bits+=(--set parallel.zero=1)
ranks=2 on_nodes pinned_zero 'pinned host memory'
ranks=4 EMU_MPI_CUDA=1 on_nodes direct 'GPU to GPU'
unset 'bits[-1]' 'bits[-1]'
train 3 tensor cuda --set parallel.tensor=3 --set train.precision=fp32
follows tensor cpu-fp32 1e-6 1e-4

# Killed in the middle, and started again.
killed_at "rename /step_ 2" run 2 "$bin/vjepa-pretrain" "$tiny" "${few[@]}" "${bits[@]}" --set run.dir=killed --set train.backend=cuda
compgen -G 'killed/step_*.h5' >/dev/null && [ ! -e killed/complete ] || fail "the run was not killed in the middle"
train 2 killed cuda "${bits[@]}"
same one killed

# From the cpu to GPUs and back: the losses of a run that stays, to rounding.
train 1 moves cpu --set train.stop_after=2
train 2 moves cuda --set train.stop_after=4
train 1 moves cpu
follows moves cpu-fp32 1e-6 1e-4

# No device: what to do is said; auto takes the cpu.
code=0
EMU_DEVICES=0 run 1 "$bin/vjepa-pretrain" "$tiny" "${few[@]}" --set run.dir=none --set train.backend=cuda >none.log 2>&1 || code=$?
[ $code -eq 2 ] && grep -q 'there is no CUDA device here' none.log && grep -q 'train.backend=cpu' none.log ||
    fail "without a device it ended with $code: $(tail -n 3 none.log)"
EMU_DEVICES=0 train 1 auto auto --set train.precision=fp32
same cpu-fp32 auto
finish
