#!/usr/bin/env bash
# Checks that every objective, kind of mask, cut and precision trains: in 24 steps the loss falls, and all numbers are finite.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
make_store train.clips 40
trains() { # NAME [--set ...]
    local name=$1
    shift
    run 2 "$bin/vjepa-pretrain" "$tiny" --set run.dir="$name" "$@" >"$name.log" 2>&1 || fail "$name: $(tail -n 3 "$name.log")"
    awk -F, -v name="$name" '
        NR == 1 { next }
        { if ($3 == "" || $3 + 0 != $3) bad = 1; if (NR <= 5) first += $3 / 4; if (NR > 21) last += $3 / 4 }
        END { if (bad || NR != 25 || !(last < 0.98 * first)) { printf "%s: loss %s -> %s\n", name, first, last; exit 1 } }' \
        "$name/metrics.csv" || fail "$name does not learn"
}
tube='mask.generators=[{kind: tube, ratio: 0.75}]'
causal='mask.generators=[{kind: causal, blocks: 2, spatial_scale: [0.3, 0.3], max_temporal_keep: 0.5}]'
trains feature
trains bf16 --set train.precision=bf16
trains uncut --set mask.cut=none
trains tube --set "$tube"
trains causal --set "$causal"
trains squares --set objective.loss_exp=2
trains penalised --set objective.reg_coeff=0.1
trains pixel --set objective.kind=pixel
trains published_start --set model.init=published

# An encoder of each objective can be used; one of another shape cannot.
for name in feature pixel; do
    run 1 "$bin/vjepa-embed" "$tiny" --encoder "$name/step_00000024.h5" --store train.clips --out "$name.h5" >/dev/null ||
        fail "embed $name"
    run 1 "$bin/vjepa-inspect" --verify "$name.h5" >/dev/null || fail "verify $name.h5"
done
if run 1 "$bin/vjepa-embed" "$tiny" --set model.depth=1 --encoder feature/step_00000024.h5 --store train.clips --out no.h5 \
    >out.log 2>&1; then fail "an encoder of depth 2 was loaded as one of depth 1"; fi
grep -q 'model.depth 2' out.log || fail "the other depth is not named: $(tail -n 2 out.log)"
finish
