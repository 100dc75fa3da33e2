"""Check the attention.h5 of an evaluation of a checkpoint on val.clips: compute frames, encoder and attention again in
numpy. Arguments: the folder of the evaluation, the checkpoint, the name of the encoder, the number of clips in a sample
(segments), and the samples that attention.h5 should have."""
import math
import sys
import h5py
import numpy as np

FRAMES, CROP, PATCH, TUBELET, HEADS = 4, 32, 8, 2, 3                # as in tests/data/tiny.yaml
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
erf = np.vectorize(math.erf)


def norm(x, w, name, eps):
    return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + eps) * w[name + '.weight'] + w[name + '.bias']


def linear(x, w, name):
    return x @ w[name + '.weight'].T + w[name + '.bias']


def softmax(scores):
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def split(x, heads):
    return x.reshape(len(x), heads, -1)


def positions(width, t, y, x):
    axes = [2 * math.ceil(width / 6)] * 3
    def row(at): return [f(p / 10000 ** (k / (w // 2))) for w, p in zip(axes, at) for f in (math.sin, math.cos) for k in range(w // 2)]
    return np.array([row((a, b, c))[:width] for a in range(t) for b in range(y) for c in range(x)])


def encode(w, clip):
    """Return the tokens [tokens, D] of a clip u8 [T, H, W, 3]."""
    n = CROP // PATCH
    pixels = ((clip / 255 - MEAN) / STD).reshape(FRAMES // TUBELET, TUBELET, n, PATCH, n, PATCH, 3)
    patches = pixels.transpose(0, 2, 4, 6, 1, 3, 5).reshape(-1, 3 * TUBELET * PATCH * PATCH)
    kernel = w['patch_embed.proj.weight']
    x = patches @ kernel.reshape(len(kernel), -1).T + w['patch_embed.proj.bias'] + positions(len(kernel), FRAMES // TUBELET, n, n)
    for block in range(1 + max(int(name.split('.')[1]) for name in w if name.startswith('blocks.'))):
        name = f'blocks.{block}.'
        q, k, v = (split(part, HEADS) for part in np.split(linear(norm(x, w, name + 'norm1', 1e-6), w, name + 'attn.qkv'), 3, 1))
        a = softmax(np.einsum('qhd,khd->hqk', q, k) / math.sqrt(q.shape[2]))
        x = x + linear(np.einsum('hqk,khd->qhd', a, v).reshape(x.shape), w, name + 'attn.proj')
        hidden = linear(norm(x, w, name + 'norm2', 1e-6), w, name + 'mlp.fc1')
        x = x + linear(hidden * 0.5 * (1 + erf(hidden / math.sqrt(2))), w, name + 'mlp.fc2')
    return norm(x, w, 'norm', 1e-6)


def attention(w, heads, x):
    """Return the attention [heads, tokens] of a probe's query over tokens x [tokens, D]."""
    block, width = 'pooler.cross_attention_block.', x.shape[1]
    q = split(linear(w['pooler.query_tokens'].reshape(1, -1), w, block + 'xattn.q'), heads)[0]
    keys = linear(norm(x, w, block + 'norm1', 1e-5), w, block + 'xattn.kv')[:, :width]
    return softmax(np.einsum('hd,nhd->hn', q, split(keys, heads)) / math.sqrt(width / heads))


def read(group):
    found = {}
    group.visititems(lambda name, d: found.__setitem__(name, d[()].astype('f8')) if isinstance(d, h5py.Dataset) else None)
    return found


folder, checkpoint, encoder = sys.argv[1:4]
segments, expected = int(sys.argv[4]), [int(n) for n in sys.argv[5:]]
with h5py.File('val.clips/index.h5') as index, h5py.File('val.clips/shard-00000.h5') as shard:
    # Frames have 36 x 40 pixels. The view is their middle without scaling, since 32 * 256 / 224, rounded down, is 36.
    stored = [shard['clips/36x40/frames'][row][:, 2:34, 4:36] for row in index['clips/row']]
with h5py.File(checkpoint) as f:
    weights = read(f['model/target'])
with h5py.File(f'{folder}/attention.h5') as f:
    assert f.attrs['format'] == b'vjepa-attention' and list(f.attrs['grid']) == [2, 4, 4], dict(f.attrs)
    clips, frames = f['clip'][()], f['frames'][()]
    assert list(clips) == expected and frames.shape == (len(clips), segments, 2, 32, 32, 3), (clips, frames.shape)
    assert all(np.abs(frames[i, s].astype(int) - stored[clip + s][::TUBELET]).max() <= 1
               for i, clip in enumerate(clips) for s in range(segments))
    names = [n for n, _ in sorted(f['heads'].items(), key=lambda item: item[1].attrs['number'])]
    ours = [f'{task}.attentive.100.{encoder}.7' for task in ('colour', 'motion')]
    assert [n for n in names if n in ours] == ours, names
    tokens = [np.concatenate([encode(weights, stored[clip + s]) for s in range(segments)]) for clip in clips]
    uneven = 0
    for name in ours:
        with h5py.File(f'{folder}/probes/{name}.h5') as probe:
            probe, heads = read(probe['weights']), int(probe.attrs['heads'])
        for got, x in zip(f['heads'][name][()], tokens):
            want = attention(probe, heads, x)
            np.testing.assert_allclose(got.reshape(heads, -1), want, rtol=1e-3)
            uneven = max(uneven, want.max() / want.min())
    assert uneven > 1.1, 'attention that is even tests nothing'
