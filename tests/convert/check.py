#!/usr/bin/env python3
"""The Python side of convert.sh: makes checkpoints of the published layout, and compares (check.py COMMAND ...)."""
import json
import sys

import h5py
import numpy as np
import torch

from model import Classifier, Training, grid_of, pick, table


def shape_of(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def load(path, shape):
    return Training(shape_of(shape), 0).restore(torch.load(path))


def expect(truth, message):
    if not truth:
        sys.exit(message)


def make(out, shape, updates):
    """Write a checkpoint after some updates, and its moments under vjepa's names, found by way of the parameters."""
    training = Training(shape_of(shape), 1)
    for k in range(int(updates)):
        training.update(*training.batch(k))
    torch.save(training.checkpoint(), out)
    moments = {}
    for key in ("encoder", "predictor"):
        for name, p in getattr(training, key).module.backbone.named_parameters():
            if p.requires_grad:
                state = training.optimizer.state[p]
                moments[f"optimizer/first_moment/{key}/{name}"] = state["exp_avg"].numpy()
                moments[f"optimizer/second_moment/{key}/{name}"] = state["exp_avg_sq"].numpy()
    np.savez(f"{out}.npz", **moments)


def moments(checkpoint, published):
    want = np.load(f"{published}.npz")
    with h5py.File(checkpoint) as file:
        for name in want.files:
            expect(np.array_equal(file[name][...], want[name]), f"{checkpoint}: {name} differs")
        count = 0

        def visit(_, item):
            nonlocal count
            count += isinstance(item, h5py.Dataset)

        file["optimizer"].visititems(visit)
        expect(count == len(want.files), f"{checkpoint}: {count} moments, expected {len(want.files)}")


def features(published, shape, store, embedded):
    """Compare vjepa-embed's features with those of the published target encoder, for frames of the crop's size."""
    training = Training(shape_of(shape), 0)
    content = torch.load(published)
    training.target.load_state_dict(content["target_encoder"])
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    with h5py.File(f"{store}/shard-00000.h5") as file:
        shapes = [item for item in file["clips"].values() if isinstance(item, h5py.Group)]  # HxW; one here
        clips = (shapes[0]["frames"][...] / 255.0 - mean) / std
    with torch.no_grad():
        want = training.target.module.backbone(torch.from_numpy(clips.transpose(0, 4, 1, 2, 3)).float()).numpy()
    with h5py.File(embedded) as file:
        got = file["features"][...]
    expect(got.shape == want.shape, f"features {got.shape}, expected {want.shape}")
    error = np.linalg.norm(got - want) / np.linalg.norm(want)
    print(f"features {got.shape} differ by {error:.2g} of their norm")
    expect(error <= 1e-5, "features differ")  # 24 products after one another in float32; measured 1e-6


def fixture(converted, published, shape, out):
    """Write a file for vjepa-parity: the converted checkpoint's weights, and PyTorch's results with the original."""
    s = shape_of(shape)
    training = load(published, shape).double()
    clips, masks = training.batch(100)
    clips = clips.double()
    with h5py.File(out, "w") as file:
        file.attrs.update({"frames": s["frames"], "height": s["crop"], "width": s["crop"], "channels": 3,
                           "tubelet": s["tubelet"], "patch": s["patch"], "dim": s["width"], "depth": s["depth"],
                           "heads": s["heads"], "pred_dim": s["predictor_width"], "pred_depth": s["predictor_depth"],
                           "pred_heads": s["heads"], "mlp_ratio": 4.0, "mask_tokens": 2, "masks": 2,
                           "batch": len(clips), "uniform_power": int(s["uniform_power"]), "loss_exp": 1.0,
                           "reg_coeff": 0.0})
        with h5py.File(converted) as source:
            for part in ("encoder", "predictor", "target"):
                source.copy(f"model/{part}", file.require_group("weights"), name=part)
        file["inputs/clips"] = clips.numpy()
        for part, width in (("encoder", s["width"]), ("predictor", s["predictor_width"])):
            file[f"positions/{part}"] = table(width, grid_of(s), s["uniform_power"]).numpy()
        full, norm = training.targets(clips)
        file["f64/outputs/target_full"], file["f64/outputs/target_norm"] = full.numpy(), norm.numpy()
        losses, squares, spread = [], [], []
        for i, ((context, target), (z, p)) in enumerate(zip(masks, training.predictions(clips, masks))):
            file[f"inputs/mask{i}/context"] = context.int().numpy()
            file[f"inputs/mask{i}/target"] = target.int().numpy()
            error = p - pick(norm, target)
            losses.append(error.abs().mean())
            squares.append(error.square().mean() / 2)
            spread.append((p.var(dim=1) + 1e-4).sqrt())
            file[f"f64/outputs/mask{i}/encoder"] = z.detach().numpy()
            file[f"f64/outputs/mask{i}/predictor"] = p.detach().numpy()
            file[f"f64/outputs/mask{i}/loss"] = [losses[-1].item()]
        loss = sum(losses) / 2
        file["f64/outputs/loss"] = [loss.item()]
        file["f64/outputs/loss_exp2"] = [sum(squares).item() / 2]
        file["f64/outputs/spread_penalty"] = [torch.relu(1 - sum(spread) / 2).mean().item()]
        loss.backward()
        for key in ("encoder", "predictor"):
            for name, p in getattr(training, key).module.backbone.named_parameters():
                if p.requires_grad:
                    file[f"f64/gradients/{key}/{name}"] = p.grad.numpy()


def same(a, b):
    """
    Check that two published checkpoints have the same names in the same order, and that all tensors and numbers are the
    same. The target's table may differ: the moving average changes it by rounding, and the converter computes it anew.
    """

    def flat(content):
        for key in ("encoder", "predictor", "target_encoder"):
            for name, t in content[key].items():
                yield f"{key} {name}", t
        for number, state in sorted(content["opt"]["state"].items()):
            for name in ("step", "exp_avg", "exp_avg_sq"):
                yield f"opt {number} {name}", torch.as_tensor(state[name])
        for i, group in enumerate(content["opt"]["param_groups"]):
            yield f"opt group {i}", torch.tensor(group["params"])

    x, y = list(flat(torch.load(a))), list(flat(torch.load(b)))
    expect([name for name, _ in x] == [name for name, _ in y], f"{a} and {b} hold different names")
    for (name, t), (_, u) in zip(x, y):
        if name == "target_encoder module.backbone.pos_embed":
            expect(t.dtype == u.dtype and torch.allclose(t, u, rtol=0, atol=1e-6), f"{a} and {b} differ in {name}")
        else:
            expect(t.dtype == u.dtype and torch.equal(t, u), f"{a} and {b} differ in {name}")


def go_on(a, b, shape):
    """Check that the same update from two checkpoints gives the same weights: the optimiser's groups are right too."""
    ends = []
    for path in (a, b):
        training = load(path, shape)
        training.target.module.backbone.pos_embed.data.copy_(training.encoder.module.backbone.pos_embed)
        for group in training.optimizer.param_groups:
            group["lr"] = 1e-3
            if not group.get("WD_exclude"):
                group["weight_decay"] = 0.5
        training.update(*training.batch(200))
        ends.append(torch.cat([p.flatten() for n in (training.encoder, training.predictor, training.target)
                               for p in n.parameters()]))
    expect(torch.equal(*ends), f"an update from {a} and one from {b} differ")


def spoil(path, out, what):
    """Write a copy of a checkpoint with one thing wrong."""
    content = torch.load(path)
    name = "module.backbone.blocks.0.attn.qkv.bias"
    predictor, state = content["predictor"], content["opt"]["state"]
    if what == "key":
        content["ema"] = 1
    elif what == "missing":
        del content["encoder"][name]
    elif what == "unexpected":
        content["target_encoder"]["module.backbone.cls_token"] = torch.zeros(1, 1, 8)
    elif what == "dims":
        predictor["module.backbone.predictor_norm.bias"] = torch.zeros(5)
    elif what == "type":
        content["encoder"][name] = content["encoder"][name].half()
    elif what == "table":
        predictor["module.backbone.predictor_pos_embed"][0, 3, 5] += 1e-3
    elif what == "drift":  # what a moving average does to the target's table
        content["target_encoder"]["module.backbone.pos_embed"] *= 1 + 1e-5
    elif what == "moment":
        del state[max(state)]["exp_avg_sq"]
    elif what == "groups":
        content["opt"]["param_groups"].pop()
    elif what == "updates":
        for each in state.values():
            each["step"] = torch.tensor(90000.0)
    elif what == "epoch":  # as if all but 5 steps of a published epoch had been made
        for each in state.values():
            each["step"] = torch.tensor(295.0)
    elif what == "target":
        plain = {n.replace("module.backbone.", ""): t for n, t in content["target_encoder"].items()}
        content = {"target_encoder": plain}
    elif what == "object":
        content["loss"] = eval
    torch.save(content, out)


PROBE = {"width": 24, "heads": 3, "classes": 5}


def make_probe(out, depth, second):
    """Write a published probe. If it is V-JEPA 2's, it is the second of two classifiers."""
    torch.manual_seed(5)
    states = [{f"module.{name}": t for name, t in Classifier(**PROBE, depth=int(depth), second=second == "second").state_dict().items()}
              for _ in range(2)]
    more = {"opt": None, "scaler": None, "epoch": 20, "batch_size": 4, "world_size": 64}
    torch.save({"classifiers": states, **more} if second == "second" else {"classifier": states[1], **more, "lr": 1e-3}, out)


def probe_fixture(published, converted, depth, second, out):
    """Write a file for vjepa-parity: the converted probe's weights, and PyTorch's results with the published one."""
    content = torch.load(published)
    state = content["classifiers"][1] if second == "second" else content["classifier"]
    model = Classifier(**PROBE, depth=int(depth), second=second == "second")
    model.load_state_dict({name[len("module."):]: t for name, t in state.items()})
    model.double()
    torch.manual_seed(6)
    x, labels = torch.randn(3, 7, PROBE["width"], requires_grad=True), torch.tensor([4, 0, 2])
    pooled, logits = model(x.double())
    loss = torch.nn.functional.cross_entropy(logits, labels)
    loss.backward()
    variant = ("tokens" if second == "second" else "query") + depth
    with h5py.File(out, "w") as file, h5py.File(converted) as source:
        file.attrs.update({"batch": 3, "tokens": 7, "dim": PROBE["width"], "heads": PROBE["heads"],
                           "classes": PROBE["classes"]})
        source.copy("weights", file.require_group("weights"), name=variant)
        file[f"weights/{variant}"].attrs["depth"] = int(depth)
        file["inputs/features"], file["inputs/labels"] = x.detach().numpy(), labels.int().numpy()
        results = {"pooled": pooled.detach(), "logits": logits.detach(), "loss": loss.detach().reshape(1),
                   "gradient_features": x.grad.double()}
        for name, p in model.named_parameters():
            if "xattn.proj" not in name:
                results[f"gradients/{name}"] = p.grad
        for name, t in results.items():
            file[f"f64/{variant}/{name}"] = t.numpy()


def same_probe(a, b):
    """Check that two probes have the same tensors under the same names. The projection that is never applied is zero in
    `b`, which the converter wrote."""
    x, y = (torch.load(path) for path in (a, b))
    key = "classifiers" if "classifiers" in x else "classifier"
    x, y = (content[key][-1] if key == "classifiers" else content[key] for content in (x, y))
    expect(set(x) == set(y), f"{a} and {b} hold different names")
    for name, t in x.items():
        expect(torch.equal(t, y[name]) or ("xattn.proj" in name and not y[name].any()), f"{a} and {b} differ in {name}")


def probe_refusals(second, converted, published, checkpoint):
    """Check the messages about wrong probes and command lines, in one process, since loading torch takes seconds."""
    import re
    import shutil
    import from_pytorch
    import program
    import to_pytorch

    def refused(code, pattern, convert, path, out="refused.h5", **options):
        arguments = dict.fromkeys(("config", "clips", "heads", "head", "blocks_on", "task", "class_names"))
        arguments.update(no_optimizer=False, trust=False, encoder_only=False, classifiers=False, checkpoint=path, out=out)
        arguments.update(options)
        try:
            convert(type("Arguments", (), arguments))
        except program.Refused as e:
            expect(e.code == code and re.search(pattern, str(e)), f"{pattern}: refused with {e.code}, {e}")
        else:
            sys.exit(f"{pattern}: not refused")

    ours = from_pytorch.convert
    refused(2, "there are 2 classifiers: give --head 0 to 1", ours, second, heads=3)
    refused(2, "--head 2: there are classifiers 0 to 1", ours, second, heads=3, head=2)
    make_probe("first.pth.tar", "1", "first")
    with open("few.txt", "w", encoding="utf-8") as file:
        file.write("apple\npear\nplum\nfig\n")
    refused(2, "--head chooses one of", ours, "first.pth.tar", heads=3, head=0)
    refused(2, "width 24 is no published one. Give --heads", ours, "first.pth.tar")
    refused(2, "5 heads do not divide", ours, "first.pth.tar", heads=5)
    refused(2, "has 4 lines; expected 5", ours, "first.pth.tar", heads=3, task="fruit", class_names="few.txt")
    refused(2, "needs --task", ours, "first.pth.tar", heads=3, class_names="names.txt")
    refused(2, "belong to encoders", ours, "first.pth.tar", heads=3, config="config.yaml")
    refused(2, "--task belongs to probes", ours, published, task="fruit")
    refused(2, "it has no encoder", to_pytorch.convert, converted, encoder_only=True)
    refused(2, "belongs to probes", to_pytorch.convert, checkpoint, classifiers=True)
    for what, pattern in (("missing", "pooler.query_tokens is missing"), ("key", "unexpected keys: ema"),
                          ("dims", r"linear.bias is \[4\], expected \[5\]"), ("type", "of torch.float16")):
        content = torch.load("first.pth.tar")
        state = content["classifier"]
        if what == "missing":
            del state["module.pooler.query_tokens"]
        elif what == "dims":
            state["module.linear.bias"] = torch.zeros(4)
        elif what == "type":
            state["module.linear.bias"] = state["module.linear.bias"].half()
        else:
            content["ema"] = 1
        torch.save(content, "spoiled.pth.tar")
        refused(1, pattern, ours, "spoiled.pth.tar", heads=3)
    shutil.copy(converted, "damaged.h5")
    with h5py.File("damaged.h5", "r+") as file:
        file["weights/linear.bias"][3] = 7
    refused(1, "damaged: linear.bias", to_pytorch.convert, "damaged.h5")
    # A V-JEPA probe of one block becomes one of V-JEPA 2.
    plain = dict.fromkeys(("config", "clips", "head", "blocks_on", "task", "class_names"))
    ours(type("A", (), {**plain, "checkpoint": "first.pth.tar", "out": "one.h5", "heads": 3, "trust": False}))
    to_pytorch.convert(type("A", (), {"checkpoint": "one.h5", "out": "one.pth.tar", "encoder_only": False, "classifiers": True}))
    state = torch.load("one.pth.tar")["classifiers"][0]
    Classifier(**PROBE, depth=1, second=True).load_state_dict({name[len("module."):]: t for name, t in state.items()})


def settings(plain, *sized):
    """Check that the converters' defaults and sizes are those of the programs, as --print-config prints them."""
    from settings import DEFAULTS, SIZES, Settings

    def read(path):
        with open(path, encoding="utf-8") as file:
            return Settings(file.read(), path)

    printed, none = read(plain), Settings("", "")
    expect(printed.shape() == none.shape(), f"defaults: {printed.shape()}, {none.shape()}")
    for key in DEFAULTS:
        if not key.startswith(("model.", "predictor.")):
            expect(printed[key] == DEFAULTS[key], f"default of {key}: {printed[key]}, {DEFAULTS[key]}")
    for path in sized:
        printed = read(path)
        row = (printed["model.width"], printed["model.depth"], printed["model.heads"], printed["model.mlp_ratio"])
        expect(row == SIZES[printed["model.size"]], f"{path}: {row}, {SIZES[printed['model.size']]}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    commands = (make, moments, features, fixture, same, go_on, spoil, settings, make_probe, probe_fixture, same_probe,
                probe_refusals)
    {f.__name__: f for f in commands}[sys.argv[1]](*sys.argv[2:])
