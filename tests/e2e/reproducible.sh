#!/usr/bin/env bash
# parallel.reduction reproducible: 1, 2 and 4 ranks train the same bits, losses and norms included; other numbers are refused.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
make_store train.clips 40
set_up=(--set parallel.reduction=reproducible --set train.batch=16 --set train.stop_after=8)
for ranks in 1 2 4; do
    run "$ranks" "$bin/vjepa-pretrain" "$tiny" "${set_up[@]}" --set run.dir="r$ranks" >/dev/null
    "$bin/vjepa-inspect" --compare r1 "r$ranks" >compare.log || fail "$ranks ranks: $(tail -n 3 compare.log)"
    cut -d, -f1-10 r1/metrics.csv | cmp -s - <(cut -d, -f1-10 "r$ranks/metrics.csv") || fail "$ranks ranks: other losses or norms"
done
code=0
run 3 "$bin/vjepa-pretrain" "$tiny" "${set_up[@]}" --set run.dir=r3 >refused.log 2>&1 || code=$?
[ "$code" -eq 2 ] && grep -q '2 or 4 ranks would do' refused.log || fail "3 ranks ended with $code: $(tail -n 3 refused.log)"
finish
