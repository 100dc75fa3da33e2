#!/usr/bin/env python3
"""One V-JEPA training step in PyTorch on the CPU, as an experienced user of PyTorch writes it. compare_pytorch.sh
compares vjepa-bench step with it. The step has a target encoder, two masks, L1 loss, AdamW and the moving average; its
clips are random, without a loader.

It measures speed only: masks are shared by the batch, position tables are random, one mask token serves both masks. The
masks keep as many tokens as tube masks of ratio 0.75 and 0.9. Prints one JSON object: step_s {min, median, max} of all
steps but the first, phases (best), peak_bytes, and how PyTorch was used.
"""
import argparse
import json
import math
import resource
import statistics
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

SIZES = {  # frames, side, patch; width, blocks and heads of the encoder; width, blocks and heads of the predictor
    'tiny': (16, 64, 8, 192, 12, 3, 96, 6, 3),
    'large': (16, 224, 16, 1024, 24, 16, 384, 12, 12),
}
MASKED = (0.75, 0.9)  # share of the cells of a frame that each mask hides
HAS_SDPA = hasattr(F, 'scaled_dot_product_attention')


class Block(nn.Module):
    def __init__(self, dim, heads, sdpa):
        super().__init__()
        self.heads, self.sdpa = heads, sdpa
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        if self.sdpa:
            o = F.scaled_dot_product_attention(q, k, v)
        else:
            o = (q @ k.transpose(-2, -1) / math.sqrt(d // self.heads)).softmax(-1) @ v
        x = x + self.proj(o.transpose(1, 2).reshape(b, n, d))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Encoder(nn.Module):
    def __init__(self, tokens, patch, dim, depth, heads, sdpa):
        super().__init__()
        self.patch = nn.Conv3d(3, dim, (2, patch, patch), (2, patch, patch))
        self.position = nn.Parameter(torch.randn(1, tokens, dim) * 0.02, requires_grad=False)
        self.blocks = nn.Sequential(*(Block(dim, heads, sdpa) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, clip, keep=None):
        x = self.patch(clip).flatten(2).transpose(1, 2) + self.position
        return self.norm(self.blocks(x if keep is None else x[:, keep]))


class Predictor(nn.Module):
    def __init__(self, tokens, enc_dim, dim, depth, heads, sdpa):
        super().__init__()
        self.embed = nn.Linear(enc_dim, dim)
        self.mask = nn.Parameter(torch.zeros(1, 1, dim))
        self.position = nn.Parameter(torch.randn(1, tokens, dim) * 0.02, requires_grad=False)
        self.blocks = nn.Sequential(*(Block(dim, heads, sdpa) for _ in range(depth)))
        self.norm, self.proj = nn.LayerNorm(dim, eps=1e-6), nn.Linear(dim, enc_dim)

    def forward(self, z, context, target):
        masked = (self.mask + self.position[:, target]).expand(z.shape[0], -1, -1)
        x = self.blocks(torch.cat([self.embed(z) + self.position[:, context], masked], 1))
        return self.proj(self.norm(x[:, len(context):]))


def make_adamw(params):
    """Return the fastest AdamW that this PyTorch has on the CPU. PyTorch 2.4 brought the fused one."""
    for option in ({'fused': True}, {'foreach': True}, {}):
        try:
            trial = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], **option)
            trial.param_groups[0]['params'][0].grad = torch.zeros(1)
            trial.step()
            return torch.optim.AdamW(params, 1e-4, weight_decay=0.04, **option), next(iter(option), 'plain')
        except (TypeError, RuntimeError):
            continue
    raise SystemExit('no AdamW works in this PyTorch')


class Laps:
    """Measures the seconds between calls, by name."""

    def __init__(self):
        self.seconds, self.last = {}, time.perf_counter()

    def __call__(self, name):
        now = time.perf_counter()
        self.seconds[name], self.last = now - self.last, now


def train_step(target, encoder, predictor, opt, clip, masks, bf16):
    lap = Laps()
    with torch.autocast('cpu', torch.bfloat16, enabled=bf16):
        with torch.no_grad():
            h = F.layer_norm(target(clip).float(), encoder.norm.normalized_shape)
        lap('target')
        zs = [encoder(clip, context) for context, _ in masks]
        lap('context')
        out = [predictor(z, c, m) for z, (c, m) in zip(zs, masks)]
        loss = sum((o.float() - h[:, m]).abs().mean() for o, (_, m) in zip(out, masks)) / len(masks)
        lap('predictor')
    loss.backward()
    lap('backward')
    opt.step()
    opt.zero_grad(set_to_none=True)
    with torch.no_grad():
        old = list(target.parameters())
        torch._foreach_mul_(old, 0.999)
        torch._foreach_add_(old, list(encoder.parameters()), alpha=0.001)
    lap('optimizer')
    return lap.seconds, loss.item()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--size', choices=SIZES, default='tiny')
    p.add_argument('--batch', type=int, default=4)
    p.add_argument('--steps', type=int, default=10, help='timed steps, after one that does not count')
    p.add_argument('--threads', type=int, default=2)
    p.add_argument('--dtype', choices=('fp32', 'bf16'), default='fp32', help='bf16: autocast, fp32 weights')
    p.add_argument('--compile', action='store_true', help='the transformer blocks through torch.compile')
    p.add_argument('--attention', choices=('naive', 'sdpa'), default='sdpa' if HAS_SDPA else 'naive')
    args = p.parse_args()
    if args.attention == 'sdpa' and not HAS_SDPA:
        p.error(f'PyTorch {torch.__version__} has no scaled_dot_product_attention, it came with 2.0')

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    frames, side, patch, dim, depth, heads, pdim, pdepth, pheads = SIZES[args.size]
    cells = (side // patch) ** 2
    tokens, sdpa = frames // 2 * cells, args.attention == 'sdpa'
    encoder, target = (Encoder(tokens, patch, dim, depth, heads, sdpa) for _ in range(2))
    predictor = Predictor(tokens, dim, pdim, pdepth, pheads, sdpa)
    target.load_state_dict(encoder.state_dict())
    target.requires_grad_(False)
    params = [w for m in (encoder, predictor) for w in m.parameters() if w.requires_grad]
    opt, adamw = make_adamw(params)
    state_bytes = 16 * sum(w.numel() for w in params) + 4 * sum(w.numel() for w in target.parameters())
    if args.compile:
        # Blocks of one network have the same code and shapes: one compilation serves them all, instead of one graph of
        # 12 to 24 blocks. The two masks keep different numbers of tokens; each gets kernels for its own fixed shape.
        for network in (target, encoder, predictor):
            for block in network.blocks:
                block.compile(dynamic=False)
    clip = torch.randn(args.batch, 3, frames, side, side)
    masks = []
    for share in MASKED:
        order, k = torch.randperm(tokens), frames // 2 * int(cells * (1.0 - share))
        masks.append((order[:k].sort()[0], order[k:].sort()[0]))

    steps, phases, loss = [], {}, 0.0
    for i in range(args.steps + 1):
        seconds, loss = train_step(target, encoder, predictor, opt, clip, masks, args.dtype == 'bf16')
        if i > 0:
            steps.append(sum(seconds.values()))
            phases = {k: min(v, phases.get(k, v)) for k, v in seconds.items()}
    print(json.dumps({
        'step_s': {'min': min(steps), 'median': statistics.median(steps), 'max': max(steps)}, 'phases': phases,
        'peak_bytes': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, 'state_bytes': state_bytes,
        'loss': loss,
        'tokens': tokens, 'context_rows': args.batch * sum(len(c) for c, _ in masks),
        'parameters': sum(w.numel() for w in params), 'precision': args.dtype, 'threads': args.threads,
        'pytorch': torch.__version__, 'attention': args.attention, 'adamw': adamw, 'compiled': args.compile}))


if __name__ == '__main__':
    main()
