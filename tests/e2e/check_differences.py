"""Check the differences of encoders in a campaign's results.json and differences.csv against its predictions.h5."""
import csv
import json
import sys
from itertools import combinations
from math import comb, sqrt
import h5py
import numpy as np

T_975 = {1: 12.706204736, 2: 4.302652730, 3: 3.182446305}     # quantiles of Student's t by degrees of freedom
folder = sys.argv[1]
heads = {}
with h5py.File(f'{folder}/predictions.h5') as file:
    for table in sorted(file['heads'].values(), key=lambda t: t.attrs['number']):
        fact = {k: v.decode() if isinstance(v, bytes) else v for k, v in table.attrs.items()}
        rows = np.sort(table[()], order='clip')
        heads.setdefault((fact['task'], fact['kind'], fact['labels']), {}).setdefault(fact['encoder'], []).append(
            (fact['seed'], rows['rank'] == 0))


def mcnemar(a, b):
    few, all_ = sorted(((a & ~b).sum(), (b & ~a).sum()))[0], (a ^ b).sum()
    return min(1.0, 2 * sum(comb(int(all_), i) for i in range(few + 1)) / 2 ** int(all_))


def check(found, seeds_a, seeds_b):
    runs = [(dict(seeds_a)[s], dict(seeds_b)[s]) for s in sorted(dict(seeds_a))]
    points = [100 * (a.mean() - b.mean()) for a, b in runs]
    n, mean = len(runs), np.mean(points)
    assert abs(found['difference'] - mean) < 1e-4 and found['seeds'] == n, (found, points)
    if n > 1:
        half = T_975[n - 1] * np.std(points, ddof=1) / sqrt(n)
        assert np.allclose(found['t_interval'], [mean - half, mean + half], atol=1e-4), (found, half)
    else:
        assert found['t_interval'] is None and found['std'] is None, found
    p = [mcnemar(a, b) for a, b in runs]
    assert np.allclose(found['mcnemar_p'], [min(p), max(p)], rtol=1e-4), (found, p)
    each = np.mean([a.astype(int) - b for a, b in runs], 0)
    draws = 100 * each[np.random.default_rng(0).integers(len(each), size=(20000, len(each)))].mean(1)
    error = 0.4 * draws.std() + 1e-9                  # error of quantiles from 2000 draws, in steps of 1 / clips
    assert np.allclose(found['bootstrap_interval'], np.quantile(draws, [0.025, 0.975]), atol=error), (found, error)


rows = json.load(open(f'{folder}/results.json'))
count = 0
for (task, kind, labels), encoders in heads.items():
    line = {r['encoder']: r for r in rows if (r['task'], r['pooling'], r['labels']) == (task, kind, labels)}
    for a, b in combinations(encoders, 2):
        found, = (d for d in line[a]['differences'] if d['minus'] == b)
        check(found, encoders[a], encoders[b])
        count += 1
assert count == sum(len(r['differences']) for r in rows) and count > 0
table = list(csv.DictReader(open(f'{folder}/differences.csv')))
assert len(table) == count and [(r['task'], r['pooling'], float(r['labels_percent'])) for r in table] == [
    key for key, encoders in heads.items() for _ in combinations(encoders, 2)]
