#!/usr/bin/env python3
"""A training step in PyTorch with the network and the numbers of tokens of gpu-check's step, for comparison.

peer_step.py NAME RECOMPUTE CONTEXT TARGET CONTEXT TARGET

RECOMPUTE is none or block. CONTEXT and TARGET are the tokens of a clip, for each of two masks, as gpu-check prints
them. The step uses PyTorch's fast means: scaled_dot_product_attention, torch.compile, fused AdamW, bf16 autocast.
"""
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

NETWORKS = {"L224": (1024, 24, 16, 224, 24), "H224": (1280, 32, 16, 224, 24), "H384": (1280, 32, 16, 384, 10)}
DEVICE = "cuda"
PREDICTOR_WIDTH, PREDICTOR_DEPTH, FRAMES = 384, 12, 16
WARM_UPS, STEPS = 3, 10


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Stack(nn.Module):
    def __init__(self, width, depth, heads, recompute):
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm, self.recompute = nn.LayerNorm(width, eps=1e-6), recompute
        for block in self.blocks:
            block.compile()

    def forward(self, x):
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.recompute and torch.is_grad_enabled() else block(x)
        return self.norm(x)


class Encoder(nn.Module):
    def __init__(self, width, depth, heads, tokens, recompute):
        super().__init__()
        self.patches = nn.Conv3d(3, width, (2, 16, 16), (2, 16, 16))
        self.register_buffer("positions", torch.randn(1, tokens, width))
        self.stack = Stack(width, depth, heads, recompute)

    def embed(self, clips):
        return self.patches(clips).flatten(2).transpose(1, 2) + self.positions


class Predictor(nn.Module):
    def __init__(self, width, heads, tokens, recompute):
        super().__init__()
        self.embed, self.out = nn.Linear(width, PREDICTOR_WIDTH), nn.Linear(PREDICTOR_WIDTH, width)
        self.mask_tokens = nn.Parameter(torch.zeros(2, 1, 1, PREDICTOR_WIDTH))
        self.register_buffer("positions", torch.randn(tokens, PREDICTOR_WIDTH))
        self.stack = Stack(PREDICTOR_WIDTH, PREDICTOR_DEPTH, heads, recompute)

    def forward(self, encoded, mask, context, target):
        seen = self.embed(encoded) + self.positions[context]
        hidden = (self.mask_tokens[mask] + self.positions[target]).to(seen.dtype)
        return self.out(self.stack(torch.cat([seen, hidden], 1))[:, context.shape[1] :])


def pick(x, index):
    return x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


def make_step(name, recompute, counts):
    width, depth, heads, crop, batch = NETWORKS[name]
    tokens = FRAMES // 2 * (crop // 16) ** 2
    with torch.device(DEVICE):
        encoder = Encoder(width, depth, heads, tokens, recompute)
        target_encoder = Encoder(width, depth, heads, tokens, False).requires_grad_(False)
        predictor = Predictor(width, heads, tokens, recompute)
        clips = torch.randn(batch, 3, FRAMES, crop, crop)
        order = [torch.rand(batch, tokens).argsort(1) for _ in range(2)]
    masks = [(order[m][:, : counts[2 * m]], order[m][:, counts[2 * m] : counts[2 * m] + counts[2 * m + 1]]) for m in range(2)]
    weights = [*encoder.parameters(), *predictor.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=1e-4, weight_decay=0.04, fused=True)
    average, averaged = list(target_encoder.parameters()), list(encoder.parameters())

    def step():
        with torch.autocast(DEVICE, torch.bfloat16):
            with torch.no_grad():
                goal = target_encoder.stack(target_encoder.embed(clips))
                goal = F.layer_norm(goal.float(), (width,))
            embedded, loss = encoder.embed(clips), 0
            for m, (context, target) in enumerate(masks):
                predicted = predictor(encoder.stack(pick(embedded, context)), m, context, target)
                loss = loss + (predicted.float() - pick(goal, target)).abs().mean() / 2
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 10.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            torch._foreach_lerp_(average, averaged, 0.002)
        return loss

    return step


def arguments():
    return sys.argv[1], sys.argv[2] == "block", [int(n) for n in sys.argv[3:7]]


def main():
    name, batch = sys.argv[1], NETWORKS[sys.argv[1]][4]
    torch.set_float32_matmul_precision("high")
    torch.manual_seed(0)
    step = make_step(*arguments())
    began = time.perf_counter()
    for _ in range(WARM_UPS):
        step().item()
    print(f"PyTorch {torch.__version__} on {torch.cuda.get_device_name()}: warm-up took {time.perf_counter() - began:.1f} s")
    torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(STEPS):
        torch.cuda.synchronize()
        began = time.perf_counter()
        loss = step().item()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    print(
        f"PyTorch {name}, batch {batch}, recompute {sys.argv[2]}: {1e3 * statistics.median(seconds):.3f} ms a step (median of {STEPS}, "
        f"{1e3 * min(seconds):.3f} to {1e3 * max(seconds):.3f}), loss {loss:.4f}, "
        f"{torch.cuda.max_memory_allocated() / 2**30:.3f} GiB allocated at most"
    )


if __name__ == "__main__":
    main()
