"""Make feature stores with classes ("make"), or check what vjepa-spectrum classes wrote about them."""
import sys
import h5py
import numpy as np
from make_features import make_features


def stores():
    """Return labels, and features of three kinds: ordinary ones; classes at the corners of a regular simplex; and more
    classes than the width."""
    draw = np.random.default_rng(6)
    a = draw.integers(0, 5, 90)
    b = draw.choice([0, 1, 3, 4, 5, 6, 7, 9], 90, p=[.3, .1, .1, .1, .1, .1, .1, .1])
    b[:3], b[3] = -1, 2
    corners = np.eye(5) - 0.2
    plain = draw.normal(size=(90, 2, 16)) + draw.normal(size=(5, 1, 16))[a] + 3
    collapsed = np.pad(corners, ((0, 0), (0, 7)))[a][:, None] + 1e-4 * draw.normal(size=(90, 1, 12))
    narrow = draw.normal(size=(90, 1, 3)) + b[:, None, None]
    return {'a': a, 'b': b}, {'plain': plain, 'collapsed': collapsed, 'narrow': narrow}


def measure(x, y):
    classes = [c for c in np.unique(y) if c >= 0 and np.sum(y == c) > 1]
    C, groups = len(classes), [x[y == c] for c in classes]
    means = np.array([g.mean(0) for g in groups])
    used = np.concatenate(groups)
    n, N = np.array([len(g) for g in groups]), len(used)
    own = np.repeat(np.arange(C), n)
    class_within = np.array([np.sum((g - m) ** 2) / len(g) for g, m in zip(groups, means)])
    within, between = n @ class_within / N, n @ np.sum((means - used.mean(0)) ** 2, 1) / N
    noise = N * within / (N - C)
    signal = (N * between / (C - 1) - noise) / ((N - n @ n / N) / (C - 1))
    centred = means - means.mean(0)
    Sw = sum((g - m).T @ (g - m) / len(g) for g, m in zip(groups, means)) / C
    Sb = centred.T @ centred / C
    spectrum = np.sort(np.linalg.eigvalsh(Sb))[::-1][:min(C - 1, Sb.shape[0])]
    norms = np.linalg.norm(centred, axis=1)
    cosine = (centred @ centred.T / norms / norms[:, None])[np.triu_indices(C, 1)]
    to_means = np.linalg.norm(used[:, None] - means, axis=2)
    between_means = np.linalg.norm(means[:, None] - means, axis=2) + np.diag([np.inf] * C)
    return classes, n, {'within': within, 'between': between, 'total': np.sum(used.var(0)), 'ratio': between / within,
                        'signal_to_noise': signal / noise, 'nc1': np.trace(Sw @ np.linalg.pinv(Sb, rcond=1e-12)) / C,
                        'nc2_norms': norms.std() / norms.mean(), 'nc2_cosine': cosine.mean(), 'nc2_deviation': cosine.std(),
                        'nc4': np.mean(to_means.argmin(1) == own)}, \
        {'within': class_within, 'nearest': np.array(classes)[between_means.argmin(1)], 'nearest_distance': between_means.min(1)}, \
        max(1e-10, 1e-15 * spectrum[0] / spectrum[-1])      # how much the inverse of Sb enlarges rounding


def check(path):
    f = h5py.File(path)['measures']
    labels, features = stores()
    tasks, names = [t.decode() for t in f['tasks']], [n.decode() for n in f['names']]
    assert tasks == ['a', 'b'] and names == list(features), (tasks, names)
    for t, task in enumerate(tasks):
        for r, name in enumerate(names):
            x = features[name].astype('f4').astype('f8').mean(1).astype('f4').astype('f8')
            classes, clips, measures, by_class, rounding = measure(x, labels[task])
            g = f['task'][task]
            assert list(g['class']) == classes and list(g['clips']) == list(clips), (list(g['class']), classes)
            for key, want in measures.items():
                tolerance = rounding if key == 'nc1' else 1e-10
                np.testing.assert_allclose(f[key][r, t], want, tolerance, 1e-12, err_msg=f'{name} {task} {key}')
            for key, want in by_class.items():
                np.testing.assert_allclose(g[key][r], want, rtol=1e-10, err_msg=f'{name} {task} {key}')
    collapsed = {key: f[key][1, 0] for key in f if key.startswith('nc')}
    assert collapsed['nc1'] < 1e-6 and collapsed['nc2_norms'] < 1e-3 and collapsed['nc4'] == 1, collapsed
    assert abs(collapsed['nc2_cosine'] + 1 / 4) < 1e-3 and collapsed['nc2_deviation'] < 1e-3, collapsed


if sys.argv[1] == 'make':
    labels, features = stores()
    for name, x in features.items():
        make_features(name + '.h5', x, labels, {'b': ['', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', '', 'nine']})
    make_features('bare.h5', features['plain'], {})
    make_features('unlabelled.h5', features['plain'], {'a': labels['a'] * 0 - 1})
    make_features('single.h5', features['plain'], {'a': labels['a'] * 0})
    make_features('constant.h5', features['plain'] * 0 + 2, labels)
else:
    for path in sys.argv[1:]:
        check(path)
