"""Make feature stores for spectrum.sh ("make"); check the results of vjepa-spectrum with numpy (FILE TOKENS(0|1)
COMPONENTS); or compare them with those of another number of ranks (same FILE FILE)."""
import json
import sys
import h5py
import numpy as np
from make_features import make_features

NAMES = ['few', 'far', 'flat', 'law', 'gauss']
EPS = 2.0 ** -52


def features():
    rng = np.random.default_rng(5)
    n = 150
    return {
        'few': rng.normal(size=(n, 3, 7)),                                         # too few columns for all ranks
        'far': 1e5 + rng.normal(size=(n, 3, 130)) @ rng.normal(size=(130, 130)),  # large mean, several blocks
        'flat': rng.integers(-9, 9, (n, 3, 5)) @ rng.integers(-9, 9, (5, 97)),  # exactly of rank 5
        # Covariances whose spectra are known: k^-1.5, and 1 (Marchenko-Pastur).
        'law': rng.normal(size=(n, 40, 100)) * np.arange(1, 101) ** -0.75,
        'gauss': rng.normal(size=(n, 4, 200)),
    }


def close(what, got, want, bound=0.0):
    """Check that every number is right to 1e-10 of the largest, or to `bound`, the change that rounding alone may
    cause: one bound for all numbers, or one for each."""
    got, want = np.asarray(got, 'f8'), np.asarray(want, 'f8')
    assert got.shape == want.shape, f'{what}: shape {got.shape}, expected {want.shape}'
    error, allowed = np.abs(got - want), np.maximum(1e-10 * np.abs(want).max(), bound)
    assert (error <= allowed).all(), f'{what}: off by {error.max()}, {allowed.max()} is allowed'


def backward(values, n):
    """Bound the norm of the rounding error in a covariance of n rows with these eigenvalues. The sums add about sqrt(n)
    units of rounding, the eigenvalue solver at most about D (LAPACK Users' Guide, section 4.7). No eigenvalue has a
    larger error (Weyl)."""
    return (len(values) + n ** 0.5) * EPS * values[0]


def component_bounds(values, n):
    """Bound the error of each eigenvector: the error of the matrix divided by the distance to the next eigenvalue
    (Davis and Kahan). It is doubled, since numpy's vectors have errors too."""
    gap = np.abs(values[:, None] - values[None, :])
    np.fill_diagonal(gap, np.inf)
    return 2 * backward(values, n) / np.maximum(gap.min(1), 1e-300)


def known_singular_values(rows):
    z = np.linalg.svd(rows, compute_uv=False)
    return z[z > z[0] * (rows.shape[1] * EPS) ** 0.5]


def rankme_bound(rows):
    """Bound the error of RankMe. Singular values z are roots of eigenvalues, so an error e of z^2 is e / 2z of z. The
    entropy H of p = z / sum(z) changes by (log p + H) dz / sum(z), and RankMe = exp(H) relatively by as much."""
    z = known_singular_values(rows)
    p, error = z / z.sum(), backward(np.r_[z ** 2, np.zeros(rows.shape[1] - len(z))], len(rows))
    return rank(z) * (np.abs(np.log(p) - (p * np.log(p)).sum()) * error / (2 * z) / z.sum()).sum()


def power_law_bounds(values, first, last, error):
    """Bound the errors of exponent, intercept and r2. They come from logarithms, whose error is error / value."""
    x, y, d = np.log(np.arange(first, last + 1)), np.log(values[first - 1:last]), error / values[first - 1:last]
    x, y, middle = x - x.mean(), y - y.mean(), x.mean()
    slope = (np.abs(x) * d).sum() / (x * x).sum()
    r2 = 2 * (np.abs(x) * d).sum() / np.abs((x * y).sum()) + 2 * (np.abs(y) * d).sum() / (y * y).sum()
    return slope, d.mean() + middle * slope, r2


def rank(p):
    p = p[p > 0] / p.sum()
    return np.exp(-(p * np.log(p)).sum())


def power_law(values, first, last):
    x, y = np.log(np.arange(first, last + 1)), np.log(values[first - 1:last])
    slope, start = np.polyfit(x, y, 1)
    return -slope, start, np.corrcoef(x, y)[0, 1] ** 2


def check(group, x, k):
    clips, tokens, D = x.shape
    rows = x.reshape(-1, D)
    mean = rows.mean(0)
    centred = rows - mean
    # Use singular values of the rows. The program goes another way: it computes eigenvalues of a covariance.
    values = np.zeros(D)
    U, s, Vt = np.linalg.svd(centred, full_matrices=False)
    values[:len(s)] = s ** 2 / len(rows)
    numerical = (s > s[0] * 1e-7).sum()
    a = group.attrs
    error = backward(values, len(rows))
    close('mean', group['mean'], mean)
    close('eigenvalues', group['eigenvalues'], values)
    assert (a['width'], a['rows'], a['tokens']) == (D, len(rows), tokens)
    close('effective rank', a['effective_rank'], rank(values))
    close('RankMe', a['rankme'], rank(known_singular_values(rows)), rankme_bound(rows))
    close('participation ratio', a['participation_ratio'], values.sum() ** 2 / (values ** 2).sum())
    close('stable rank', a['stable_rank'], (centred ** 2).sum() / s[0] ** 2)
    first, last = a['power_law_first'], a['power_law_last']
    assert (first, last) == (11 if numerical >= 20 else 1, min(numerical, 500))
    close('power law', [a['power_law_exponent'], a['power_law_intercept'], a['power_law_r2']], power_law(values, first, last),
          power_law_bounds(values, first, last, error))
    if k == 0:
        assert 'components' not in group and 'whitening' not in group
        return
    k = min(k, D)
    V = group['components'][()]
    close('lengths of components', V @ V.T, np.eye(k))
    known = min(k, numerical)
    signs, bounds = np.sign((V[:known] * Vt[:known]).sum(1))[:, None], component_bounds(values, len(rows))[:known, None]
    assert bounds[0] < 1e-10, 'the first component is far from the second'
    close('components', V[:known], signs * Vt[:known], bounds)
    assert (V[range(k), np.abs(V).argmax(1)] > 0).all(), 'signs of components'
    close('explained', group['explained'], (values / values.sum())[:k])
    close('projections', group['projections'], (centred @ V.T).reshape(clips, tokens, k),
          np.abs(group['projections'][()]).max() * 2.0 ** -24)  # stored as f4
    if numerical == D and len(rows) > D:
        white = centred @ group['whitening'][()]
        close('whitened', white.T @ white / len(rows), np.eye(D), 2 * error / values[-1])
    else:
        W, C = group['whitening'][()], centred.T @ centred / len(rows)
        close('rank of whitening', np.trace(W @ C @ W), numerical, 2 * (error / values[:numerical]).sum())


def known_spectra(groups):
    """Check that known spectra are found: a power law, and the Marchenko-Pastur law of independent random numbers."""
    a = groups['law'].attrs
    assert abs(a['power_law_exponent'] - 1.5) < 0.02 and a['power_law_r2'] > 0.99, dict(a)
    g = groups['gauss']
    values, D = g['eigenvalues'][()], g.attrs['width']
    ratio = D / g.attrs['rows']
    low, high = (1 - ratio ** 0.5) ** 2, (1 + ratio ** 0.5) ** 2
    assert abs(values[0] / high - 1) < 0.05 and abs(values[-1] / low - 1) < 0.05, (values[0], high, values[-1], low)
    x = np.linspace(low, high, 20001)
    density = np.sqrt((high - x) * (x - low)) / (2 * np.pi * ratio * x)
    law = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(x))])
    assert abs(law[-1] - 1) < 1e-4
    worst = np.abs(np.interp(values[::-1], x, law) - (np.arange(D) + 0.5) / D).max()
    assert worst < 0.02, f'Marchenko-Pastur: distance {worst}'


def same(path, other):
    """Check that two results of the same rows agree to 1e-10 of the largest number of each array, but for one RankMe
    that rounding alone changes more."""
    with h5py.File(path) as f, h5py.File(other) as g:
        for name in NAMES:
            a, b = f['representations'][name], g['representations'][name]
            known = int(a.attrs['power_law_last'])  # directions without variance are arbitrary
            bound = 0.0
            if name == 'far':  # has small singular values beside that of a mean of 1e5
                with h5py.File('far.h5') as features_file:
                    bound = rankme_bound(features_file['features'][()].astype('f8').reshape(-1, a.attrs['width']))
            for key in a:
                x, y = a[key][()], b[key][()]
                if key in ('components', 'projections'):
                    x, y = (v[:known] if key == 'components' else v[:, :, :known] for v in (x, y))
                close(f'{name} {key}', x, y)
            for key, value in a.attrs.items():
                if isinstance(value, np.floating):
                    close(f'{name} {key}', value, b.attrs[key], bound if key == 'rankme' else 0.0)


if sys.argv[1] == 'make':
    for i, (name, x) in enumerate(features().items()):
        make_features(f'{name}.h5', x, {'kind': np.arange(len(x)) % 3}, {'kind': ['a', 'b', 'c']}, digest=i)
elif sys.argv[1] == 'same':
    same(*sys.argv[2:])
else:
    path, as_tokens, k = sys.argv[1], sys.argv[2] == '1', int(sys.argv[3])
    table = {row['name']: row for row in json.load(open(path.replace('.h5', '.json')))['representations']}
    with h5py.File(path) as f:
        assert f.attrs['format'] == b'vjepa-analysis' and f.attrs['command'] == b'spectrum'
        groups = f['representations']
        assert sorted(groups) == sorted(NAMES)
        for name in NAMES:
            with h5py.File(f'{name}.h5') as features_file:
                x = features_file['features'][()].astype('f8')
                for column in 'clip', 'clip_xxh3', 'label', 'classes/kind':
                    assert (f[column][()] == features_file[column][()]).all(), column
                assert f['label'].attrs['names'] == features_file['label'].attrs['names']
            check(groups[name], x if as_tokens else x.mean(1, keepdims=True).astype('f4').astype('f8'), k)
            for measure in 'effective_rank', 'rankme', 'participation_ratio', 'stable_rank', 'power_law_exponent':
                assert table[name][measure] == groups[name].attrs[measure]
        if as_tokens:
            known_spectra(groups)
