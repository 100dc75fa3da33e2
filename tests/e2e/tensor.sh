#!/usr/bin/env bash
# Checks tensor groups: two and four ranks that share a model follow one rank, a run continues in another layout, and invalid layouts
# are refused with valid ones named.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
make_store train.clips 40
heads="--set model.heads=4 --set predictor.heads=4" # which four ranks can divide
pretrain() { # RANKS DIR [ARGS]
    local ranks=$1 dir=$2
    shift 2
    # shellcheck disable=SC2086
    run "$ranks" "$bin/vjepa-pretrain" "$tiny" $heads --set run.dir="$dir" "$@"
}

# Sums are made in another order, so losses differ by rounding: 1e-6 in the first step, less than 2e-4 in 24 steps.
follows() { # DIR
    awk -F, -v run="$1" '
        NR == FNR { loss[FNR] = $3; norm[FNR] = $10; next }
        FNR > 1 {
            d = ($3 - loss[FNR]) / loss[FNR]; if (d < 0) d = -d
            n = ($10 - norm[FNR]) / norm[FNR]; if (n < 0) n = -n
            if (!(d <= (FNR == 2 ? 1e-6 : 2e-4)) || !(n <= (FNR == 2 ? 1e-5 : 2e-2))) {
                printf "%s, step %d: loss %s, norm %s, one rank %s and %s\n", run, $1, $3, $10, loss[FNR], norm[FNR]; bad = 1 }
        }
        END { if (FNR != 25) { print "rows: " FNR; bad = 1 }; exit bad }' one/metrics.csv "$1/metrics.csv" ||
        fail "$1 does not follow one rank"
}

pretrain 1 one >/dev/null
pretrain 2 two --set parallel.tensor=2 >two.log
grep -q "layout 1 data x 2 tensor" two.log || fail "the log does not say the layout: $(cat two.log)"
follows two
pretrain 2 two-sequence --set parallel.tensor=2 --set parallel.tensor_sequence=true --set train.recompute=block >/dev/null
follows two-sequence
pretrain 4 four --set parallel.tensor=2 --set parallel.zero=1 >/dev/null
follows four

# The same layout gives the same bits again, also on memory that the host cannot access.
pretrain 2 again --set parallel.tensor=2 --set train.backend=strict >/dev/null
"$bin/vjepa-inspect" --compare two/step_00000024.h5 again/step_00000024.h5 >compare.log || fail "not the same bits: $(tail -n 3 compare.log)"

# One run through four layouts; a stop in the middle of one layout changes nothing.
pretrain 1 moves --set train.stop_after=5 >/dev/null
pretrain 2 moves --set parallel.tensor=2 --set train.stop_after=10 >/dev/null
pretrain 4 moves --set parallel.tensor=4 --set parallel.tensor_sequence=true --set train.stop_after=15 >/dev/null
pretrain 3 moves --set parallel.zero=1 >moves.log
grep -q "resuming from moves/step_00000015.h5" moves.log || fail "the run did not go on in another layout: $(cat moves.log)"
follows moves
pretrain 2 cut --set parallel.tensor=2 --set train.stop_after=10 >/dev/null
pretrain 2 cut --set parallel.tensor=2 >/dev/null
"$bin/vjepa-inspect" --compare two/step_00000024.h5 cut/step_00000024.h5 >compare.log || fail "restart in a tensor group: $(tail -n 3 compare.log)"

# A predictor that cannot be divided is whole on every rank, which is reported.
run 2 "$bin/vjepa-pretrain" "$tiny" --set model.heads=4 --set run.dir=whole --set parallel.tensor=2 --set predictor.heads=3 >whole.log
grep -q "the predictor whole on every rank" whole.log || fail "the log does not say that the predictor is whole: $(cat whole.log)"

# These are refused before the store is opened.
code=0
run 3 "$bin/vjepa-pretrain" "$tiny" --set run.dir=refused --set parallel.tensor=2 --set data.train='[missing.clips]' 2>refused.log || code=$?
[ "$code" -eq 2 ] || fail "3 ranks in pairs ended with $code, not 2"
grep -q "3 ranks cannot form groups of parallel.tensor 2; the nearest layouts that work (data x tensor): 3 x 1 on 3 ranks, 1 x 3 on 3 ranks" refused.log ||
    fail "what is said of 3 ranks in pairs: $(cat refused.log)"
[ ! -e refused ] || fail "a refused layout left a folder"

run 2 "$bin/vjepa-bench" step "$tiny" --set model.heads=4 --set parallel.tensor=2 --json --repeats 3 >bench.json || fail "vjepa-bench step in a tensor group"
grep -q '"tensor_ranks": 2' bench.json || fail "vjepa-bench does not say the layout: $(cat bench.json)"
finish
