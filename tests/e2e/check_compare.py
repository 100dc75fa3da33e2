"""Make feature stores to compare ("make"), or check what vjepa-spectrum compare wrote about them."""
import json
import sys
import h5py
import numpy as np
from make_features import make_features


def stores():
    draw = np.random.default_rng(5)
    x = draw.normal(size=(40, 3, 20)) * np.linspace(1, 3, 20) + 4
    turn = np.linalg.qr(draw.normal(size=(20, 20)))[0]
    return {'x': x, 'turned': x @ turn * 2.5 - 1, 'wide': draw.normal(size=(40, 1, 150)) + x[:, :1, :1],
            'other': np.concatenate([x[:, :, :5] ** 2, draw.normal(size=(40, 3, 8))], 2),
            'constant': np.ones((40, 1, 6)) / 3, 'few': x[:3], 'huge': draw.normal(size=(5, 1, 300000))}


def cka(x, y):
    return np.sum((x.T @ y) ** 2) / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y)


def hsic(x, y):
    """Return the unbiased HSIC by eq. 5 of Song et al. 2012, from the n x n kernels."""
    n = len(x)
    k, l = x @ x.T, y @ y.T
    np.fill_diagonal(k, 0)
    np.fill_diagonal(l, 0)
    return (np.trace(k @ l) + k.sum() * l.sum() / (n - 1) / (n - 2) - 2 * (k @ l).sum() / (n - 2)) / n / (n - 3)


def procrustes(x, y):
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    return 2 - 2 * np.linalg.svd(x.T @ y, compute_uv=False).sum()


def check(path):
    f = h5py.File(path)
    assert f.attrs['format'] == b'vjepa-analysis' and f.attrs['command'] == b'compare', dict(f.attrs)
    names = [n.decode() for n in f['compare/names']]
    rows = []
    for name in names:
        x = stores()[name].astype('f4').astype('f8')
        x = x.mean(1).astype('f4').astype('f8') if 'means' in path else x.reshape(-1, x.shape[2])
        rows.append((x, x - x.mean(0)))
    def unbiased(x, y): return hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y))
    want = {'cka': [[cka(a, b) for _, a in rows] for _, b in rows],
            'cka_unbiased': [[unbiased(a, b) for a, _ in rows] for b, _ in rows],   # takes rows that are not centred
            'procrustes': [[procrustes(a, b) for _, a in rows] for _, b in rows]}
    for name, values in want.items():
        np.testing.assert_allclose(f['compare'][name][()], values, rtol=1e-10, atol=1e-10)
    pairs = json.load(open(path[:-3] + '.json'))['pairs']
    assert len(pairs) == len(names) * (len(names) - 1) // 2
    assert abs(pairs[0]['cka'] - want['cka'][0][1]) < 1e-6, pairs[0]


if sys.argv[1] == 'make':
    for name, x in stores().items():
        make_features(name + '.h5', x, {})
else:
    for path in sys.argv[1:]:
        check(path)
