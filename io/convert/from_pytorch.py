#!/usr/bin/env python3
"""Converts a published V-JEPA checkpoint to a vjepa checkpoint. Read main() first."""
import dataclasses
import os

import program
from program import Misused, Refused

program.need("torch", "h5py", "numpy", "xxhash", "yaml")

import numpy as np
import torch

import checkpoint
import probes
import published
import settings

DESCRIPTION = """\
Converts a checkpoint of the published V-JEPA code (PyTorch) into a checkpoint of vjepa, for vjepa-embed and
vjepa-probe, and, with the optimiser's moments, for vjepa-pretrain to go on with.

Every key of the file is accounted for: what is missing, unexpected or of another shape is an error that names it. Sizes
are taken from the tensors; size of clips and kind of position table from the stored tables, which must be the
sine-cosine tables that vjepa computes itself; it does not keep them. The number of heads does not show in any tensor:
it is the published one of a published size, else it must come with --config. With --config everything is compared with
the configuration, whose text goes into the checkpoint. The file is read into memory as a whole.

A file with `classifier` (V-JEPA) or `classifiers` (V-JEPA 2) is an attentive probe, and becomes a probe's file of vjepa."""

EXAMPLE = """\
example, for the published ViT-L/16:
  python3 from_pytorch.py vitl16.pth.tar vitl16.h5
  vjepa-inspect --verify vitl16.h5
  mpirun -n 2 vjepa-embed jobs/configs/vitl16_224.yaml --encoder vitl16.h5 --store k400.clips --out k400.h5

to go on with the training of it on other clips (longer than its 300 epochs: train.epochs):
  python3 from_pytorch.py vitl16.pth.tar my-run/ --clips my.clips
  mpirun -n 2 vjepa-pretrain jobs/configs/vitl16_224.yaml --set run.dir=my-run --set data.train='[my.clips]' ...

a published attentive probe, with the names of its classes, one a line in the order of its outputs:
  python3 from_pytorch.py k400-probe.pth.tar k400-probe.h5 --task k400 --class-names k400_names.txt
  vjepa-inspect k400-probe.h5

exit codes: 0 done, 1 the file is not converted, 2 wrong option or configuration"""

FROM_KEY = {"encoder": "encoder", "predictor": "predictor", "target": "target_encoder"}
# Largest accepted differences from the computed position tables. Those of encoder and predictor are as they were made.
# The target's went through the moving average, whose rounding changed it by 7e-5 in the published 90000 updates.
TABLE_TOLERANCE = {"encoder": 1e-6, "predictor": 1e-6, "target": 3e-4}


# ------------------------------------------------------------------------------------------------ tables


def table_error(found, shape):
    """Return the largest difference from the table of a shape; infinite if the shape has no such table, or for NaN."""
    tokens, width = found.shape[1:]
    if np.prod(shape.grid) != tokens or (not shape.uniform_power and width % 8):
        return np.inf
    error = np.abs(found - published.table(width, shape.grid, shape.uniform_power)).max()
    return error if np.isfinite(error) else np.inf


def clip_shapes(shape, tokens):
    """Yield all shapes whose clips are square and have this number of tokens, with either kind of table."""
    for side in range(1, int(tokens**0.5) + 1):
        if tokens % (side * side) == 0:
            clip = {"frames": tokens // (side * side) * shape.tubelet, "crop": side * shape.patch}
            for uniform_power in (True, False):
                yield dataclasses.replace(shape, uniform_power=uniform_power, **clip)


def describe_clip(shape):
    power = "" if shape.uniform_power else ", uniform_power false"
    return f"{shape.frames} frames of {shape.crop} x {shape.crop}{power}"


def check_table(key, name, found, candidates):
    """Return the candidate that has the table `found`, and the largest difference. Refuse a table that none has."""
    if found.ndim != 3 or found.shape[0] != 1:
        raise Refused(f"{key}: {name} is {list(found.shape)}, expected [1, tokens, width]")
    errors = [(table_error(found, shape), i) for i, shape in enumerate(candidates)]
    error, best = min(errors, default=(np.inf, 0))
    if not error <= TABLE_TOLERANCE[key]:
        nearest = f"; it is off by {error:.3g} from that of {describe_clip(candidates[best])}" if error < np.inf else ""
        raise Refused(f"{key}: {name} {list(found.shape)} is not the sine-cosine table that vjepa computes{nearest}")
    return candidates[best], error


def check_tables(tables, shape, given):
    """Return the shape, with frames, crop and uniform_power found by the tables unless they are given, and a text about
    the tables."""
    said = []
    for key, found in tables.items():
        name = published.TABLE["predictor" if key == "predictor" else "encoder"]
        candidates = [shape] if given or said else list(clip_shapes(shape, found.shape[1] if found.ndim == 3 else 0))
        shape, error = check_table(key, name, found, candidates)
        said.append(f"{key} within {error:.1g}")
    return shape, ", ".join(said)


# ------------------------------------------------------------------------------------------------ shape


def reconcile(shape, config):
    """Return the shape of a configuration. It must agree with the shape that was found from the tensors."""
    want = config.shape()
    for field, key in settings.KEYS.items():
        found = getattr(shape, field)
        if found is not None and found != getattr(want, field):
            raise Misused(f"{config.where}: {key} is {getattr(want, field)}, the checkpoint has {found}")
    return want


def published_shape(shape):
    """Return the shape with the numbers of heads of its published size; for a checkpoint without a configuration."""
    size = settings.size_of(shape)
    if size is None:
        raise Misused(f"the number of heads cannot be known: width {shape.width} and depth {shape.depth} are no "
                      "published size. Give --config with model.size custom and model.heads")
    if shape.predictor_width and shape.mask_tokens != settings.MASKS:
        raise Misused(f"there are {shape.mask_tokens} mask tokens, the published masks are {settings.MASKS}: give "
                      "--config with the mask.generators of the training")
    heads = settings.SIZES[size][2]
    return dataclasses.replace(shape, heads=heads, predictor_heads=heads)


def check_networks(networks, shape):
    problems = []
    for key, tensors in networks.items():
        expected = published.predictor_tensors(shape) if key == "predictor" else published.encoder_tensors(shape)
        problems += published.differences(f"{FROM_KEY[key]}: ", published.dims(tensors), expected)
        problems += [f"{FROM_KEY[key]}: {name} is of {t.dtype}, expected torch.float32"
                     for name, t in tensors.items() if t.dtype != torch.float32]
    if problems:
        raise Refused("tensors are not those of the published layout:" + program.listed(problems))


# ------------------------------------------------------------------------------------------------ optimiser


def moments(opt, networks):
    """Return the tensors of the two moments under vjepa's names, and the number of updates; ({}, None) without any."""
    if not isinstance(opt, dict) or set(opt) != {"state", "param_groups"}:
        raise Refused("opt is not the state of a PyTorch optimiser: a dictionary of state and param_groups")
    if not opt["state"]:
        return {}, None
    groups = published.adam_groups(networks["encoder"], networks["predictor"])
    found = [group["params"] for group in opt["param_groups"]]
    if [len(g) for g in found] != [len(g) for g in groups]:
        raise Refused(f"opt has groups of {[len(g) for g in found]} parameters, expected {[len(g) for g in groups]}: "
                      "encoder and predictor with decay, encoder and predictor without")
    names = {number: name for numbers, group in zip(found, groups) for number, name in zip(numbers, group)}
    tables = {number for number, (network, name) in names.items() if name == published.TABLE[network]}

    problems, tensors, steps = [], {}, set()
    for number in opt["state"].keys() - (names.keys() - tables):
        problems.append(f"state {number} belongs to " + (f"{'.'.join(names[number])}, a fixed table"
                                                         if number in tables else "no parameter"))
    for number, (network, name) in names.items():
        if number in tables:
            continue
        state = dict(opt["state"].get(number, {}))
        dims = tuple(networks[network][name])
        for key, moment in (("exp_avg", "first_moment"), ("exp_avg_sq", "second_moment")):
            t = state.pop(key, None)
            if not isinstance(t, torch.Tensor) or tuple(t.shape) != dims or t.dtype != torch.float32:
                has = f"{list(t.shape)} of {t.dtype}" if isinstance(t, torch.Tensor) else "missing"
                problems.append(f"{key} of {network}.{name} (state {number}) is {has}, "
                                f"expected {list(dims)} of float32")
            else:
                tensors[f"optimizer/{moment}/{network}/{name}"] = t
        steps.add(int(state.pop("step", -1)))
        problems += [f"{key} of {network}.{name} (state {number}) is unexpected" for key in state]
    if not problems and len(steps) != 1:
        problems.append(f"parameters have different numbers of updates: {sorted(steps)}")
    if problems:
        raise Refused("opt is not the AdamW state of the published code; --no-optimizer leaves it out:"
                      + program.listed(problems))
    return tensors, steps.pop()


# ------------------------------------------------------------------------------------------------ state


def number(content, key):
    value = content.get(key)
    if value is None or (isinstance(value, int) and value >= 0):
        return value
    raise Refused(f"{key} is {value!r}, expected a number")


def make_state(content, config, updates, clips):
    epochs, batch_size, world_size = (number(content, key) for key in ("epoch", "batch_size", "world_size"))
    step = (epochs or 0) * config["train.steps_per_epoch"]
    batch = config["train.batch"]
    if batch_size and world_size and batch_size * world_size != batch:
        raise Misused(f"{config.where}: train.batch is {batch}, the checkpoint was trained with {batch_size} clips on "
                      f"each of {world_size} devices, {batch_size * world_size}")
    skipped = step - updates if updates is not None else 0
    # The loss scaler skips a few steps. If many more are missing, the number of steps is wrong.
    if not 0 <= skipped <= 20 + step // 100:
        raise Misused(f"the optimiser made {updates} updates, but {epochs} epochs of train.steps_per_epoch "
                      f"{config['train.steps_per_epoch']} ({config.where}) are {step}: give --config with the right "
                      "number")
    return {"step": step, "samples": step * batch, "seed": config["run.seed"], "bad_steps": skipped,
            "store_fingerprint": checkpoint.clips_fingerprint(clips.split(",")) if clips else 0}


def convert(arguments):
    if not os.path.isdir(arguments.out):
        program.refuse_existing(arguments.out)
    content = published.load(arguments.checkpoint, arguments.trust)
    if probes.is_published(content):
        probes.from_published(content, arguments)
        return
    for option in ("heads", "head", "blocks_on", "task", "class_names"):
        if getattr(arguments, option) is not None:
            raise Misused(f"--{option.replace('_', '-')} belongs to probes; {arguments.checkpoint} has no classifier")
    unknown = [key for key in content if key not in published.KEYS]
    if unknown:
        raise Refused(f"{arguments.checkpoint} has unexpected keys: {', '.join(map(str, unknown))}; a checkpoint of "
                      f"the published pretraining has {', '.join(published.KEYS)}")
    networks = {key: published.network(content, name) for key, name in FROM_KEY.items()}
    networks = {key: tensors for key, tensors in networks.items() if tensors}
    encoder = networks.get("target", networks.get("encoder"))
    if encoder is None:
        raise Refused(f"{arguments.checkpoint} has neither target_encoder nor encoder")
    ordered = {key: published.dims(tensors) for key, tensors in networks.items()}

    shape = published.shape_of(published.dims(encoder), ordered.get("predictor"))
    config = None
    if arguments.config:
        with open(arguments.config, encoding="utf-8") as file:
            config = settings.Settings(file.read(), arguments.config)
    shape = reconcile(shape, config) if config else published_shape(shape)
    tables = {}
    for key, tensors in networks.items():
        name = published.TABLE["predictor" if key == "predictor" else "encoder"]
        if name not in tensors:
            raise Refused(f"{FROM_KEY[key]}: {name} is missing")
        tables[key] = tensors.pop(name).numpy()
    check_networks(networks, shape)
    shape, said = check_tables(tables, shape, config is not None)
    if config is None:
        text = settings.published_text(shape, number(content, "batch_size"), number(content, "world_size"))
        config = settings.Settings(text, "the published configuration")

    print(f"{arguments.checkpoint}: encoder {shape.width} x {shape.depth}, {shape.heads} heads; clips of "
          f"{describe_clip(shape)}, patch {shape.patch}, tubelet {shape.tubelet}; {content.get('epoch', 'no')} epochs")
    print(f"  position tables as computed: {said}")
    adam, updates = {}, None
    if arguments.no_optimizer or content.get("opt") is None:
        print("  without the optimiser's moments: vjepa-pretrain cannot go on from it")
    elif not {"encoder", "predictor"} <= networks.keys():
        raise Refused("opt numbers the tensors of encoder and predictor, which are not both there; --no-optimizer "
                      "leaves it out")
    else:
        adam, updates = moments(content["opt"], ordered)
        print(f"  moments of {updates} updates" if adam else "  opt is empty: no moments")
    left = [key for key in ("scaler", "loss", "lr") if key in content]
    print(f"  of no use to vjepa: {', '.join(left) or 'nothing'}")
    state = make_state(content, config, updates, arguments.clips)

    tensors = {f"model/{key}/{name}": t for key, each in networks.items() for name, t in each.items()}
    path = arguments.out
    if os.path.isdir(path):
        path = os.path.join(path, f"step_{state['step']:08d}.h5")
    checkpoint.write(path, state, config.text, shape, {name: t.numpy() for name, t in {**tensors, **adam}.items()},
                     f"from_pytorch.py {os.path.basename(arguments.checkpoint)}")
    print(f"{path}: step {state['step']}, {len(tensors) + len(adam)} tensors")


def main():
    p = program.parser(DESCRIPTION, EXAMPLE)
    p.add_argument("checkpoint", metavar="CHECKPOINT.pth.tar")
    p.add_argument("out", metavar="OUT.h5", help="file to write, or a run folder, where it is step_<step>.h5")
    p.add_argument("--config", metavar="CONFIG.yaml", help="the configuration of vjepa that the model belongs to")
    p.add_argument("--clips", metavar="NAME.clips[,...]",
                   help="clip stores that vjepa-pretrain will go on with (data.train)")
    p.add_argument("--no-optimizer", action="store_true", help="leave the optimiser's moments out")
    p.add_argument("--heads", type=int, metavar="N", help="of a probe, where the width is no published one")
    p.add_argument("--head", type=int, metavar="K", help="which classifier of a sweep, from 0")
    p.add_argument("--blocks-on", choices=("query", "tokens"),
                   help="what the blocks of a deep probe work on; default: query of a classifier, tokens of classifiers")
    p.add_argument("--task", metavar="LABEL", help="the label whose classes a probe tells apart")
    p.add_argument("--class-names", metavar="NAMES.txt", help="their names, one a line, in the order of its outputs")
    p.add_argument("--trust", action="store_true",
                   help="unpickle any Python object in the file, which can run code of its author's")
    program.run(convert, p.parse_args())


if __name__ == "__main__":
    main()
