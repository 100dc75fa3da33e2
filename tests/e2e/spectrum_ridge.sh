#!/usr/bin/env bash
# vjepa-spectrum ridge: the whole path of penalties, leave-one-out and weights as numpy's direct solves and leaving out have
# them; subsets and table as vjepa-probe's; the same on one to four ranks; what cannot be learned is refused.
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
ridge 2 little.h5 "${encoders[@]}" --memory 1.5 >little.log # a few regressions at a time, in more passes
grep -q 'ridge: 12 regressions, [2-9] at a time' little.log || fail "not in several passes: $(cat little.log)"
python "$here/check_ridge.py" same r1.h5 little.h5 || fail "in several passes"
ridge 2 balanced.h5 "${encoders[@]}" --balanced >/dev/null
python "$here/check_ridge.py" balanced.h5 balanced || fail "balanced: not what numpy finds"

# The table beside the attentive probe's: the same clips, the same columns.
printf 'run: {seed: 7}\nprobe: {pooling: [average], labels: [100, 50], seeds: 2, epochs: 1}\n' >probe.yaml
run 1 "$bin/vjepa-probe" probe.yaml first_train=first_train.h5,first_val.h5 wide_train=wide_train.h5,wide_val.h5 --out probes >/dev/null 2>probe.log || fail "vjepa-probe: $(cat probe.log)"
[[ $(grep -c ,ridge, table/results.csv) == 8 ]] || fail "no table: $(cat table/results.csv)"
cut -d, -f1,2,4-7 table/results.csv >ours && cut -d, -f1,2,4-7 probes/results.csv >theirs
cmp -s ours theirs || fail "other clips than vjepa-probe: $(diff ours theirs)"
run 1 "$bin/vjepa-spectrum" ridge probe.yaml "${encoders[@]}" --out yaml.h5 >/dev/null
python "$here/check_ridge.py" same r1.h5 yaml.h5 || fail "settings of a file"
# Classes are matched by name.
ridge 1 shuffled.h5 first_train.h5 wide_train.h5 --validation shuffled_val.h5,wide_shuffled_val.h5 >/dev/null
python "$here/check_ridge.py" same r1.h5 shuffled.h5 || fail "classes with other numbers"
run 1 "$bin/vjepa-spectrum" ridge first_train.h5 --validation first_train.h5 >twice.log 2>&1
grep -q 'of the 70 validation clips are training clips' twice.log || fail "clips on both sides: $(cat twice.log)"

refused() { # WORDS ARGUMENT...
    local words=$1 status=0
    shift
    timeout 300 "$bin/vjepa-spectrum" ridge "$@" --out x.h5 >refused.log 2>&1 || status=$?
    [[ $status != 0 ]] || fail "not refused: $*"
    grep -q -- "$words" refused.log || fail "no '$words' in: $(cat refused.log)"
}
refused 'which validation clips' first_train.h5
refused 'width 14 a clip, narrow_val.h5 1 of width 9' first_train.h5 --validation narrow_val.h5
refused 'class 5 (new) has 1 validation clips in more_val.h5 and no training clip' first_train.h5 --validation more_val.h5
run 2 "$bin/vjepa-spectrum" ridge bare_train.h5 --validation first_val.h5 >twice.log 2>&1 && fail "no labels in training: not refused"
[[ $(grep -c 'bare_train.h5 has 0 labels a clip' twice.log) == 1 ]] || fail "not said once: $(cat twice.log)"
refused 'are of one class' single_train.h5 --validation first_val.h5 --set 'probe.tasks=[a]'
refused 'bare_train.h5 has no labels' bare_train.h5 --validation bare_val.h5
refused "'taste' is not among the labels" first_train.h5 --validation first_val.h5 --set 'probe.tasks=[taste]'
refused 'LOW,HIGH,COUNT' first_train.h5 --validation first_val.h5 --path 1,0.1,5
refused 'different encoders' first_train.h5 --validation other_val.h5
refused 'leave out --tokens' first_train.h5 --validation first_val.h5 --tokens
[[ ! -e x.h5 && ! -e x.json ]] || fail "a refused command left a file"
finish
