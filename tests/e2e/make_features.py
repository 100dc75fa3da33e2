"""Write feature stores from arrays, as docs/formats.md describes them. Needs h5py, numpy and libxxhash."""
import ctypes
import h5py
import numpy as np

xxh = ctypes.CDLL('libxxhash.so.0')
xxh.XXH3_64bits_withSeed.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
xxh.XXH3_64bits_withSeed.restype = ctypes.c_uint64


def xxh3(data, seed=0):
    return xxh.XXH3_64bits_withSeed(data, len(data), seed)


def make_features(path, x, labels, classes=None, digest=1, first_clip=0):
    """Write a feature store of x [n, D] or [n, N, D]. labels is {name: [n]}, classes {name: [text]}; clips have the
    numbers first_clip to first_clip + n - 1."""
    x = np.ascontiguousarray(x[:, None] if x.ndim == 2 else x, 'f4')
    n = len(x)
    label = np.stack([np.asarray(v) for v in labels.values()], 1).astype('i4') if labels else np.zeros((n, 0), 'i4')
    clip = np.arange(first_clip, first_clip + n)
    with h5py.File(path, 'w', libver=('earliest', 'v108')) as f:
        f['features'], f['clip'] = x, clip
        f.create_dataset('label', data=label)
        f['label'].attrs['names'] = np.bytes_('\n'.join(labels) or '\0')
        f['clip_xxh3'] = np.array([xxh3(b'clip %d' % c) for c in clip], 'u8')
        f['xxh3'] = np.array([xxh3(c.tobytes(), xxh3(l.tobytes(), xxh3(r.tobytes()))) for r, l, c in zip(x, label, clip)], 'u8')
        for name, texts in (classes or {}).items():
            texts = np.array([t.encode() for t in texts], 'S32')
            f[f'classes/{name}'] = texts
            f[f'classes/{name}'].attrs['xxh3'] = np.uint64(xxh3(texts.tobytes()))
        for name, text in {'format': 'vjepa-features', 'config': '\n', 'encoder': path, 'preprocessing': 'none', 'code': 'test',
                           'date': 'today', 'hosts': 'here'}.items():
            f.attrs[name] = np.bytes_(text)
        f.attrs['version'], f.attrs['ranks'], f.attrs['effective_rank'] = np.int64(1), np.int64(1), 1.5
        f.attrs['store_fingerprint'], f.attrs['encoder_digest'] = np.uint64(7), np.uint64(digest)
        f.attrs['complete'] = np.int64(1)
