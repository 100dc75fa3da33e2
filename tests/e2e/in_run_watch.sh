#!/usr/bin/env bash
# Checks the in-run watch: its columns of the metrics are the same on any number of ranks and after a kill (on so few data they do
# not rise), the run has the same bits with and without it, and trouble with its clips is only reported.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
make_store train.clips 96
make_store labelled.clips 128 1000
make_store held_out.clips 96 2000
watch=(--set watch.every=8 --set 'watch.train=[labelled.clips]' --set 'watch.validation=[held_out.clips]' --set watch.task=motion
    --set watch.clips=96 --set watch.epochs=4 --set checkpoint.every=10)
column() { # DIR NAME: "step value" of the rows that have one
    awk -F , -v name="$2" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) c = i; next } c && $c != "" { print $1, $c }' "$1/metrics.csv"
}
tensors() { "$bin/vjepa-inspect" --compare "$1" "$2"; }

pretrain 2 without --set checkpoint.every=10 >without.log 2>&1 || fail "without: $(cat without.log)"
pretrain 2 with "${watch[@]}" >with.log 2>&1 || fail "with: $(cat with.log)"
pretrain 1 alone "${watch[@]}" >alone.log 2>&1 || fail "on one rank: $(cat alone.log)"
pretrain 3 alone3 "${watch[@]}" --set watch.epochs=0 >alone3.log 2>&1 || fail "on three ranks: $(cat alone3.log)"
for name in watch_knn watch_probe; do
    [ "$(column with $name | cut -d ' ' -f 1 | tr '\n' ' ')" = '1 8 16 24 ' ] || fail "$name: rows $(column with $name)"
    [ "$(column with $name)" = "$(column alone $name)" ] || fail "$name differs on one rank: $(column with $name), $(column alone $name)"
done
[ "$(column with watch_knn)" = "$(column alone3 watch_knn)" ] || fail "watch_knn differs on three ranks: $(column alone3 watch_knn)"
[ -z "$(column alone3 watch_probe)" ] || fail "watch.epochs=0 trained a probe"
grep -q 'watch: after step 24: nearest neighbours .* %, attentive probe .* % of 96 clips right' with.log || fail "no line: $(cat with.log)"
grep -q 'memory a rank: .* watch [1-9]' with.log || fail "the forecast lacks the watch: $(cat with.log)"
column with watch_knn | awk '$2 < 60 { bad = 1 } END { exit bad }' || fail "no better than chance: $(column with watch_knn)"

# The tensors and the other columns have the bits of a run without the watch.
"$bin/vjepa-inspect" --compare without/step_00000024.h5 with/step_00000024.h5 >compare.log 2>&1 || fail "the watch changes the run: $(cat compare.log)"
cut -d , -f 1-13 with/metrics.csv | cmp - <(cut -d , -f 1-13 without/metrics.csv) || fail "the watch changes the metrics"

# It is killed and started again; then it goes on without the watch, and another run with a watch that it did not have before.
pretrain_killed 2 "$PWD/cut" "${watch[@]}" --set checkpoint.every=5
pretrain 2 cut "${watch[@]}" --set checkpoint.every=5 >again.log 2>&1 || fail "after a kill: $(cat again.log)"
for name in watch_knn watch_probe; do
    [ "$(column with $name)" = "$(column cut $name)" ] || fail "$name after a kill: $(column cut $name)"
done
pretrain 2 later --set checkpoint.every=10 --set train.stop_after=10 >later.log 2>&1 || fail "later: $(cat later.log)"
pretrain 2 later "${watch[@]}" >later.log 2>&1 || fail "a watch that comes later: $(cat later.log)"
[ "$(column later watch_knn)" = "$(column with watch_knn | tail -n 2)" ] || fail "a watch that comes later: $(column later watch_knn)"
[ "$(column later loss)" = "$(column without loss)" ] || fail "columns were mixed up when they were added"
pretrain 2 ends "${watch[@]}" --set train.stop_after=10 >ends.log 2>&1 || fail "ends: $(cat ends.log)"
pretrain 2 ends --set checkpoint.every=10 >ends.log 2>&1 || fail "a watch that ends: $(cat ends.log)"
[ "$(column ends watch_knn | head -n 1)" = "$(column with watch_knn | head -n 1)" ] || fail "the watch's rows are lost: $(cat ends/metrics.csv)"
[ "$(column ends loss)" = "$(column without loss)" ] || fail "columns were mixed up when they were left out"
"$bin/vjepa-report" with --out page.html >report.log 2>&1 || fail "report: $(cat report.log)"
grep -q 'In-run watch' page.html || fail "the page does not show the watch"
"$bin/vjepa-report" --watch with --once >once.log 2>&1 || fail "vjepa-report --watch: $(cat once.log)"
grep -q 'features: nearest neighbours [0-9.]* %, attentive probe' once.log || fail "the terminal does not show the watch: $(cat once.log)"

# A clip that becomes damaged ends only the measurement, not the run; settings that cannot work are refused at the start.
python3 - <<'PY'
with open('held_out.clips/shard-00000.h5', 'r+b') as f:
    f.seek(-20000, 2)
    f.write(b'\xff' * 19000)
PY
pretrain 2 damaged "${watch[@]}" >damaged.log 2>&1 || fail "a damaged clip of the watch ended the run: $(cat damaged.log)"
grep -q 'the features of step 24 could not be measured' damaged.log || fail "no word about it: $(cat damaged.log)"
[ -e damaged/complete ] && [ -z "$(column damaged watch_knn)" ] || fail "numbers from damaged clips"
refuse() { # PATTERN SETTINGS...
    local pattern=$1 code=0
    shift
    pretrain 2 refused "${watch[@]}" "$@" --dry-run >refused.log 2>&1 || code=$?
    [ $code = 2 ] && grep -q "$pattern" refused.log || fail "exit $code, no '$pattern': $(cat refused.log)"
}
refuse 'needs labelled clip stores, watch.train and watch.validation' --set 'watch.validation=[]'
refuse "no label called 'sound'" --set watch.task=sound
refuse 'whole on every rank' --set parallel.tensor=2
refuse 'same clip store' --set 'watch.validation=[labelled.clips]'
finish
