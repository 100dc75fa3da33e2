#!/usr/bin/env bash
# Checks that losses on 2, 3 and 4 ranks follow those on one. Gradients are the same sums in another order, so losses differ by
# rounding: 1e-6 in the first step, growing to less than 2e-4 in 24 steps.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
make_store train.clips 40
for ranks in 1 2 3 4; do
    run "$ranks" "$bin/vjepa-pretrain" "$tiny" --set run.dir="r$ranks" >/dev/null
    awk -F, -v ranks="$ranks" '
        NR == FNR { loss[FNR] = $3; norm[FNR] = $10; next }
        FNR > 1 {
            d = ($3 - loss[FNR]) / loss[FNR]; if (d < 0) d = -d
            limit = FNR == 2 ? 1e-6 : 2e-4
            if (!(d <= limit)) { printf "%d ranks, step %d: loss %s, one rank %s\n", ranks, $1, $3, loss[FNR]; bad = 1 }
        }
        END { if (FNR != 25) { print "rows: " FNR; bad = 1 }; exit bad }' r1/metrics.csv "r$ranks/metrics.csv" ||
        fail "losses on $ranks ranks"
done
# With sharded optimizer state (zero) the update is the same.
run 3 "$bin/vjepa-pretrain" "$tiny" --set run.dir=zero --set parallel.zero=1 >/dev/null
cut -d, -f3 r3/metrics.csv | cmp -s - <(cut -d, -f3 zero/metrics.csv) ||
    paste -d' ' <(cut -d, -f3 r3/metrics.csv) <(cut -d, -f3 zero/metrics.csv) | awk 'NR > 1 { d = ($1 - $2) / $1; if (d > 2e-4 || d < -2e-4) { print; bad = 1 } } END { exit bad }' ||
    fail "parallel.zero=1 trains another trajectory"
# Recomputation in the backward pass and the number of threads do not change a bit in either precision.
same() { # RUN_DIR PRECISION OTHER SETTINGS...
    run 1 "$bin/vjepa-pretrain" "$tiny" --set run.dir="$1" --set train.precision="$2" "${@:4}" >/dev/null
    "$bin/vjepa-inspect" --compare "$3/step_00000024.h5" "$1/step_00000024.h5" >compare.log || fail "$1: $(tail -n 3 compare.log)"
}
run 1 "$bin/vjepa-pretrain" "$tiny" --set run.dir=half --set train.precision=bf16 >/dev/null
same attention fp32 r1 --set train.recompute=attention
same block fp32 r1 --set train.recompute=block
same half-block bf16 half --set train.recompute=block
OMP_NUM_THREADS=2 same threads fp32 r1
OMP_NUM_THREADS=4 same half-threads bf16 half
# The strict backend, on memory that the host cannot access, trains the same bits.
run 2 "$bin/vjepa-pretrain" "$tiny" --set run.dir=strict --set train.backend=strict >/dev/null
"$bin/vjepa-inspect" --compare r2/step_00000024.h5 strict/step_00000024.h5 >compare.log || fail "strict: $(tail -n 3 compare.log)"
finish
