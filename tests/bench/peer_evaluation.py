#!/usr/bin/env python3
"""A frozen evaluation in PyTorch on the CPU, as an experienced user of PyTorch writes it after the released code.
compare_evaluation.sh compares vjepa-evaluate with it. It reads clips from a store that vjepa-pack or make_store wrote
(codec raw), and an encoder from a checkpoint of vjepa-pretrain. Attentive probes on all tokens are trained on views
drawn anew in every epoch, with no gradients for the encoder, and then measured on one centre view.

Several probes share the encoder's pass and differ in their initial weights. RandAugment goes through PIL, as in the
released code. Prints one JSON object: seconds of training and of measuring (imports and opening do not count), top-1 of
each probe, peak_bytes, and how PyTorch was used.
"""
import argparse
import json
import math
import random
import resource
import time

import h5py
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image, ImageEnhance, ImageOps

from peer_pytorch import HAS_SDPA, Encoder

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


# ---------------------------------------------------------------------------------------------------- clips and views

class Store:
    """A clip store: the frames [T, H, W, 3] and the label of each clip."""

    def __init__(self, path, task):
        with h5py.File(f'{path}/index.h5') as index:
            names = [bytes(n).rstrip(b'\0').decode() for n in index.attrs['label_names']]
            self.columns = {k: index[f'clips/{k}'][()] for k in ('shard', 'row', 'height', 'width')}
            self.labels = index['clips/label'][()][:, names.index(task)]
        self.path, self.files = path, {}

    def __len__(self):
        return len(self.labels)

    def frames(self, i):
        c, shard = self.columns, int(self.columns['shard'][i])
        if shard not in self.files:
            self.files[shard] = h5py.File(f'{self.path}/shard-{shard:05d}.h5')
        return self.files[shard][f"clips/{c['height'][i]}x{c['width'][i]}/frames"][int(c['row'][i])]


def affine(image, *coefficients):
    return image.transform(image.size, Image.AFFINE, coefficients, Image.BICUBIC, fillcolor=(128,) * 3)


OPERATIONS = (  # of RandAugment m7-n4-mstd0.5-inc1; each takes an image, the level m and a sign
    lambda x, m, s: ImageOps.autocontrast(x),
    lambda x, m, s: ImageOps.equalize(x),
    lambda x, m, s: ImageOps.invert(x),
    lambda x, m, s: x.rotate(s * 3 * m, Image.BICUBIC, fillcolor=(128,) * 3),
    lambda x, m, s: ImageOps.posterize(x, 4 - int(0.4 * m)),
    lambda x, m, s: ImageOps.solarize(x, 256 - int(25.6 * m)),
    lambda x, m, s: x.point([min(255, i + min(128, int(11 * m))) if i < 128 else i for i in range(256)] * 3),
    lambda x, m, s: ImageEnhance.Color(x).enhance(1 + s * 0.09 * m),
    lambda x, m, s: ImageEnhance.Contrast(x).enhance(1 + s * 0.09 * m),
    lambda x, m, s: ImageEnhance.Brightness(x).enhance(1 + s * 0.09 * m),
    lambda x, m, s: ImageEnhance.Sharpness(x).enhance(1 + s * 0.09 * m),
    lambda x, m, s: affine(x, 1, s * 0.03 * m, 0, 0, 1, 0),
    lambda x, m, s: affine(x, 1, 0, 0, s * 0.03 * m, 1, 0),
    lambda x, m, s: affine(x, 1, 0, s * 0.045 * m * x.size[0], 0, 1, 0),
    lambda x, m, s: affine(x, 1, 0, 0, 0, 1, s * 0.045 * m * x.size[1]),
)


def randaugment(frames):
    images = [Image.fromarray(f) for f in frames]
    for operation in random.choices(OPERATIONS, k=4):
        if random.random() < 0.5:
            m, sign = min(10.0, max(0.0, random.gauss(7, 0.5))), random.choice((-1, 1))
            images = [operation(x, m, sign) for x in images]
    return np.stack([np.asarray(x) for x in images])


def normalised(frames):
    x = torch.from_numpy(np.ascontiguousarray(frames)).permute(3, 0, 1, 2).float() / 255
    return (x - torch.tensor(MEAN).view(3, 1, 1, 1)) / torch.tensor(STD).view(3, 1, 1, 1)


def random_crop(x, side):
    height, width = x.shape[2:]
    for _ in range(10):
        area = random.uniform(0.08, 1) * height * width
        aspect = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top, left = random.randint(0, height - h), random.randint(0, width - w)
            break
    else:
        h = w = min(height, width)
        top, left = (height - h) // 2, (width - w) // 2
    part = x[:, :, top:top + h, left:left + w].transpose(0, 1)
    return F.interpolate(part, (side, side), mode='bilinear', align_corners=False).transpose(0, 1)


def erase(x, side):
    if random.random() >= 0.25:
        return x
    for _ in range(100):
        area = random.uniform(0.02, 1 / 3) * side * side
        aspect = math.exp(random.uniform(math.log(0.3), math.log(1 / 0.3)))
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if h < side and w < side:
            top, left = random.randint(0, side - h), random.randint(0, side - w)
            x[:, :, top:top + h, left:left + w] = torch.randn(3, x.shape[1], h, w)
            break
    return x


class Views(torch.utils.data.Dataset):
    def __init__(self, store, side, training, augment):
        self.store, self.side, self.training, self.augment = store, side, training, augment

    def __len__(self):
        return len(self.store)

    def __getitem__(self, i):
        frames, side = self.store.frames(i), self.side
        if self.training:
            x = random_crop(normalised(randaugment(frames) if self.augment else frames), side)
            return (erase(x, side) if self.augment else x).contiguous(), int(self.store.labels[i])
        height, width = frames.shape[1:3]
        short = side * 256 // 224
        size = (short, short * width // height) if height <= width else (short * height // width, short)
        x = F.interpolate(normalised(frames).transpose(0, 1), size, mode='bilinear', align_corners=False).transpose(0, 1)
        top, left = round((size[0] - side) / 2), round((size[1] - side) / 2)
        return x[:, :, top:top + side, left:left + side].contiguous(), int(self.store.labels[i])


# ---------------------------------------------------------------------------------------------------- networks

class Probe(nn.Module):
    """An attentive probe: one learned query that attends to all tokens, an MLP, and a linear layer."""

    def __init__(self, dim, heads, classes):
        super().__init__()
        self.heads, self.query = heads, nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.q, self.kv = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.linear = nn.Linear(dim, classes)
        for layer in (self.q, self.kv, self.fc1, self.fc2):
            nn.init.trunc_normal_(layer.weight, std=0.02, a=-2, b=2)
            nn.init.zeros_(layer.bias)
        self.fc2.weight.data.div_(math.sqrt(2))

    def forward(self, x):
        b, n, d = x.shape
        k, v = self.kv(self.norm1(x)).view(b, n, 2, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        q = self.q(self.query.expand(b, -1, -1)).view(b, 1, self.heads, d // self.heads).transpose(1, 2)
        if HAS_SDPA:
            o = F.scaled_dot_product_attention(q, k, v)
        else:
            o = (q @ k.transpose(-2, -1) / math.sqrt(d // self.heads)).softmax(-1) @ v
        y = self.query + o.transpose(1, 2).reshape(b, 1, d)
        y = y + self.fc2(F.gelu(self.fc1(self.norm2(y))))
        return self.linear(y[:, 0])


def positions(width, times, rows, columns):
    """Return the encoder's position table [tokens, width]: sines and cosines of time, row and column."""
    half = math.ceil(width / 6)
    rate = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    places = torch.cartesian_prod(*(torch.arange(n, dtype=torch.float64) for n in (times, rows, columns)))
    parts = [f(places[:, axis, None] * rate) for axis in range(3) for f in (torch.sin, torch.cos)]
    return torch.cat(parts, 1)[:, :width].float()


def load_encoder(path, args):
    grid = (args.frames // 2, args.side // args.patch, args.side // args.patch)
    with h5py.File(path) as f:
        weights, found = f['model/target'], {}
        weights.visititems(lambda name, d: found.__setitem__(name, torch.from_numpy(d[()])) if hasattr(d, 'shape') else None)
    found = {n.replace('patch_embed.proj', 'patch').replace('.attn.', '.').replace('.mlp.', '.'): w for n, w in found.items()}
    dim, depth = len(found['patch.weight']), 1 + max(int(n.split('.')[1]) for n in found if n.startswith('blocks.'))
    encoder = Encoder(math.prod(grid), args.patch, dim, depth, args.heads, HAS_SDPA)
    found['position'] = positions(dim, *grid)[None]
    encoder.load_state_dict(found)
    return encoder.eval().requires_grad_(False), dim


# ---------------------------------------------------------------------------------------------------- evaluation

def encode(encoder, clips, dtype):
    with torch.inference_mode(), torch.autocast('cpu', torch.bfloat16, enabled=dtype == 'bf16'):
        tokens = encoder(clips)
    return tokens.float().clone()  # a copy made outside of inference mode, which the probes' gradients may use


def train(encoder, probes, loader, args):
    options = {'fused': True} if args.fused else {}
    optimisers = [torch.optim.AdamW(p.parameters(), args.lr, weight_decay=0.01, **options) for p in probes]
    updates = args.epochs * len(loader)
    done = 0
    for _ in range(args.epochs):
        for clips, labels in loader:
            tokens = encode(encoder, clips, args.dtype)
            for probe, optimiser in zip(probes, optimisers):
                for group in optimiser.param_groups:
                    group['lr'] = args.lr * 0.5 * (1 + math.cos(math.pi * done / updates))
                F.cross_entropy(probe(tokens), labels).backward()
                torch.nn.utils.clip_grad_norm_(probe.parameters(), 1.0)
                optimiser.step()
                optimiser.zero_grad(set_to_none=True)
            done += 1


def measure(encoder, probes, loader, args):
    right, count = [0] * len(probes), 0
    for clips, labels in loader:
        tokens = encode(encoder, clips, args.dtype)
        with torch.inference_mode():
            for i, probe in enumerate(probes):
                right[i] += int((probe(tokens).softmax(-1).argmax(-1) == labels).sum())
        count += len(labels)
    return [100 * r / count for r in right]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('checkpoint')
    p.add_argument('train')
    p.add_argument('validation')
    p.add_argument('--task', default='motion')
    p.add_argument('--frames', type=int, default=16)
    p.add_argument('--side', type=int, default=64)
    p.add_argument('--patch', type=int, default=8)
    p.add_argument('--heads', type=int, default=3)
    p.add_argument('--probes', type=int, default=1)
    p.add_argument('--epochs', type=int, default=2)
    p.add_argument('--batch', type=int, default=16)
    p.add_argument('--encode', type=int, default=8, help='clips a pass when measuring')
    p.add_argument('--lr', type=float, default=1e-3)
    p.add_argument('--augment', action='store_true', help='RandAugment and erasing, else the random crop alone')
    p.add_argument('--threads', type=int, default=1)
    p.add_argument('--workers', type=int, default=0, help='processes that make views; 0: the one that computes')
    p.add_argument('--dtype', choices=('fp32', 'bf16'), default='fp32', help='of the encoder; bf16: autocast')
    p.add_argument('--compile', action='store_true', help='torch.compile the encoder')
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    random.seed(0)
    args.fused = tuple(int(n) for n in torch.__version__.split('+')[0].split('.')[:2] if n.isdigit()) >= (2, 4)

    train_store, validation_store = Store(args.train, args.task), Store(args.validation, args.task)
    encoder, dim = load_encoder(args.checkpoint, args)
    if args.compile:
        encoder = torch.compile(encoder)
    for batch in {args.batch, args.encode}:
        encode(encoder, torch.zeros(batch, 3, args.frames, args.side, args.side), args.dtype)
    probes = [Probe(dim, args.heads, 1 + max(train_store.labels.max(), validation_store.labels.max())) for _ in range(args.probes)]
    loader = torch.utils.data.DataLoader(Views(train_store, args.side, True, args.augment), args.batch, shuffle=True,
                                         num_workers=args.workers, persistent_workers=args.workers > 0)
    tested = torch.utils.data.DataLoader(Views(validation_store, args.side, False, False), args.encode,
                                         num_workers=args.workers)
    begin = time.perf_counter()
    train(encoder, probes, loader, args)
    middle = time.perf_counter()
    top1 = measure(encoder, probes, tested, args)
    print(json.dumps({
        'train_s': middle - begin, 'measure_s': time.perf_counter() - middle, 'top1': top1,
        'peak_bytes': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, 'threads': args.threads,
        'workers': args.workers, 'precision': args.dtype, 'pytorch': torch.__version__, 'compiled': args.compile,
        'attention': 'sdpa' if HAS_SDPA else 'naive'}))


if __name__ == '__main__':
    main()
