#!/usr/bin/env bash
# Checks vjepa-scale points: real short steps on 1 and 2 ranks give tables and plots with the numbers of the JSON files; phases name the
# slowest rank and its node; repetitions are joined; what is no result is refused.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/../e2e/lib.sh"
for n in 1 2; do run "$n" "$bin/vjepa-bench" step "$tiny" --repeats 3 --json >"weak.$n.1.json" || fail "bench on $n ranks"; done
cat >made.py <<'PY' # a study by hand: two repetitions on 4 ranks of 2 nodes, the second one's ranks in phases
import json
def put(name, ranks, nodes, times, phases):
    json.dump({'bench': 'step', 'host': 'node1', 'ranks': ranks, 'nodes': nodes, 'tensor_ranks': 2, 'clips': 8,
               'step_s': dict(zip(('min', 'median', 'max'), times)), 'phases_over_ranks': phases}, open(name, 'w'))
phase = {'phase': 'reduce', 'min': 0.1, 'mean': 0.2, 'max': 0.5, 'slowest_rank': 3, 'slowest_node': 'node17'}
put('strong.2.a.json', 2, 1, (1.0, 1.5, 2.0), [])
put('strong.4.a.json', 4, 2, (0.75, 1.0, 1.5), [])
put('strong.4.b.json', 4, 2, (0.625, 2.0, 4.0), [phase])
PY
/usr/bin/python3 made.py
"$bin/vjepa-scale" points weak.*.json strong.*.json --out 'a study' >log 2>&1 || fail "points: $(cat log)"
cat >check.py <<'PY'
import csv, json
rows = {(r['study'], r['ranks']): r for r in csv.DictReader(open('a study/scaling.csv'))}
assert len(rows) == 4 and all(r['source'] == 'measured' for r in rows.values()), rows
four = rows['strong', '4']
want = {'nodes': 2, 'repeats': 2, 'step_s_min': 0.625, 'step_s_median': 1.5, 'step_s_max': 4, 'clips_per_s': 8 / 1.5,
        'efficiency': (8 / 0.625 / 4) / (8 / 1.0 / 2), 'node_hours_per_1000_steps': 1000 * 1.5 * 2 / 3600}
for key, value in want.items():
    assert abs(float(four[key]) - value) <= 1e-4 * value, (key, four[key], value)
phases = list(csv.DictReader(open('a study/phases.csv')))
assert [(p['phase'], p['max_s'], p['slowest_rank'], p['slowest_node']) for p in phases if p['study'] == 'strong'] == [('reduce', '0.5', '3', 'node17')], phases
for n in ('1', '2'):
    bench = json.load(open(f'weak.{n}.1.json'))
    assert abs(float(rows['weak', n]['step_s_median']) - bench['step_s']['median']) <= 1e-5 * bench['step_s']['median']
    got = {p['phase']: p for p in phases if p['study'] == 'weak' and p['ranks'] == n}
    for p in bench['phases_over_ranks']:
        assert p['min'] <= p['mean'] <= p['max'] and 0 <= p['slowest_rank'] < int(n) and p['slowest_node'] == bench['host'], p
        assert got[p['phase']]['slowest_rank'] == str(p['slowest_rank']), got
    assert sum(p['mean'] for p in bench['phases_over_ranks']) > 0.5 * bench['step_s']['min'], bench['phases_over_ranks']
PY
/usr/bin/python3 check.py || fail "numbers: $(cat 'a study'/*.csv)"
ls 'a study'/*.svg >/dev/null && grep -q 'node17' 'a study/report.md' || fail "no page: $(ls 'a study')"

refused() { # EXIT_CODE MESSAGE ARGUMENTS...
    local want=$1 message=$2 code=0
    shift 2
    "$bin/vjepa-scale" "$@" >log 2>&1 || code=$?
    [ "$code" -eq "$want" ] && grep -q "$message" log || fail "vjepa-scale $*: exit code $code: $(cat log)"
}
echo '{"ranks": 2}' >odd.json
sed 's/"clips": 8/"clips": 9/' strong.4.a.json >strong.4.c.json
refused 1 'odd.json: no result of vjepa-bench step' points odd.json --out odd
refused 1 'strong.4.c.json: 9 clips on 2 nodes; another repetition of strong with 4 ranks has 8' points strong.4.*.json --out odd
refused 1 'log:' points log --out odd
refused 2 'give --out FOLDER' points strong.2.a.json
refused 2 'model takes one CONFIG.yaml' model "$tiny" weak.1.1.json --out odd
refused 2 'numbers of nodes are expected' model "$tiny" --nodes 1,x --out odd
finish
