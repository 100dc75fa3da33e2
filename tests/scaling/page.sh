#!/usr/bin/env bash
# Checks that every number in the tables and figures of docs/scaling.md is in docs/scaling.csv, which analysis/scaling/study.sh wrote, or
# comes from vjepa-plan for the example sites, and that the forecast in the table is the one that vjepa-plan makes now.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/../e2e/lib.sh"
configs=$source_dir/jobs/configs
for site in example a100 h100 grace_hopper; do
    "$bin/vjepa-plan" "$configs/vith16_384.yaml" --cluster "$configs/cluster_$site.yaml" --json >"cluster_$site.json" || fail "$site"
done
cat >check.py <<'PY'
import csv, json, re, sys
page, table = open(sys.argv[1]).read(), sys.argv[2]
rows = {(r['study'], r['nodes']): r for r in csv.DictReader(open(table))}
checked = 0

def same(cell, value, where):
    global checked
    decimals = len(cell.partition('.')[2])
    assert cell == f'{value:.{decimals}f}', f'{where}: the page says {cell}, the table {value}'
    checked += 1

def of_study(kind, r):
    return {'s a step': float(r['step_s']), 'efficiency, %': 100 * float(r['efficiency']),
            'forecast / simulated': float(r['forecast_s']) / float(r['step_s'])}[kind]

for block in re.findall(r'(?:^\|.*\n)+', page, re.M):
    lines = [[c.strip() for c in line.strip('|\n').split('|')] for line in block.splitlines()]
    kind, heads = lines[0][0], lines[0][1:]
    for name, *cells in lines[2:]:
        if kind == 'site':
            r = json.load(open(name.strip('`') + '.json'))
            t, best = r['training'], r['layouts'][0]
            assert cells[0] == f"{best['nodes']} x {best['ranks_a_node']}" and cells[1] == str(best['zero']), (name, best)
            for cell, value in zip(cells[2:], (t['step_s'], t['sum_s'], t['walltime_h'])): same(cell, value, name)
            continue
        for head, cell in zip(heads, cells):
            if not cell: continue
            if kind.startswith('s a step on '):
                nodes = kind.split()[4]
                key = (name, nodes) if head == '360' else (f'{name} {head} GB/s', nodes)
                same(cell, of_study('s a step', rows[key]), key)
            else:
                same(cell, of_study(kind, rows[name, head]), (name, head))
print(checked, 'numbers')
assert checked > 100, 'the tables were not found'
PY
/usr/bin/python3 check.py "$source_dir/docs/scaling.md" "$source_dir/docs/scaling.csv" || fail "docs/scaling.md is not of docs/scaling.csv"

# The figures are drawn again by this machine's gnuplot and must have the same words and number of points.
words() { grep -oE '<use|>[A-Za-z][^<]*<' "$1" | sort | uniq -c; }
figure() { # FILE.svg: its rows come in
    { head -n 1 "$source_dir/docs/scaling.csv" && cat; } >figure.csv
    "$bin/vjepa-report" figure.csv --markdown figure >log 2>&1 || fail "no figure: $(cat log)"
    words figure/scaling-efficiency.svg >new.txt
    words "$source_dir/docs/$1" >old.txt
    cmp -s new.txt old.txt || fail "docs/$1 is not of docs/scaling.csv: $(diff old.txt new.txt)"
}
# A figure has at most eight lines.
grep -E ',(CPU nodes )?ViT-[LH] [0-9]+( GPU to GPU)?,model,' "$source_dir/docs/scaling.csv" | grep -v 'CPU nodes ViT-H 224' | figure scaling_efficiency.svg
grep -E ' clips( 50 GB/s)?,model,' "$source_dir/docs/scaling.csv" | grep -vE ' of 64 clips' | figure scaling_batch.svg

# The present forecasts, for the rate of the study.
rate=$(sed -n 's/^h100_tflops=//p' "$source_dir/analysis/scaling/study.sh")
"$bin/vjepa-plan" "$configs/vitl16_224.yaml" --cluster "$configs/cluster_h100.yaml" --layout 8x8 --set "cluster.gpu_tflops_bf16=$rate" --set train.microbatch=16 --set train.batch=1024 --json >forecast.json ||
    fail "vjepa-plan"
/usr/bin/python3 - "$source_dir/docs/scaling.csv" forecast.json <<'PY' || fail "docs/scaling.csv has forecasts of another vjepa-plan: run analysis/scaling/study.sh again"
import csv, json, sys
row, = [r for r in csv.DictReader(open(sys.argv[1])) if r['study'] == 'ViT-L 224' and r['nodes'] == '8']
layout = json.load(open(sys.argv[2]))['layouts'][0]
parts = layout['products_s'] + layout['memory_s'] + layout['sums_s']
assert abs(parts / float(row['forecast_s']) - 1) < 0.01, (parts, row) # masks are counted for another microbatch
PY
finish
