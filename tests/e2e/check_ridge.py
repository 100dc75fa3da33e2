"""Make feature stores for ridge probes ("make"), or check what vjepa-spectrum ridge wrote of them."""
import sys
import h5py
import numpy as np
from make_features import make_features

names = ['red', 'green', '', 'blue', 'grey']       # of task a; no clip is of class 2
shuffled = ['blue', 'red', 'grey', 'green']        # the same in the validation features


def stores():
    """Rows of two encoders, labels of two tasks: a has planted directions and classes of unequal size; b is noise."""
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


def ridge(x, y, weight, penalty):
    """Weights and intercept by one direct solve: the intercept has no penalty."""
    X = np.c_[x, np.ones(len(x))]
    A = X.T @ (weight[:, None] * X) + np.diag([penalty] * x.shape[1] + [0])
    return np.linalg.solve(A, X.T @ (weight[:, None] * y))


def check_subset(x, y, balanced, ratio, held, held_y, got):
    C = y.max() + 1
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
        if l % 4 == 0:      # leave-one-out by leaving out
            left = np.array([np.r_[x[i], 1] @ ridge(np.delete(x, i, 0), np.delete(targets, i, 0), np.delete(weight, i), penalty)
                             for i in range(n)])
            errors.append(100 * weight @ (left.argmax(1) != y) / n)
            np.testing.assert_allclose(got['loo_squared'][l], weight @ np.sum((targets - left) ** 2, 1) / n, rtol=1e-8)
            assert abs(got['loo_error'][l] - errors[-1]) < 1e-9, (l, got['loo_error'][l], errors[-1])
    best = got['chosen']
    ties = np.flatnonzero(got['loo_error'] < got['loo_error'].min() + 1e-9)
    assert best == ties[got['loo_squared'][ties].argmin()], (best, got['loo_error'], got['loo_squared'])
    want = ridge(x, targets, weight, penalties[best])
    np.testing.assert_allclose(np.r_[got['weights'], got['intercept'][None]], want, rtol=1e-8, atol=1e-8)


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
                    if share == 0 and e == 0:     # all clips: which they are is known
                        keep = y >= 0
                        assert got['clips'] == keep.sum()
                        check_subset(x[keep], np.searchsorted(classes, y[keep]), balanced, f['ratio'][()], held[held_y >= 0],
                                     np.searchsorted(classes, held_y[held_y >= 0]), got)
                    assert np.isfinite(got['loo_squared']).all() and got['top1'].max() <= 100
    a, b = f['ridge/first_train/a'], f['ridge/first_train/b']
    assert a['top1'][0, 0, a['chosen'][0, 0]] > 85 > 65 > b['top1'][0, 0, b['chosen'][0, 0]], 'planted classes'
    half = np.maximum(1, np.rint(np.unique(train[2]['a'][train[2]['a'] >= 0], return_counts=True)[1] / 2)).sum()
    assert a['clips'][1, 0] == half and not np.array_equal(a['weights'][1, 0], a['weights'][1, 1]), a['clips'][()]
    assert np.array_equal(a['weights'][0, 0], a['weights'][0, 1])


def compare(path, other):
    f, g = h5py.File(path), h5py.File(other)
    def same(name, a):
        if isinstance(a, h5py.Dataset):
            tight = 'weights' not in name and 'intercept' not in name
            if a.dtype.kind == 'S' or name == 'label':
                return
            np.testing.assert_allclose(a[()], g[name][()], rtol=1e-10 if tight else 1e-7, atol=1e-10, err_msg=name)
    f.visititems(same)


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
elif sys.argv[1] == 'same':
    compare(*sys.argv[2:])
else:
    check(sys.argv[1], len(sys.argv) > 2)
