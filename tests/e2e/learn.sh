#!/usr/bin/env bash
# Runs the whole way, small, on real photographs and film, with a fixed amount of work (1,000 steps). Checks that the encoder keeps
# its rank and that its average-pooled features distinguish clothes better than those of a random encoder. The loss and the
# attentive probe are not checked, because after so few steps they show nothing. Started again, it says that it is done.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
cache=$bin/../demo # kept between runs: 160 MB of packages are downloaded once
bash "$source_dir/jobs/fetch_demo_media.sh" "$cache" >fetch.log 2>&1 || { echo "skipped: $(tail -n 2 fetch.log)"; exit 77; }
mkdir q && ln -s "$(cd "$cache" && pwd)/media" q/media
VJEPA_BIN=$bin bash "$source_dir/jobs/quickstart.sh" --dir q --small >quickstart.log 2>&1 || fail "quickstart: $(tail -n 5 quickstart.log)"
/usr/bin/python3 - q/results.json <<'PY' || fail "the table: $(tail -n 25 quickstart.log)"
import json, sys
rows = json.load(open(sys.argv[1]))
top1 = {(r['task'], r['encoder']): r['top1_mean'] for r in rows if r['pooling'] == 'average' and r['labels'] == 100}
rank = {r['encoder']: r['effective_rank'] for r in rows}
gain = {task: top1[task, 'pretrained'] - max(top1[task, 'random_published'], top1[task, 'random_fan_in'])
        for task in ('appearance', 'motion')}
print('effective rank', rank, 'gain', gain, top1)
# Measured gains on appearance with pretraining seeds 234, 1, 2: 4.1, 6.6, 6.1 points (standard error 2.6).
assert rank['pretrained'] >= 8, rank
assert gain['appearance'] >= 2, gain
PY
# The watch is in the metrics and on the page. That it rises is not checked, because in 1,000 steps on 1,280 clips it does not: its
# nearest neighbours gain -1.2, 2.1 and 4.5 points over the first step with pretraining seeds 234, 1 and 2 (standard error 2.3).
# In all 5,600 steps of the demonstration they gain 4.9 to 8.6 points (RESULTS.md).
/usr/bin/python3 - q/run/metrics.csv <<'PY' || fail "the in-run watch: $(cut -d , -f 1,14- q/run/metrics.csv | grep -v ',$')"
import csv, sys
knn = {int(r['step']): float(r['watch_knn']) for r in csv.DictReader(open(sys.argv[1])) if r['watch_knn']}
print('in-run watch', knn)
assert list(knn) == [1, 200, 400, 600, 800, 1000] and min(knn.values()) > 8, knn # a class of eight is 12.5 by chance
PY
grep -q 'In-run watch: nearest neighbours' q/report.html || fail "the page does not show the watch: $(tail -n 3 quickstart.log)"
grep -q 'random_fan_in' q/report.html || fail "the page does not show the table: $(tail -n 3 quickstart.log)"
VJEPA_BIN=$bin bash "$source_dir/jobs/quickstart.sh" --dir q --small >again.log 2>&1 && grep -q 'Already done' again.log ||
    fail "the second start does not say that it is done: $(tail -n 2 again.log)"
finish
