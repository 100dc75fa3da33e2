"""Make feature stores for spectrum_knn.sh (make), or check what vjepa-spectrum knn made of them (OUT DISTANCE SIDE)."""
import json
import sys
import h5py
import numpy as np
from make_features import make_features

TRAIN, VALIDATION, SHARED, K = 150, 41, 5, [1, 5, 20]


def make():
    rng = np.random.default_rng(3)
    n = TRAIN + VALIDATION
    shape, part = rng.integers(0, 7, n), rng.integers(0, 3, n)
    part[rng.random(n) < 0.4] = -1  # a label that many clips lack
    centres = rng.normal(size=(7, 37))
    cloud = 4 + centres[shape] + 1.5 * rng.normal(size=(n, 37))
    grid = rng.integers(-1, 3, (n, 3)).astype(float)  # many clips have the same features, and some zeros
    tokens = np.stack([cloud - 0.5, cloud + 0.5], 1)  # two tokens, whose mean is the cloud
    for side, first, last, clip in (('train', 0, TRAIN, 0), ('validation', TRAIN, n, TRAIN - SHARED)):
        labels = {'shape': shape[first:last], 'part': part[first:last]}
        make_features(f'cloud_{side}.h5', tokens[first:last], labels, digest=1, first_clip=clip)
        make_features(f'grid_{side}.h5', grid[first:last], labels, digest=2, first_clip=clip)


def load(name, side):
    with h5py.File(f'{name}_{side}.h5') as f:
        names = f['label'].attrs['names'].decode().split('\n')
        x = f['features'][()].astype('f8').mean(1).astype('f4').astype('f8')
        return x, dict(zip(names, f['label'][()].T)), f['clip'][()]


def similarities(q, x, distance):
    if distance == 'euclidean':
        return -np.square(q[:, None] - x[None]).sum(-1)
    norms = np.sqrt((q * q).sum(1))[:, None] * np.sqrt((x * x).sum(1))[None]
    return np.divide(q @ x.T, norms, out=np.zeros_like(norms), where=norms > 0)


def nearest(s, allowed):
    s = np.where(allowed, s, -np.inf)
    order = np.lexsort((np.broadcast_to(np.arange(s.shape[1]), s.shape), -s), axis=1)
    return order[:, :K[-1]]


def places(order, s, labels, truth, k, weighted):
    """Return for each query the place of its class among the classes with votes, from 0; 99 if it has none."""
    out = []
    for rows, sims, t in zip(order[:, :k], s, truth):
        votes, first = {}, {}
        for i, r in enumerate(rows):
            c = labels[r]
            votes[c] = votes.get(c, 0) + (np.exp(sims[r] / 0.07) if weighted else 1)
            first.setdefault(c, i)
        ranked = sorted(votes, key=lambda c: (-votes[c], first[c]))
        out.append(ranked.index(t) if t in ranked else 99)
    return np.array(out)


def check_accuracy(rows, name, s, mask, labels, truth, distance):
    for task in ('shape', 'part'):
        allowed = mask & (labels[task] >= 0)[None]
        order, asked = nearest(s, allowed), truth[task] >= 0
        for votes in ('majority', 'weighted') if distance == 'cosine' else ('majority',):
            for k in K:
                row, = [r for r in rows if (r['representation'], r['task'], r['votes'], r['k']) == (name, task, votes, k)]
                at = places(order[asked], s[asked], labels[task], truth[task][asked], k, votes == 'weighted')
                classes = truth[task][asked]
                want = {'queries': asked.sum(), 'top1': 100 * (at == 0).mean(), 'top5': 100 * (at < 5).mean(),
                        'class_mean': 100 * np.mean([(at[classes == c] == 0).mean() for c in np.unique(classes)])}
                for key, value in want.items():
                    assert abs(row[key] - value) < 1e-9, f'{name} {task} {votes} k={k}: {key} {row[key]}, expected {value}'


def check(out, distance, side):
    report = json.load(open(out[:-3] + '.json'))
    f = h5py.File(out)
    alone = side == 'train'
    assert (f.attrs['format'], f.attrs['command']) == (b'vjepa-analysis', b'knn') and f.attrs['leave_one_out'] == alone
    assert report['copies_of_training_clips'] == (0 if alone else SHARED)
    assert sorted(f['knn']) == (['cloud', 'grid'] if alone else ['cloud_train', 'grid_train'])
    for name in ('cloud', 'grid'):
        x, labels, clips = load(name, 'train')
        q, truth, asked_clips = load(name, side)
        s = similarities(q, x, distance)
        mask = ~np.eye(len(x), dtype=bool) if alone else np.ones(s.shape, bool)
        g = f['knn/' + (name if alone else name + '_train')]
        order = nearest(s, mask)
        got = g['neighbours'][()]
        assert (got == order).all(), f'{name}: query {np.argwhere(got != order)[0]} has other neighbours'
        want = np.take_along_axis(s, order, 1)
        value = g['similarity'][()] if distance == 'cosine' else -np.square(g['distance'][()].astype('f8'))
        # Similarities and distances are stored as f4, and distances are squared here.
        assert np.abs(value - want).max() <= 2.0 ** -22 * np.abs(want).max(), f'{name}: other similarities'
        assert (f['clip'][()] == clips).all()
        if not alone:
            assert (f['validation/clip'][()] == asked_clips).all()
        check_accuracy(report['knn_percent'], name if alone else name + '_train', s, mask, labels, truth, distance)


if __name__ == '__main__':
    make() if sys.argv[1] == 'make' else check(*sys.argv[1:])
