#!/usr/bin/env bash
# Checks vjepa-spectrum ridge on one to four ranks: the path of penalties, leave-one-out errors and weights agree with numpy, which
# solves directly and leaves each row out; subsets and table are those of vjepa-probe; what cannot be learned is refused.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
needs_spectrum

python "$here/check_ridge.py" make
settings=(--set 'probe.labels=[100, 50]' --set probe.seeds=2 --set run.seed=7)
encoders=(first_train.h5 wide_train.h5 --validation first_val.h5,wide_val.h5)
ridge() { # RANKS OUT.h5 [ARGUMENT...]
    local ranks=$1 out=$2
    shift 2
    run "$ranks" "$bin/vjepa-spectrum" ridge "$@" "${settings[@]}" --out "$out"
}
ridge 1 r1.h5 "${encoders[@]}" --table table >log
python "$here/check_ridge.py" r1.h5 || fail "not what numpy finds"
for ranks in 2 3 4; do
    ridge "$ranks" "r$ranks.h5" "${encoders[@]}" >/dev/null
    python "$here/check_ridge.py" same r1.h5 "r$ranks.h5" || fail "$ranks ranks"
done
ridge 2 little.h5 "${encoders[@]}" --memory 3 >little.log # a few regressions at a time, in more passes
grep -q 'ridge: 12 regressions, [2-9] at a time' little.log || fail "not in several passes: $(cat little.log)"
python "$here/check_ridge.py" same r1.h5 little.h5 || fail "in several passes"
ridge 2 balanced.h5 "${encoders[@]}" --balanced >/dev/null
python "$here/check_ridge.py" balanced.h5 balanced || fail "balanced: not what numpy finds"

# The table fits to that of other probes: the same clips and columns. In their folder the rows are joined with theirs, use their names
# of encoders, and replace those of an earlier run.
printf 'run: {seed: 7}\nprobe: {pooling: [average], labels: [100, 50], seeds: 2, epochs: 1}\n' >probe.yaml
run 1 "$bin/vjepa-probe" probe.yaml one=first_train.h5,first_val.h5 two=wide_train.h5,wide_val.h5 --out probes >/dev/null 2>probe.log || fail "vjepa-probe: $(cat probe.log)"
[[ $(grep -c ,ridge, table/results.csv) == 8 ]] || fail "no table: $(cat table/results.csv)"
cut -d, -f1,4-7 table/results.csv >ours && cut -d, -f1,4-7 probes/results.csv >theirs
cmp -s ours theirs || fail "other clips than vjepa-probe: $(diff ours theirs)"
cp -r probes alone
for _ in first again; do
    run 1 "$bin/vjepa-spectrum" ridge probe.yaml "${encoders[@]}" --table probes >/dev/null
done
python "$here/check_ridge.py" table probes alone table || fail "rows beside others: $(cat probes/results.md)"
differences() { grep -E '(told apart|is better) \|$' "$1/results.md" | cut -d'|' -f1-9; } # without p, whose digits results.json cuts
cmp <(differences alone) <(differences probes) && [[ $(differences alone | wc -l) == 4 ]] ||
    fail "the differences of the encoders are lost: $(cat probes/results.md)"
# Beside an attentive probe there is a line of each for every task and share, on the same clips, under the same name.
printf 'run: {seed: 7}\nmodel: {size: custom, width: 14, depth: 1, heads: 2}\nprobe: {pooling: [attentive], labels: [100, 50], seeds: 2, epochs: 1}\n' >attentive.yaml
run 1 "$bin/vjepa-probe" attentive.yaml one=first_train.h5,first_val.h5 --out attentive >/dev/null 2>probe.log || fail "vjepa-probe: $(cat probe.log)"
run 1 "$bin/vjepa-spectrum" ridge attentive.yaml first_train.h5 --validation first_val.h5 --table attentive >/dev/null
lines() { sed -n "s/^| \([ab]\) | $1 |\( [0-9]* % | [0-9]* \/ [0-9]* |\) [0-9].*/\1 \2/p" attentive/results.md; }
cmp <(lines attentive) <(lines ridge) && [[ $(lines ridge | wc -l) == 4 ]] && grep -q '| one |$' attentive/results.md ||
    fail "ridge is not beside the attentive probe: $(cat attentive/results.md)"
cp -r probes broken && sed -i 's/"seeds": 2/"seeds": "two"/' broken/results.json
run 1 "$bin/vjepa-spectrum" ridge probe.yaml "${encoders[@]}" --table broken >/dev/null 2>broken.log && fail "results that cannot be read were replaced"
grep -q 'entry 0 is no row of results' broken.log || fail "not said why: $(cat broken.log)"
# Shares that are drawn without regard to classes, or from files, have the clips of vjepa-probe, by their digest.
uniform=(probe.yaml --set probe.split=uniform --set 'probe.labels=[100, 20]')
run 1 "$bin/vjepa-probe" "${uniform[@]}" one=first_train.h5,first_val.h5 --out drawn >/dev/null 2>probe.log || fail "vjepa-probe: $(cat probe.log)"
run 2 "$bin/vjepa-spectrum" ridge "${uniform[@]}" first_train.h5 --validation first_val.h5 --out drawn.h5 --table drawn >/dev/null
python "$here/check_ridge.py" files drawn.h5 drawn/splits || fail "uniform: not what numpy finds"
[[ $(cut -d, -f1,4,5,28 drawn/results.csv | sort | uniq -c | grep -c '^ *2 ') == 4 ]] || fail "other clips than vjepa-probe: $(cat drawn/results.csv)"
run 1 "$bin/vjepa-spectrum" ridge "${uniform[@]}" --set probe.split_files=drawn/splits first_train.h5 --validation first_val.h5 --out files.h5 >/dev/null
python "$here/check_ridge.py" same drawn.h5 files.h5 || fail "probe.split_files"
run 1 "$bin/vjepa-spectrum" ridge probe.yaml "${encoders[@]}" --out yaml.h5 >/dev/null
python "$here/check_ridge.py" same r1.h5 yaml.h5 || fail "settings of a file"
# Classes are matched by name.
ridge 1 shuffled.h5 first_train.h5 wide_train.h5 --validation shuffled_val.h5,wide_shuffled_val.h5 >/dev/null
python "$here/check_ridge.py" same r1.h5 shuffled.h5 || fail "classes with other numbers"
run 1 "$bin/vjepa-spectrum" ridge first_train.h5 --validation first_train.h5 >twice.log 2>&1
grep -q 'of the 70 validation clips are training clips' twice.log || fail "clips on both sides: $(cat twice.log)"

refused 2 'which validation clips' "$bin/vjepa-spectrum" ridge first_train.h5 --out x.h5
refused 2 'width 14 a clip, narrow_val.h5 1 of width 9' "$bin/vjepa-spectrum" ridge first_train.h5 --validation narrow_val.h5 --out x.h5
refused 1 'class 5 (new) has 1 validation clips in more_val.h5 and no training clip' "$bin/vjepa-spectrum" ridge first_train.h5 --validation more_val.h5 --out x.h5
run 2 "$bin/vjepa-spectrum" ridge bare_train.h5 --validation first_val.h5 >twice.log 2>&1 && fail "no labels in training: not refused"
[[ $(grep -c 'bare_train.h5 has 0 labels a clip' twice.log) == 1 ]] || fail "not said once: $(cat twice.log)"
refused 1 'are of one class' "$bin/vjepa-spectrum" ridge single_train.h5 --validation first_val.h5 --set 'probe.tasks=[a]' --out x.h5
refused 1 'bare_train.h5 has no labels' "$bin/vjepa-spectrum" ridge bare_train.h5 --validation bare_val.h5 --out x.h5
refused 2 "'taste' is not among the labels" "$bin/vjepa-spectrum" ridge first_train.h5 --validation first_val.h5 --set 'probe.tasks=[taste]' --out x.h5
refused 2 'LOW,HIGH,COUNT' "$bin/vjepa-spectrum" ridge first_train.h5 --validation first_val.h5 --path 1,0.1,5 --out x.h5
refused 1 '2 training clips for 4 classes are too few' "$bin/vjepa-spectrum" ridge first_train.h5 --validation first_val.h5 --set probe.split=uniform --set 'probe.labels=[3]' --out x.h5
refused 2 'different encoders' "$bin/vjepa-spectrum" ridge first_train.h5 --validation other_val.h5 --out x.h5
refused 2 'leave out --tokens' "$bin/vjepa-spectrum" ridge first_train.h5 --validation first_val.h5 --tokens --out x.h5
[[ ! -e x.h5 && ! -e x.json ]] || fail "a refused command left a file"
finish
