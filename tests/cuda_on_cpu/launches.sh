#!/usr/bin/env bash
# What a step asks of a GPU, with as many blocks as ViT-H/16 has: at most 2500 launches. The waits of the host are printed only, since
# the emulated GPU works only while it is waited for, and some are for its queue.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/../e2e/lib.sh"
make_store train.clips 8
counts() { # DIR STEPS [ARGS]: launches and waits of a run
    local dir=$1 steps=$2
    shift 2
    EMU_REPORT=1 run 1 "$bin/vjepa-pretrain" "$tiny" --set run.dir="$dir" --set train.backend=cuda --set train.batch=2 --set train.microbatch=2 \
        --set train.stop_after="$steps" --set model.depth=32 --set predictor.depth=12 --set train.precision=bf16 --set log.rank_every=0 "$@" >"$dir.log" 2>&1 ||
        fail "$dir ended with $?: $(tail -n 5 "$dir.log")"
    sed -n 's/^emu: \([0-9]*\) launches, .* \([0-9]*\) waits of the host$/\1 \2/p' "$dir.log"
}
few=$(counts one 1)
many=$(counts two 2)
read -r launches waits <<<"$(awk -v few="$few" -v many="$many" 'BEGIN { split(few, a); split(many, b); print b[1] - a[1], b[2] - a[2] }')"
echo "$launches launches and $waits waits of the host a step"
[ "$launches" -gt 100 ] && [ "$launches" -le 2500 ] || fail "a step has $launches launches, expected at most 2500"
finish
