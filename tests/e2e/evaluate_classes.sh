#!/usr/bin/env bash
# Checks that an evaluation is refused if class numbers stand for other names in another store, or in the store of a probe.
# Without names there is a warning that says how to give them, and following it works.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
"$tools/make_videos" videos 9
mapfile -t files < <(cut -d , -f 1 videos/list.csv | grep -v '^path' | head -n 9)
list() { # CSV LABEL...: a video for each label
    local i=0
    echo path,animal_class >"$1"
    for label in "${@:2}"; do echo "videos/${files[i++]},$label" >>"$1"; done
}
pack() { # LIST STORE [ARGS...]
    run 1 "$bin/vjepa-pack" "$tiny" --set pack.short_side=32 --set pack.frames=4 --set pack.store="$2" \
        --set "pack.datasets=[{name: zoo, list: $1${3:+, labels: $3}}]" >"$2.log" 2>&1 || fail "pack $2: $(cat "$2.log")"
}
list all.csv ant bee cow ant bee cow ant bee cow
list two.csv cow bee cow
list numbers.csv 0 1 2
printf 'ant\nbee\ncow\n' >names.txt
printf 'cow\nbee\nant\n' >reversed.txt
pack all.csv train.clips
pack two.csv two.clips
pack two.csv named.clips names.txt
pack two.csv reversed.clips reversed.txt
pack numbers.csv numbers.clips

evaluate() { # OUT ARGS...
    run 2 "$bin/vjepa-evaluate" "$tiny" p=random:published --out "$scratch/$1" "${@:2}" --set 'probe.tasks=[]' \
        --set 'probe.labels=[100]' --set probe.seeds=1 --set probe.epochs=1
}
refused() { # WORDS OUT ARGS...
    local code=0
    evaluate "${@:2}" >refused.log 2>&1 || code=$?
    [[ $code == 2 ]] && grep -q -- "$1" refused.log && grep -q 'pack.datasets, labels' refused.log ||
        fail "exit $code, expected 2 and '$1': $(cat refused.log)"
    [ ! -e "$2/results.json" ] || fail "it was measured all the same"
}
train=(--train train.clips)
evaluate one "${train[@]}" --validation named.clips --keep-probes >one.log 2>&1 || fail "the same names: $(cat one.log)"
grep -q 'have no names' one.log && fail "a warning without a reason: $(cat one.log)"
refused "label animal_class: class 0 is 'ant' in train.clips and 'bee' in two.clips" two "${train[@]}" --validation two.clips
refused "class 0 is 'ant' in train.clips and 'cow' in reversed.clips" reversed "${train[@]}" --validation reversed.clips
probes=(one/probes/animal_class.attentive.100.p.7.h5 one/probes)
refused "class 0 is 'ant' in one/probes/animal_class.attentive.100.p.7.h5 and 'cow' in reversed" file --probe "${probes[0]}" --validation reversed.clips
refused "class 0 is 'ant' in one/probes/.* and 'bee' in two.clips" folder --probe "${probes[1]}" --validation two.clips
# Classes without training samples, and training samples of only one class, are reported in the log and below the table.
list bees.csv bee bee bee
pack bees.csv bees.clips names.txt
evaluate bees --train bees.clips --validation named.clips >bees.log 2>&1 || fail "one class: $(cat bees.log)"
grep -q 'all training clips of bees.clips are of a single class' bees/results.md &&
    grep -q '2 of 3 validation clips of named.clips have a class that no training clip has, so they can never be right: class 2 (cow)' bees/results.md ||
    fail "classes that cannot be right: $(cat bees.log)"
evaluate named --probe "${probes[1]}" --validation named.clips >named.log 2>&1 || fail "a probe on its own classes: $(cat named.log)"
cmp -s <(cut -d, -f1,12-14 one/heads.csv | sort) <(cut -d, -f1,12-14 named/heads.csv | sort) || fail "a probe from a file gives other numbers"

# Without names the probes are measured, with a warning in the log and below the table that says what to do; then that is done.
evaluate numbers "${train[@]}" --validation numbers.clips >numbers.log 2>&1 || fail "numbers alone: $(cat numbers.log)"
[[ $(grep -c 'warning.*task animal_class: the classes have no names in numbers.clips.*labels: FILE' numbers.log) == 1 ]] ||
    fail "no word of the names that are missing: $(cat numbers.log)"
grep -q 'have no names in numbers.clips' numbers/results.md || fail "results.md is silent: $(cat numbers/results.md)"
evaluate probes --probe "${probes[1]}" --validation numbers.clips >probes.log 2>&1 || fail "a probe on numbers: $(cat probes.log)"
[[ $(grep -c 'warning.*have no names in numbers.clips.*pack.datasets.*--class-names' probes.log) == 1 ]] ||
    fail "no word of the names that are missing: $(cat probes.log)"
pack numbers.csv again.clips names.txt
evaluate again "${train[@]}" --validation again.clips >again.log 2>&1 || fail "with names: $(cat again.log)"
grep -q 'have no names' again.log && fail "the advice does not help: $(cat again.log)"
finish
