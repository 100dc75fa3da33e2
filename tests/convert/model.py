"""
A V-JEPA model whose tensors have the published names, order, prefixes and optimiser groups. It was written for these
tests from the description of the method, and shares no code with io/convert. Weights, biases and gains are random, and
none is trivial.
"""
import copy
import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        clips, tokens, width = x.shape
        q, k, v = self.qkv(x).reshape(clips, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(2, 3) / math.sqrt(width // self.heads)).softmax(dim=3)
        return self.proj((weights @ v).transpose(1, 2).reshape(clips, tokens, width))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Module()
        self.mlp.fc1 = nn.Linear(width, 4 * width)
        self.mlp.fc2 = nn.Linear(4 * width, width)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp.fc2(F.gelu(self.mlp.fc1(self.norm2(x))))


def table(width, grid, uniform_power):
    """Compute the position table [tokens, width] in double, entry by entry."""
    axes = [2 * math.ceil(width / 6)] * 3 if uniform_power else [width // 2, width // 4, width // 4]
    rows = []
    for t in range(grid[0]):
        for y in range(grid[1]):
            for x in range(grid[2]):
                row = []
                for w, at in zip(axes, (t, y, x)):
                    angles = [at / 10000 ** (k / (w // 2)) for k in range(w // 2)]
                    row += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
                rows.append(row[:width])
    return torch.tensor(rows, dtype=torch.float64)


def fixed(x):
    return nn.Parameter(x[None].float(), requires_grad=False)


def pick(x, index):
    return torch.gather(x, 1, index[:, :, None].expand(-1, -1, x.shape[2]))


class Encoder(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.patch_embed = nn.Module()
        kernel = (s["tubelet"], s["patch"], s["patch"])
        self.patch_embed.proj = nn.Conv3d(3, s["width"], kernel, kernel)
        self.pos_embed = fixed(table(s["width"], grid_of(s), s["uniform_power"]))
        self.blocks = nn.ModuleList(Block(s["width"], s["heads"]) for _ in range(s["depth"]))
        self.norm = nn.LayerNorm(s["width"], eps=1e-6)

    def forward(self, clips, keep=None):
        x = self.patch_embed.proj(clips).flatten(2).transpose(1, 2) + self.pos_embed
        if keep is not None:
            x = pick(x, keep)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class Predictor(nn.Module):
    def __init__(self, s):
        super().__init__()
        width = s["predictor_width"]
        self.predictor_embed = nn.Linear(s["width"], width)
        self.mask_tokens = nn.ParameterList(nn.Parameter(torch.zeros(1, 1, width)) for _ in range(2))
        self.predictor_pos_embed = fixed(table(width, grid_of(s), s["uniform_power"]))
        self.predictor_blocks = nn.ModuleList(Block(width, s["heads"]) for _ in range(s["predictor_depth"]))
        self.predictor_norm = nn.LayerNorm(width, eps=1e-6)
        self.predictor_proj = nn.Linear(width, s["width"])

    def forward(self, z, context, target, mask):
        positions = self.predictor_pos_embed.expand(len(z), -1, -1)
        x = self.predictor_embed(z) + pick(positions, context)
        x = torch.cat([x, self.mask_tokens[mask] + pick(positions, target)], dim=1)
        for block in self.predictor_blocks:
            x = block(x)
        return self.predictor_proj(self.predictor_norm(x)[:, context.shape[1]:])


def grid_of(s):
    return s["frames"] // s["tubelet"], s["crop"] // s["patch"], s["crop"] // s["patch"]


def wrap(network):
    """Return the network inside two modules, so that its tensors get the prefixes of the published wrappers."""
    outer, inner = nn.Module(), nn.Module()
    outer.module, inner.backbone = inner, network
    return outer


class Classifier(nn.Module):
    """An attentive classifier of the published layout. With `second` it is V-JEPA 2's: blocks work on tokens first."""

    def __init__(self, width, heads, classes, depth, second):
        super().__init__()
        self.heads, self.second = heads, second
        pooler = self.pooler = nn.Module()
        pooler.query_tokens = nn.Parameter(torch.zeros(1, 1, width))
        cross = pooler.cross_attention_block = nn.Module()
        cross.norm1 = nn.LayerNorm(width)
        cross.xattn = nn.Module()
        cross.xattn.q = nn.Linear(width, width)
        cross.xattn.kv = nn.Linear(width, 2 * width)
        if not second:
            cross.xattn.proj = nn.Linear(width, width)  # never applied
        cross.norm2 = nn.LayerNorm(width)
        cross.mlp = nn.Module()
        cross.mlp.fc1 = nn.Linear(width, 4 * width)
        cross.mlp.fc2 = nn.Linear(4 * width, width)
        if depth > 1:
            pooler.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth - 1))
            for block in pooler.blocks:
                block.norm1.eps = block.norm2.eps = 1e-5
        self.linear = nn.Linear(width, classes)
        for name, p in self.named_parameters():
            p.data.normal_(1.0 if "norm" in name and "weight" in name else 0.0, 0.5 / math.sqrt(p.shape[-1]))

    def apart(self, x):
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def forward(self, x):
        blocks, cross = getattr(self.pooler, "blocks", []), self.pooler.cross_attention_block
        for block in blocks if self.second else []:
            x = block(x)
        query = self.pooler.query_tokens.expand(len(x), -1, -1)
        k, v = (self.apart(each) for each in cross.xattn.kv(cross.norm1(x)).chunk(2, dim=2))
        q = self.apart(cross.xattn.q(query))
        weights = (q @ k.transpose(2, 3) / math.sqrt(q.shape[3])).softmax(dim=3)
        y = query + (weights @ v).transpose(1, 2).flatten(2)
        y = y + cross.mlp.fc2(F.gelu(cross.mlp.fc1(cross.norm2(y))))
        for block in [] if self.second else blocks:
            y = block(y)
        return y[:, 0], self.linear(y[:, 0])


class Training:
    """Encoder, predictor, target, and AdamW with the parameter groups of the published code."""

    def __init__(self, s, seed):
        torch.manual_seed(seed)
        self.s = s
        self.encoder, self.predictor = wrap(Encoder(s)), wrap(Predictor(s))
        for network in (self.encoder, self.predictor):
            for name, p in network.named_parameters():
                if p.requires_grad:
                    gain = p.dim() == 1 and "bias" not in name
                    p.data.normal_(1.0 if gain else 0.0, 0.7 / math.sqrt(p.shape[-1]) if p.dim() == 2 else 0.1)
        self.target = copy.deepcopy(self.encoder)
        for p in self.target.parameters():
            p.requires_grad = False
        plain = lambda name, p: "bias" in name or p.dim() == 1
        groups = [[p for name, p in network.named_parameters() if plain(name, p) == without_decay]
                  for without_decay in (False, True) for network in (self.encoder, self.predictor)]
        self.optimizer = torch.optim.AdamW([{"params": groups[0]}, {"params": groups[1]},
                                            {"params": groups[2], "WD_exclude": True, "weight_decay": 0},
                                            {"params": groups[3], "WD_exclude": True, "weight_decay": 0}], lr=1e-3,
                                           weight_decay=0.04)

    def targets(self, clips):
        h = self.target.module.backbone(clips)
        return h, F.layer_norm(h, h.shape[2:])

    def predictions(self, clips, masks):
        """Yield (encoded context, predictions) for each mask."""
        for i, (context, target) in enumerate(masks):
            z = self.encoder.module.backbone(clips, context)
            yield z, self.predictor.module.backbone(z, context, target, i)

    def loss(self, clips, masks):
        with torch.no_grad():
            _, h = self.targets(clips)
        each = [(p - pick(h, target)).abs().mean()
                for (_, p), (_, target) in zip(self.predictions(clips, masks), masks)]
        return sum(each) / len(each)

    def update(self, clips, masks):
        self.optimizer.zero_grad()
        loss = self.loss(clips, masks)
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            for p, q in zip(self.encoder.parameters(), self.target.parameters()):
                q.mul_(0.9).add_(0.1 * p)
        return loss.item()

    def double(self):
        for network in (self.encoder, self.predictor, self.target):
            network.double()
        return self

    def batch(self, seed, clips=3):
        """Return random clips and two masks; contexts and targets have different lengths and ascending indices."""
        generator = torch.Generator().manual_seed(seed)
        s, tokens = self.s, math.prod(grid_of(self.s))
        masks = []
        for context, target in ((tokens // 3, tokens // 2), (tokens // 8, tokens // 2)):
            order = torch.stack([torch.randperm(tokens, generator=generator) for _ in range(clips)])
            masks.append((order[:, :context].sort().values, order[:, context:context + target].sort().values))
        return torch.randn(clips, 3, s["frames"], s["crop"], s["crop"], generator=generator), masks

    def checkpoint(self, **more):
        return {"encoder": self.encoder.state_dict(), "predictor": self.predictor.state_dict(),
                "opt": self.optimizer.state_dict(), "scaler": {"scale": 65536.0, "_growth_tracker": 0},
                "target_encoder": self.target.state_dict(), "epoch": 1, "loss": 0.5, "batch_size": 6, "world_size": 2,
                "lr": 1e-3, **more}

    def restore(self, content):
        for key, network in (("encoder", self.encoder), ("predictor", self.predictor), ("target_encoder", self.target)):
            network.load_state_dict(content[key])
        if "opt" in content:
            self.optimizer.load_state_dict(content["opt"])
        return self
