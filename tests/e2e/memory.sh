#!/usr/bin/env bash
# Checks that the memory of a rank which the log predicts, and vjepa-plan forecasts, is within 5 % of what it takes, the highest
# peak_memory_mib of the metrics.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
run 1 "$tools/make_store" train.clips 8 4 100 100 0
cat >small.yaml <<'END'
data: {train: [train.clips], frames: 4, crop: 96, threads: 1, read_ahead: 1}
model: {size: small, patch: 16, tubelet: 2}
predictor: {depth: 4}
mask: {group: 2}
train: {batch: 4, microbatch: 2, steps_per_epoch: 1, epochs: 1}
checkpoint: {at_end: false}
log: {rank_every: 1, rank_alarm: 0}
END
check() { # RANKS NAME ARGS...
    local ranks=$1 name=$2
    shift 2
    if ! run "$ranks" "$bin/vjepa-pretrain" small.yaml --set run.dir=run "$@" >"$name.log" 2>&1; then
        fail "$name: $(tail -n 5 "$name.log")"
        return
    fi
    "$bin/vjepa-plan" small.yaml --layout "1x$ranks" --set cluster.cores_per_node="$ranks" --set cluster.memory_gb=1000 \
        --set plan.mean_height=100 "$@" --json >"$name.json" || fail "$name: vjepa-plan"
    awk -F, -v name="$name" -v predicted="$(sed -n 's/.*memory a rank: \([0-9]*\) MiB.*/\1/p' "$name.log")" \
        -v planned="$(/usr/bin/python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["layouts"][0]["gb_a_rank"] * 1e9 / 2**20)' "$name.json")" '
        FNR == 1 { for (i = 1; i <= NF; i++) if ($i == "peak_memory_mib") column = i; next }
        $column > peak { peak = $column }
        END {
            printf "%s: predicted %d MiB, planned %d MiB, peak %d MiB\n", name, predicted, planned, peak
            exit !(predicted > 0.95 * peak && predicted < 1.05 * peak && planned > 0.95 * peak && planned < 1.05 * peak) }' run/metrics.csv ||
        fail "$name: $(grep "memory a rank" "$name.log")"
    rm -r run
}
writes=(--set checkpoint.every=1 --set train.steps_per_epoch=2) # the row of the second step shows what the checkpoint after the first took
check 1 fp32
check 1 bf16 --set train.precision=bf16
check 2 zero --set parallel.zero=1
check 4 zero_tensor --set parallel.zero=1 --set parallel.tensor=2 --set train.recompute=block
check 2 tensor --set parallel.tensor=2 "${writes[@]}"
check 2 reproducible --set parallel.reduction=reproducible --set train.batch=8 # sums of two microbatches are kept
check 2 async --set checkpoint.async=true "${writes[@]}"
finish
