#!/usr/bin/env bash
# Runs each command of vjepa-bench with a tiny configuration on 1 and 2 ranks, and checks that it prints JSON with its keys and a
# spread. No time is compared with anything, because tests must not depend on the speed of the machine.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
bench=$bin/vjepa-bench
make_store train.clips 24

cat >check.py <<'PY'
import json, sys
report, command, ranks = json.load(open(sys.argv[1])), sys.argv[2], int(sys.argv[3])
assert report['bench'] == command and report['ranks'] == ranks, 'bench, ranks'
spreads = 0
def look(value):
    global spreads
    if isinstance(value, dict):
        if 'median' in value:
            assert 0 <= value['min'] <= value['median'] <= value['max'], value
            spreads += 1
        for v in value.values(): look(v)
    elif isinstance(value, list):
        for v in value: look(v)
look(report)
assert spreads >= 2, f'{spreads} spreads'
if command == 'step':
    missing = {'step_s', 'gflop', 'gflops', 'peak_gflops', 'fraction_of_peak', 'peak_bytes', 'phases', 'precision',
               'threads', 'repeats', 'context_rows', 'predictor_rows', 'profile'} - set(report)
    assert not missing, missing
    phases = {'target', 'context', 'predictor', 'backward', 'reduce', 'optimizer', 'data'}
    assert phases <= set(report['phases']), report['phases']
    assert all(isinstance(s, float) for s in report['phases'].values())
    assert report['precision'] == 'bf16' and report['repeats'] == 3 and report['clips'] == ranks
    assert abs(report['gflops'] * report['step_s']['median'] / report['gflop'] - 1) < 1e-9
    assert abs(report['gflops'] / report['peak_gflops'] / report['fraction_of_peak'] - 1) < 1e-9
    assert any(row['operation'] == 'linear_forward' for row in report['profile'])
else:
    assert report[command] and all(row['repeats'] == 3 for row in report[command]), 'rows'
PY

good() { # RANKS COMMAND ARGUMENTS...
    run "$1" "$bench" "${@:2}" --json --repeats 3 >out.json 2>err.log || fail "$*: $(cat err.log)"
    /usr/bin/python3 check.py out.json "$2" "$1" 2>>err.log || fail "$*: $(cat err.log)"
}
refuse() { # PATTERN ARGUMENTS...
    local got=0
    run 1 "$bench" "${@:2}" >out.log 2>&1 || got=$?
    [ "$got" -eq 2 ] || fail "$* ended with $got, not 2: $(tail -n 3 out.log)"
    grep -Eq -e "$1" out.log || fail "$* did not say /$1/: $(head -n 5 out.log)"
}

for ranks in 1 2; do
    for command in gemm attention elementwise allreduce load; do good "$ranks" "$command" "$tiny"; done
    good "$ranks" step "$tiny" --set precision=bf16 --profile
    good "$ranks" step "$tiny" --set precision=bf16 --profile --clips train.clips
    mkdir "out$ranks" && good "$ranks" checkpoint "$tiny" --dir "out$ranks"
    [ -z "$(ls "out$ranks")" ] || fail "checkpoint left something in its folder"
done
# Log lines are not part of the JSON object.
run 1 "$bench" step "$tiny" --set precision=auto --json --repeats 3 >out.json 2>err.log || fail "step with auto: $(tail -n 3 err.log)"
/usr/bin/python3 -c "import json; assert json.load(open('out.json'))['precision'] in ('fp32', 'bf16')" || fail "step with auto: $(cat out.json)"
grep -q '^precision: auto takes' err.log || fail "step with auto: $(cat err.log)"
good 2 load "$tiny" --views --set evaluate.views=3
/usr/bin/python3 -c "import json; assert sum('views' in row['what'] for row in json.load(open('out.json'))['load']) == 2" ||
    fail "load --views: $(cat out.json)"
if type -P ffmpeg >/dev/null; then
    for i in 1 2 3; do ffmpeg -v error -f lavfi -i "testsrc2=s=96x72:d=2,hue=h=$((90 * i))" -c:v mpeg4 "$i.avi"; done
    printf 'path\n1.avi\n2.avi\n3.avi\n' >videos.csv
    printf 'pack:\n  lists: [videos.csv]\n  short_side: 48\n  step: 2\n  windows: 2\n' >pack.yaml
    for ranks in 1 2; do
        mkdir "packed$ranks" && good "$ranks" pack pack.yaml --dir "packed$ranks"
        [ -z "$(ls "packed$ranks")" ] || fail "pack left something in its folder"
        /usr/bin/python3 -c "import json; r = json.load(open('out.json')); assert (r['files'], r['frames'], r['frames_kept']) == (3, 150, 96), r" ||
            fail "pack on $ranks ranks"
    done
    cp 1.avi cut.avi && truncate -s 3000 cut.avi && printf 'path\ncut.avi\n' >videos.csv
    if run 1 "$bench" pack pack.yaml --repeats 3 --dir packed1 >out.log 2>&1; then fail "a video that is cut is measured"; fi
    [ -z "$(ls packed1)" ] || fail "pack left something in its folder after a failure"
else
    echo "without ffmpeg, which makes the videos, pack was not tested"
fi
run 2 "$bench" step "$tiny" --repeats 3 --as-configured >out.log || fail "step as text"
grep -q '^step_s .* / .* / ' out.log || fail "step as text: $(cat out.log)"
grep -q '^clips  *12$' out.log || fail "--as-configured: $(cat out.log)"
run 1 "$bench" allreduce --repeats 3 >sums.txt && grep -q 67108864 sums.txt || fail "allreduce without configuration"

refuse 'no spread' step "$tiny" --repeats 1
refuse 'no spread' gemm --repeats 2
refuse '--seconds' gemm --seconds none
refuse 'unknown command.*gemm, attention' frobnicate "$tiny"
refuse 'missing argument'
refuse 'needs a CONFIG' step
refuse 'several sections: .*train\.batch' step "$tiny" --set batch=4
refuse 'train\.microbatch too' step "$tiny" --set train.batch=4
finish
