#!/usr/bin/env bash
# Runs jobs/calibrate on 1 and 2 ranks, and checks that it writes a section cluster for vjepa-plan with the measured rates, and a table
# of forecasts and runs. How close these are depends on the machine and is not checked.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/../e2e/lib.sh"
export VJEPA_BIN
make_store 'a store.clips' 8
"$source_dir/jobs/calibrate" --ranks 1,2 --passes 1 --steps 2 "$tiny" --set 'data.train=[a store.clips]' --out 'a node' >log 2>&1 ||
    fail "calibrate: $(cat log 'a node'/calibrate.log)"
"$bin/vjepa-plan" "$tiny" --cluster 'a node/cluster.yaml' --layout 1x2 --set plan.files=1 --json >plan.json || fail "plan: $(cat 'a node/cluster.yaml')"
cat >check.py <<'PY'
import csv, json
rows = list(csv.DictReader(open('a node/calibration.csv')))
assert [r['ranks'] for r in rows] == ['1', '2'], rows
plan = json.load(open('plan.json'))
set_here = {a['setting']: float(a['value']) for a in plan['assumptions'] if a['from'].startswith('a node/') and a['setting'] != 'cluster.name'}
for key in 'cores_per_node', 'gflops_fp32', 'gflops_bf16', 'memory_gb_s', 'sum_gb_s', 'tensor_gb_s':
    assert set_here['cluster.' + key] > 0, set_here
fastest = max(float(line) for line in open('a node/runs/gflops.2'))
assert abs(max(set_here['cluster.gflops_fp32'], set_here['cluster.gflops_bf16']) * set_here['cluster.cores_per_node'] / fastest - 1) < 1e-3
assert abs(float(rows[1]['forecast_s']) / plan['training']['step_s'] - 1) < 1e-3, rows
steps = [line.split() for line in open('a node/runs/steps')]
assert sorted((n, s) for n, s, t in steps) == [('1', '2'), ('1', '3'), ('2', '2'), ('2', '3')], steps
mean = sum(float(t) for n, s, t in steps if n == '2') / 2
assert abs(float(rows[1]['run_s']) / mean - 1) < 1e-3, (rows, mean)
assert abs(float(rows[1]['forecast_longer_percent']) - 100 * (float(rows[1]['forecast_s']) / mean - 1)) < 0.2, rows
PY
/usr/bin/python3 check.py || fail "numbers: $(cat 'a node'/*.csv 'a node/cluster.yaml' 'a node'/runs/steps)"
refused 2 '--out DIR' "$source_dir/jobs/calibrate"
refused 2 'takes CONFIG.yaml and --out' "$source_dir/jobs/calibrate" "$tiny"
refused 2 'cluster.yaml is there and may have been filled in' "$source_dir/jobs/calibrate" "$tiny" --out 'a node'
refused 2 "numbers such as 1,2, not 'two'" "$source_dir/jobs/calibrate" --ranks two "$tiny" --out x
refused 1 'failed: .*calibrate.log' "$source_dir/jobs/calibrate" --ranks 1 --passes 1 "$tiny" --set 'data.train=[missing.clips]' --out x
finish
