#!/usr/bin/env bash
# Checks vjepa-report on runs: the page is complete and valid, numbers are those of the runs, starts and stops are shown, and there is
# a note for all that is damaged.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
python=/usr/bin/python3
maker=$source_dir/tests/data/report.py
for tool in gnuplot tidy; do
    command -v $tool >/dev/null || { echo "$tool is missing (Debian: gnuplot-nox, tidy)"; exit 77; }
done

report() { # CODE ARGS...: its output in report.log
    local want=$1 code=0
    shift
    timeout 300 "$bin/vjepa-report" "$@" >report.log 2>&1 || code=$?
    [ "$code" -eq "$want" ] || fail "vjepa-report $* ended with $code, not $want: $(tail -n 3 report.log)"
}
valid() { # FILE.html
    "$python" "$maker" check-html "$1" >check.log 2>&1 || fail "$1: $(tail -n 3 check.log)"
    tidy -q -e "$1" >tidy.log 2>&1 || fail "tidy of $1: $(head -n 5 tidy.log)"
}
says() { # FILE TEXT
    grep -aqF -- "$2" "$1" || fail "$1 does not say \"$2\""
}

# The numbers of two runs that are drawn together.
"$python" "$maker" runs runs
report 0 runs/seed-0 runs/seed-1/ --out two.html --csv two --markdown two-md --title 'A <b> & "c"'
valid two.html
"$python" "$maker" check-numbers runs two >check.log 2>&1 || fail "numbers: $(tail -n 3 check.log)"
says two.html '2 of 5000 rows without a number for loss, the first at step 77'
says two.html 'A &#60;b&#62; &#38; &#34;c&#34;'
says two-md/report.md '![Loss](loss.svg)'
"$python" - <<'PY' || fail "an SVG file is not well-formed"
import glob, xml.dom.minidom
files = glob.glob('two-md/*.svg')
assert len(files) > 6
for file in files: xml.dom.minidom.parse(file)
PY
report 0 runs/seed-0 --out one.html
valid one.html
says one.html 'Settings that are not the defaults'
report 0 runs/seed-{0,1,0,1,0,1,0,1,0,1} --out many.html --csv many
valid many.html
says many/loss.csv 'all runs, each step'
"$python" - <<'PY' || fail "the band of many runs has lost a peak"
import csv
assert max(float(r['high'] or 0) for r in csv.DictReader(open('many/loss.csv'))) == 7.25
PY
report 0 runs/seed-0 --out one.html # a report may be replaced
echo 'my notes' >notes.html
report 2 runs/seed-0 --out notes.html
[ "$(cat notes.html)" = 'my notes' ] || fail "a file of the user was replaced"
report 2 runs/seed-0
mkdir pages && echo '# My report' >pages/report.md
report 2 runs/seed-0 --markdown pages
[ "$(cat pages/report.md)" = '# My report' ] || fail "a page of the user was replaced"
report 0 runs/seed-0 --markdown two-md --csv two # an earlier report's may be

# A run that is stopped, killed, and then completed.
make_store train.clips 40
mkdir run && touch run/stop
pretrain 1 "$PWD/run" >first.log 2>&1 && fail "a run with a file stop is not stopped"
pretrain_killed 2 "$PWD/run"
report 0 run --out killed.html --csv killed
says killed/runs.csv 'run,KILLED,'
pretrain 1 "$PWD/run" >last.log 2>&1 || fail "the run does not go on: $(tail -n 2 last.log)"
pretrain 1 "$PWD/run" >again.log 2>&1 || fail "a finished run is started again: $(tail -n 2 again.log)"
events=$(cut -d, -f2 run/history.csv | tr '\n' ' ')
[ "$events" = 'event start stop start start done ' ] || fail "history.csv has $events"
report 0 run --out whole.html --csv whole
valid whole.html
# The folder of a run has a file of the name of a table, which must not take its place.
cp run/history.csv history.kept
report 2 run --csv run
grep -q 'run/history.csv is there, and not of an earlier report' report.log && cmp -s run/history.csv history.kept ||
    fail "a table took the place of a run's file: $(cat report.log)"
says whole.html 'the start before was killed'
says whole.html 'stop in the run folder'
says whole.html 'restart, was killed'
says whole/runs.csv 'run,complete,24,24,'
[[ $(tail -n 1 whole/times.csv) =~ ^run,[0-9.]+,[0-9.]+, ]] || fail "time by phase: $(cat whole/times.csv)"
fingerprint=$("$bin/vjepa-inspect" run | sed -n 's/^ *clips *fingerprint \([0-9a-f]*\)$/\1/p')
[ -n "$fingerprint" ] || fail "vjepa-inspect names no fingerprint"
says whole.html "$fingerprint"

# A hundred runs of a whole pretraining give a page small enough to send, and no peak is lost.
"$python" "$maker" long long run/metrics.csv
report 0 long/run-* --out long.html --csv long-csv
valid long.html
[[ $(stat -c %s long.html) -lt 5000000 ]] || fail "a page of $(stat -c %s long.html) bytes"
[[ $(wc -l <long-csv/runs.csv) == 101 ]] || fail "not 100 runs: $(wc -l <long-csv/runs.csv)"
grep -q ',7\.25' long-csv/loss.csv || fail "100 runs: the peak is lost"

# A run that went back to an older checkpoint, failed, went on, and failed for good.
cp -r run failed && rm failed/complete
{
    head -n 2 run/history.csv
    printf '2026-01-02T03:04:05Z,%s\n' 'roll_back,8,1,node1,"v 1","the rank fell"' 'failed,12,1,node1,"v 1","no space left"' \
        'start,10,1,node1,"v 1",""' 'failed,20,1,node1,"v 1","a ""quoted"" reason"'
} >failed/history.csv
report 0 failed --out failed.html --csv failed-csv
valid failed.html
says failed-csv/runs.csv 'FAILED: a ""quoted"" reason'
says failed.html '>roll-back<'
says failed.html 'restart after an error'
says failed.html 'no space left'
says failed-csv/history.csv 'roll-back,8,1,node1,the rank fell'

# Damage gives notes; the rest is shown.
cp -r run damaged
truncate -s -20 damaged/metrics.csv
printf 'broken line\n' | sed -i '5r /dev/stdin' damaged/metrics.csv
truncate -s 1000 damaged/step_00000024.h5
printf 'run: [1, 2\n  x' >damaged/config.yaml
printf 'nonsense\n' >>damaged/history.csv
cp -r run diverged
awk -F, -v OFS=, 'NR > 6 { $3 = "nan" } 1' run/metrics.csv >diverged/metrics.csv
report 0 damaged run diverged --out damaged.html
valid damaged.html
says damaged.html 'diverged: 19 of 24 rows without a number for loss, the first at step 6: gaps in its curve.'
says damaged.html 'damaged/metrics.csv:6: column step holds &#34;broken line&#34;, which is no number'
says damaged.html 'the last line has no end'
says damaged.html 'step_00000024.h5 cannot be read as a checkpoint: damaged/step_00000024.h5 is truncated: 1000 bytes found'
says damaged.html 'damaged/config.yaml:'
says damaged.html 'history.csv:7: 7 cells are expected, not 1'
cp -r run lost && rm lost/metrics.csv
report 0 lost --out lost.html
says lost.html 'lost holds no metrics.csv; metrics.jsonl is shown'
rm lost/metrics.jsonl lost/config.yaml
report 0 lost --out lost.html
says lost.html 'The settings shown are those that'

# A hang, an earlier start, a name that is markup, bytes of any kind.
evil='<img src=x onerror=alert(1)> '"'"'`touch owned`$(touch owned)"&'
cp -r run "$evil"
printf 'rank 3 on node17: reading clips after step 7, for 600 s\n' >"$evil/watchdog.txt"
rm "$evil/complete"
head -n 6 run/metrics.csv >"$evil/metrics.csv.1"
report 0 "$evil" run --out evil.html --markdown evil-md --csv evil
valid evil.html
[ ! -e owned ] || fail "a name was executed"
says evil.html 'rank 3 on node17: reading clips after step 7, for 600 s'
says evil.html '5 rows of a start that left no checkpoint'
mkdir bytes && head -c 300000 /dev/urandom >bytes/metrics.csv
for name in config.yaml history.csv complete step_00000007.h5 watchdog.txt metrics.csv.1; do head -c 5000 /dev/urandom >bytes/$name; done
mkfifo bytes/lease
report 0 bytes --out bytes.html
valid bytes.html

# Inputs of an unknown kind.
mkdir empty && ln -s loop loop && touch none.csv
report 1 empty not-there loop none.csv "$maker" --out nothing.html
valid nothing.html
says nothing.html 'none.csv is empty.'
says nothing.html 'loop cannot be read: Too many levels of symbolic links'
says nothing.html 'not-there is not there'
says nothing.html 'empty is nothing that this report knows'
head -c 3000 run/step_00000024.h5 >cut.h5
report 0 empty cut.h5 run --out some.html
says some.html 'cut.h5 cannot be read: it is an HDF5 file'
says some.html 'empty is nothing that this report knows'

# Without gnuplot there is a message, and the numbers can still be written.
mkdir path && for tool in bash timeout; do ln -s "$(command -v $tool)" path/$tool; done
code=0
PATH=$PWD/path "$bin/vjepa-report" run --out without.html >report.log 2>&1 || code=$?
[ "$code" -eq 1 ] && grep -q 'gnuplot-nox' report.log && [ ! -e without.html ] || fail "without gnuplot: $code, $(cat report.log)"
PATH=$PWD/path "$bin/vjepa-report" run --csv without >report.log 2>&1 || fail "numbers without gnuplot: $(cat report.log)"
says without/runs.csv complete
finish
