"""Make feature stores for ridge probes ("make"), or check what vjepa-spectrum ridge wrote about them."""
import csv
import json
import sys
import h5py
import numpy as np
from make_features import make_features

names = ['red', 'green', '', 'blue', 'grey']       # classes of task a; no clip is of class 2
shuffled = ['blue', 'red', 'grey', 'green']        # the same classes in another order, for validation features


def stores():
    """Return rows of two encoders and labels of two tasks: a has planted directions and unequal classes; b is noise."""
    draw = np.random.default_rng(8)
    sides = []
    where = draw.normal(size=(5, 1, 14)) * 1.5
    for n in (70, 50):
        a = draw.choice([0, 1, 3, 4, -1], n, p=[.4, .3, .15, .1, .05])
        a[:4] = [0, 1, 3, 4]
        b = np.arange(n) % 2
        x = draw.normal(size=(n, 2, 14)) * np.linspace(3, 0.3, 14) + where[a] * (a >= 0)[:, None, None] + 5
        sides.append((x, draw.normal(size=(n, 1, 90)) + x[:, :1, :1], {'a': a, 'b': b}))
    return sides


def normal_matrix(x, weight, penalty):
    X = np.c_[x, np.ones(len(x))]
    return X, X.T @ (weight[:, None] * X) + np.diag([penalty] * x.shape[1] + [0])


def ridge(x, y, weight, penalty):
    """Return weights and intercept by one direct solve. The intercept has no penalty."""
    X, A = normal_matrix(x, weight, penalty)
    return np.linalg.solve(A, X.T @ (weight[:, None] * y))


def bounds(x, weight, penalty):
    """Return bounds on relative rounding errors. That of a solution of normal equations grows with their condition
    number; it is doubled, since numpy's solution has an error too. That of a row's leave-one-out error is larger by
    1 / (1 - h), where h is the row's leverage."""
    X, A = normal_matrix(x, weight, penalty)
    solution = 2 * (len(A) + len(x) ** 0.5) * 2.0 ** -52 * np.linalg.cond(A)
    return solution, 2 * solution / (1 - (weight * np.sum(X * np.linalg.solve(A, X.T).T, 1)).max())


def check_subset(x, y, C, balanced, ratio, held, held_y, got):
    targets, n = np.eye(C)[y], len(y)
    weight = n / C / np.bincount(y)[y] if balanced else np.ones(n)
    centred = x - weight @ x / n
    penalties = ratio * np.trace(centred.T @ (weight[:, None] * centred)) / x.shape[1]
    np.testing.assert_allclose(got['lambda'], penalties, rtol=1e-10)
    X = np.c_[held, np.ones(len(held))]
    errors = []
    for l, penalty in enumerate(penalties):
        order = np.argsort(-(X @ ridge(x, targets, weight, penalty)), axis=1, kind='stable')
        right = order[:, 0] == held_y
        assert abs(got['top1'][l] - 100 * right.mean()) < 1e-9, (l, got['top1'][l], right.mean())
        assert abs(got['top5'][l] - 100 * (order[:, :5] == held_y[:, None]).any(1).mean()) < 1e-9
        assert abs(got['class_mean'][l] - 100 * np.mean([right[held_y == c].mean() for c in np.unique(held_y)])) < 1e-9
        if l % 4 == 0:      # compute leave-one-out by really leaving rows out
            left = np.array([np.r_[x[i], 1] @ ridge(np.delete(x, i, 0), np.delete(targets, i, 0), np.delete(weight, i), penalty)
                             for i in range(n)])
            errors.append(100 * weight @ (left.argmax(1) != y) / n)
            np.testing.assert_allclose(got['loo_squared'][l], weight @ np.sum((targets - left) ** 2, 1) / n,
                                       rtol=max(1e-10, bounds(x, weight, penalty)[1]))
            assert abs(got['loo_error'][l] - errors[-1]) < 1e-9, (l, got['loo_error'][l], errors[-1])
    best = got['chosen']
    ties = np.flatnonzero(got['loo_error'] < got['loo_error'].min() + 1e-9)
    assert best == ties[got['loo_squared'][ties].argmin()], (best, got['loo_error'], got['loo_squared'])
    want = ridge(x, targets, weight, penalties[best])
    np.testing.assert_allclose(np.r_[got['weights'], got['intercept'][None]], want, rtol=0,
                               atol=max(1e-10, bounds(x, weight, penalties[best])[0]) * np.abs(want).max())


def pooled(x):
    return x.astype('f4').astype('f8').mean(1).astype('f4').astype('f8')


def check(path, balanced):
    f = h5py.File(path)
    assert f.attrs['command'] == b'ridge' and f.attrs['balanced'] == balanced
    train, validation = stores()
    for e, encoder in enumerate(['first_train', 'wide_train']):
        x, held = pooled(train[e]), pooled(validation[e])
        for task in 'ab':
            g, y, held_y = f['ridge'][encoder][task], train[2][task], validation[2][task]
            classes = np.unique(y[y >= 0])
            assert list(g['class']) == list(classes)
            for share in range(2):
                for seed in range(2):
                    got = {key: g[key][share, seed] for key in g if key != 'class'}
                    if share == 0 and e == 0:     # this share has all clips, so they are known
                        keep = y >= 0
                        assert got['clips'] == keep.sum()
                        check_subset(x[keep], np.searchsorted(classes, y[keep]), len(classes), balanced, f['ratio'][()], held[held_y >= 0],
                                     np.searchsorted(classes, held_y[held_y >= 0]), got)
                    assert np.isfinite(got['loo_squared']).all() and got['top1'].max() <= 100
    a, b = f['ridge/first_train/a'], f['ridge/first_train/b']
    assert a['top1'][0, 0, a['chosen'][0, 0]] > 85 > 65 > b['top1'][0, 0, b['chosen'][0, 0]], 'planted classes'
    half = np.maximum(1, np.rint(np.unique(train[2]['a'][train[2]['a'] >= 0], return_counts=True)[1] / 2)).sum()
    assert a['clips'][1, 0] == half and not np.array_equal(a['weights'][1, 0], a['weights'][1, 1]), a['clips'][()]
    assert np.array_equal(a['weights'][0, 0], a['weights'][0, 1])


def check_files(path, splits):
    """Check shares that are given as files. They may have any clips, and may lack a class."""
    f = h5py.File(path)
    train, validation = stores()
    x, held, y, held_y = pooled(train[0]), pooled(validation[0]), train[2]['a'], validation[2]['a']
    classes, few = np.unique(y[y >= 0]), 0
    for share, percent in enumerate((100, 20)):
        for seed in range(2):
            chosen = np.loadtxt(f'{splits}/a_uniform_{percent}_{7 + seed}.split', 'i8')
            got = {key: d[share, seed] for key, d in f['ridge/first_train/a'].items() if key != 'class'}
            few += len(np.unique(y[chosen])) < len(classes)
            check_subset(x[chosen], np.searchsorted(classes, y[chosen]), len(classes), False, f['ratio'][()], held[held_y >= 0],
                         np.searchsorted(classes, held_y[held_y >= 0]), got)
    assert few > 0, 'each share has all classes: nothing is tested'


def compare(path, other):
    f, g = h5py.File(path), h5py.File(other)
    def same(name, a):
        if isinstance(a, h5py.Dataset):
            if a.dtype.kind == 'S' or name == 'label':
                return
            np.testing.assert_allclose(a[()], g[name][()], rtol=1e-10, atol=1e-10 * np.abs(a[()]).max(), err_msg=name)
    f.visititems(same)


def check_table(joined, theirs, ours):
    """Check a table joined from those of another probe and of ridge. Only the encoders' names may have changed."""
    table, theirs, ours = (json.load(open(f'{d}/results.json')) for d in (joined, theirs, ours))
    lines = list(csv.DictReader(open(f'{joined}/results.csv')))
    assert [(r['task'], r['pooling']) for r in table] == [(t, p) for t in 'ab' for p in ('average', 'ridge') for _ in range(4)]
    assert [r for r in table if r['pooling'] == 'average'] == theirs
    notes = {n for r in table for n in r['notes']}
    for got, want, line in zip([r for r in table if r['pooling'] == 'ridge'], ours, [r for r in lines if r['pooling'] == 'ridge']):
        assert got['encoder'] == {'first_train': 'one', 'wide_train': 'two'}[want['encoder']] == line['encoder'], (got, line)
        for key in want:
            assert key in ('encoder', 'notes') or got[key] == want[key], (key, got[key], want[key])
        assert 0 <= got['mean_class'] <= 100 and got['top1_mean'] <= got['top5_mean'] <= 100 and got['class_count'] in (2, 4), got
    text = open(f'{joined}/results.md').read()  # also has a line for each difference of encoders
    assert text.count('| ridge |') == 4 and text.count('| average |') == 8 and text.count('random') == 0, text
    assert all(n in text for n in notes) and 'Epochs: ' in text, text


if sys.argv[1] == 'make':
    for side, (x, wide, labels) in zip(('train', 'val'), stores()):
        first = 0 if side == 'train' else 1000
        make_features(f'first_{side}.h5', x, labels, {'a': names}, digest=1, first_clip=first)
        make_features(f'wide_{side}.h5', wide, labels, {'a': names}, digest=2, first_clip=first)
        make_features(f'bare_{side}.h5', x, {}, first_clip=first)
        make_features(f'narrow_{side}.h5', x[:, :, :9], labels, digest=1, first_clip=first)
        if side == 'val':
            make_features('other_val.h5', x, labels, {'a': names}, digest=3, first_clip=first)
            a = np.array([shuffled.index(names[k]) if k >= 0 else -1 for k in labels['a']])
            make_features('shuffled_val.h5', x, {'a': a, 'b': labels['b']}, {'a': shuffled}, first_clip=first)
            make_features('wide_shuffled_val.h5', wide, {'a': a, 'b': labels['b']}, {'a': shuffled}, digest=2, first_clip=first)
            a = labels['a'].copy()
            a[3] = 2
            make_features('more_val.h5', x, {'a': a, 'b': labels['b']}, {'a': names[:2] + ['new'] + names[3:]}, first_clip=first)
        else:
            make_features('single_train.h5', x, {'a': labels['a'] * 0, 'b': labels['b']}, first_clip=first)
elif sys.argv[1] == 'files':
    check_files(*sys.argv[2:])
elif sys.argv[1] == 'table':
    check_table(*sys.argv[2:])
elif sys.argv[1] == 'same':
    compare(*sys.argv[2:])
else:
    check(sys.argv[1], len(sys.argv) > 2)
