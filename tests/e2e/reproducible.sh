#!/usr/bin/env bash
# Checks parallel.reduction reproducible: 1, 2, 4 and 8 ranks, sharded or not, train the same bits and report the same numbers, except
# times and memory; other numbers of ranks are refused. A run that moves between them has the bits of one that does not; with another
# split of tensors its losses agree to 1e-5.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
make_store train.clips 40
# The hidden layer is so wide that borders of slices of the sharded state are inside its matrices.
set_up=(--set parallel.reduction=reproducible --set model.width=96 --set model.mlp_ratio=30 --set train.batch=16 --set train.stop_after=6 --set log.rank_every=2)
pretrain() { # RANKS DIR [ARGS]
    local ranks=$1 dir=$2
    shift 2
    run "$ranks" "$bin/vjepa-pretrain" "$tiny" "${set_up[@]}" --set run.dir="$dir" "$@" >/dev/null
}
numbers() { # DIR: columns that are no times and no memory
    awk -F, '
        FNR == 1 { for (i = 1; i <= NF; i++) if ($i !~ /_s$|_mib$/) keep[++n] = i }
        { for (i = 1; i <= n; i++) printf "%s%s", $keep[i], i < n ? "," : "\n" }' "$1/metrics.csv"
}
same() { # DIR
    "$bin/vjepa-inspect" --compare r1 "$1" >compare.log || fail "$1: $(tail -n 3 compare.log)"
    numbers "$1" >other.csv
    cmp -s one.csv other.csv || fail "$1 reports other numbers: $(diff one.csv other.csv | head -n 4)"
}

pretrain 1 r1
numbers r1 >one.csv
head -n 1 one.csv | grep -q 'loss.*grad_norm_predictor.*target_std,effective_rank' || fail "columns compared: $(head -n 1 one.csv)"
tail -n 1 one.csv | grep -qi nan && fail "the last row has no effective rank: $(tail -n 1 one.csv)"
for ranks in 2 4 8; do
    pretrain "$ranks" "r$ranks"
    same "r$ranks"
    pretrain "$ranks" "z$ranks" --set parallel.zero=1
    same "z$ranks"
done

pretrain 8 moves --set parallel.zero=1 --set train.stop_after=3
pretrain 1 moves --set train.stop_after=5
pretrain 4 moves --set parallel.zero=1
same moves

# The same split of tensors gives the same bits; another one sums in another order.
pretrain 3 t3 --set parallel.tensor=3
pretrain 6 t6 --set parallel.tensor=3 --set parallel.zero=1 --set train.stop_after=3
pretrain 3 t6 --set parallel.tensor=3
"$bin/vjepa-inspect" --compare t3 t6 >compare.log || fail "two groups of three: $(tail -n 3 compare.log)"
pretrain 4 way --set parallel.zero=1 --set train.stop_after=2
pretrain 6 way --set parallel.tensor=3 --set train.stop_after=4
pretrain 2 way
numbers way >other.csv
awk -F, '
    NR == FNR { loss[FNR] = $3; next }
    FNR > 1 { d = $3 / loss[FNR] - 1; if (!(d < 1e-5 && d > -1e-5)) { print "step " $1 ": " $3 ", one rank " loss[FNR]; bad = 1 } }
    END { exit bad || FNR != 7 }' one.csv other.csv >losses.log || fail "through another split: $(cat losses.log)"

code=0
pretrain 3 r3 2>refused.log || code=$?
[ "$code" -eq 2 ] && grep -q 'nearest layouts that work (data x tensor): 1 x 3 on 3 ranks, 2 x 1 on 2 ranks, 4 x 1 on 4 ranks' refused.log ||
    fail "3 ranks ended with $code: $(tail -n 3 refused.log)"
finish
