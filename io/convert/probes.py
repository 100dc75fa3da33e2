"""
Converts attentive probes between those of the published code (`classifier` of V-JEPA, `classifiers` of V-JEPA 2's
sweep) and probe files of vjepa (docs/formats.md, Probe). Tensors have the same names and dimensions in both.
"""
import os
import re

import h5py
import numpy as np
import torch
import xxhash

import program
import published
from checkpoint import put_head, put_text
from program import Misused, Refused

FORMAT, VERSION = "vjepa-probe", 1
CROSS = "pooler.cross_attention_block."
UNUSED = {f"{CROSS}xattn.proj.weight", f"{CROSS}xattn.proj.bias"}  # V-JEPA has them, but never applies them
# Keys beside the weights. They are only needed to continue training the probe, which vjepa does not do.
LEFT = ("opt", "scaler", "epoch", "batch_size", "world_size", "lr")
# No tensor shows the number of heads. A probe of V-JEPA has as many as the encoder (by width), one of V-JEPA 2 has 16.
HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16}
HEADS_2 = 16
TEXTS = ("name", "task", "encoder", "kind", "features", "preset", "precision", "split", "description", "blocks_on")
NUMBERS = ("classes", "width", "heads", "depth", "norm_last", "tokens", "training_samples")
DIGESTS = ("seed", "encoder_digest", "train_digest", "split_digest", "class_digest", "probe_digest")


def expected(width, classes, depth):
    """Return {name: dimensions} of all tensors of a probe."""
    tensors = {
        "pooler.query_tokens": (1, 1, width),
        f"{CROSS}norm1.weight": (width,),
        f"{CROSS}norm1.bias": (width,),
        f"{CROSS}xattn.q.weight": (width, width),
        f"{CROSS}xattn.q.bias": (width,),
        f"{CROSS}xattn.kv.weight": (2 * width, width),
        f"{CROSS}xattn.kv.bias": (2 * width,),
        f"{CROSS}norm2.weight": (width,),
        f"{CROSS}norm2.bias": (width,),
        f"{CROSS}mlp.fc1.weight": (4 * width, width),
        f"{CROSS}mlp.fc1.bias": (4 * width,),
        f"{CROSS}mlp.fc2.weight": (width, 4 * width),
        f"{CROSS}mlp.fc2.bias": (width,),
    }
    for i in range(depth - 1):
        tensors.update(published.block(f"pooler.blocks.{i}", width, 4 * width))
    return {**tensors, "linear.weight": (classes, width), "linear.bias": (classes,)}


def weights_digest(tensors):
    """Return the digest of a probe's weights: the sum of its tensors' digests, in any order."""
    each = (xxhash.xxh3_64_intdigest(np.ascontiguousarray(t, "<f4").tobytes(), seed=xxhash.xxh3_64_intdigest(name.encode()))
            for name, t in tensors.items())
    return sum(each) % 2**64


def class_digest(names):
    digest = 0
    for name in names:
        digest = xxhash.xxh3_64_intdigest(name.encode() + b"\0", seed=digest)
    return digest


# ------------------------------------------------------------------------------------------------ from PyTorch


def is_published(content):
    return "classifier" in content or "classifiers" in content


def _choose(content, head):
    """Return the state of one classifier, and whether it is of V-JEPA 2."""
    if "classifiers" not in content:
        if head is not None:
            raise Misused("--head chooses one of the classifiers of a sweep; this file has one classifier")
        return content["classifier"], False
    states = content["classifiers"]
    if not isinstance(states, list) or not states:
        raise Refused("classifiers is not a list of states")
    if head is None and len(states) > 1:
        raise Misused(f"there are {len(states)} classifiers: give --head 0 to {len(states) - 1}, the one that did best")
    head = head or 0
    if not 0 <= head < len(states):
        raise Misused(f"--head {head}: there are classifiers 0 to {len(states) - 1}")
    return states[head], True


def _tensors(state):
    if not isinstance(state, dict) or not all(isinstance(t, torch.Tensor) for t in state.values()):
        raise Refused("a classifier is not a dictionary of tensors")
    if state and all(name.startswith("module.") for name in state):
        state = {name[len("module."):]: t for name, t in state.items()}
    if "linear.weight" not in state or state["linear.weight"].dim() != 2:
        raise Refused("this is no published attentive classifier: it has no matrix linear.weight")
    unused = UNUSED & state.keys()
    tensors = {name: t for name, t in state.items() if name not in unused}
    classes, width = state["linear.weight"].shape
    blocks = [int(found[1]) for found in (re.match(r"pooler\.blocks\.(\d+)\.", name) for name in tensors) if found]
    depth = 2 + max(blocks, default=-1)
    problems = published.differences("", published.dims(tensors), expected(width, classes, depth))
    problems += [f"{name} is of {t.dtype}, expected torch.float32" for name, t in tensors.items()
                 if t.dtype != torch.float32]
    if problems:
        raise Refused("tensors are not those of the published attentive classifier:" + program.listed(problems))
    return {name: t.contiguous().numpy() for name, t in tensors.items()}, bool(unused), width, classes, depth


def _class_names(path, classes):
    if path is None:
        return []
    with open(path, encoding="utf-8-sig") as file:
        names = [line.rstrip("\n") for line in file]
    if len(names) != classes or not all(names) or len(set(names)) != len(names):
        raise Misused(f"{path} has {len(names)} lines; expected {classes}, each the name of another class, in the order "
                      "of the classifier's outputs")
    return names


def _number_of_heads(given, width, second):
    heads = given or (HEADS_2 if second else HEADS.get(width))
    if not heads:
        raise Misused(f"the number of heads cannot be known: width {width} is no published one. Give --heads")
    if width % heads:
        raise Misused(f"{heads} heads do not divide the width {width}: give --heads")
    return heads


def from_published(content, arguments):
    unknown = [key for key in content if key not in LEFT + ("classifier", "classifiers")]
    if unknown:
        raise Refused(f"{arguments.checkpoint} has unexpected keys: {', '.join(map(str, unknown))}")
    if arguments.config or arguments.clips:
        raise Misused("--config and --clips belong to encoders, not to a probe")
    state, second = _choose(content, arguments.head)
    tensors, unused, width, classes, depth = _tensors(state)
    names = _class_names(arguments.class_names, classes)
    if names and not arguments.task:
        raise Misused("--class-names needs --task, the name of the label that has these classes")
    heads = _number_of_heads(arguments.heads, width, second)
    facts = dict.fromkeys(TEXTS, "") | dict.fromkeys(NUMBERS, 0) | dict.fromkeys(DIGESTS, 0)
    source = os.path.basename(arguments.checkpoint)
    facts.update(name=source, task=arguments.task or "", kind="attentive", preset="code", features="online",
                 description=f"from {source}, {content.get('epoch', 'no')} epochs",
                 blocks_on=arguments.blocks_on or ("tokens" if second else "query"), classes=classes, width=width,
                 heads=heads, depth=depth, class_digest=class_digest(names), probe_digest=weights_digest(tensors))
    for key in TEXTS:
        if len(facts[key].encode()) > 255:
            facts[key] = facts[key].encode()[:255].decode(errors="ignore")
    print(f"{arguments.checkpoint}: attentive, depth {depth}" + (f", blocks on the {facts['blocks_on']}" if depth > 1 else "")
          + f", width {width}, {heads} heads, {classes} classes")
    left = [key for key in LEFT if key in content] + (["xattn.proj, which is never applied"] if unused else [])
    print(f"  of no use to vjepa: {', '.join(left) or 'nothing'}")
    _write(arguments.out, facts, tensors, names, f"from_pytorch.py {source}")
    print(f"{arguments.out}: {len(tensors)} tensors, digest {facts['probe_digest']:016x}")


def _write(path, facts, tensors, names, code):
    def fill(part):
        with h5py.File(part, "w", libver=("v108", "v108")) as file:
            put_head(file, FORMAT, VERSION, code)
            for name in sorted(tensors):
                dataset = file.create_dataset(f"weights/{name}", data=tensors[name], dtype="<f4")
                dataset.attrs["xxh3"] = np.array([xxhash.xxh3_64_intdigest(dataset[...].tobytes())], np.uint64)
            if names:
                size = 1 + max(len(name.encode()) for name in names)
                stored = np.array([name.encode() for name in names], h5py.string_dtype("utf-8", size))
                dataset = file.create_dataset(f"classes/{facts['task']}", data=stored)
                dataset.attrs["xxh3"] = np.uint64(xxhash.xxh3_64_intdigest(stored.tobytes()))
            for key in TEXTS:
                put_text(file, key, facts[key])
            for key in NUMBERS:
                file.attrs[key] = np.int64(facts[key])
            for key in DIGESTS:
                file.attrs[key] = np.uint64(facts[key])
            file.attrs["labels"] = np.float64(100)
            file.attrs["complete"] = np.int64(1)

    program.publish(path, fill)


# ------------------------------------------------------------------------------------------------ to PyTorch


def is_ours(path):
    """Return whether a path is a probe file of vjepa. Files that cannot be opened are not; the next reader says why."""
    if not os.path.isfile(path) or not h5py.is_hdf5(path):
        return False
    with h5py.File(path, "r") as file:
        return file.attrs.get("format") == FORMAT.encode()


def _read(path):
    with h5py.File(path, "r") as file:
        if file.attrs.get("version") != VERSION or "complete" not in file.attrs:
            raise Refused(f"{path} is incomplete, or a {FORMAT} of version {file.attrs.get('version')}, not {VERSION}")
        facts = {key: file.attrs[key].decode() for key in TEXTS} | {key: int(file.attrs[key]) for key in NUMBERS + DIGESTS}
        tensors = {name: item[...] for name, item in file["weights"].items()}
        for name, values in tensors.items():
            if xxhash.xxh3_64_intdigest(values.tobytes()) != int(file[f"weights/{name}"].attrs["xxh3"][0]):
                raise Refused(f"{path} is damaged: {name} does not fit its checksum")
    if weights_digest(tensors) != facts["probe_digest"]:
        raise Refused(f"{path} is damaged: its tensors do not have their digest")
    return facts, tensors


def to_published(arguments):
    path = arguments.checkpoint
    if arguments.encoder_only:
        raise Misused(f"{path} is a probe: it has no encoder")
    facts, tensors = _read(path)
    if facts["kind"] != "attentive" or facts["norm_last"]:
        raise Refused(f"{path} is of kind {facts['kind']}" + (" with its norm behind the MLP" if facts["norm_last"] else "")
                      + ": the published code has no such probe")
    width, classes, depth = (facts[key] for key in ("width", "classes", "depth"))
    found = {name: t.shape for name, t in tensors.items()}
    problems = published.differences("", found, expected(width, classes, depth))
    if problems:
        raise Refused(f"{path} does not hold the tensors of its depth and width:" + program.listed(problems))
    second = depth > 1 and facts["blocks_on"] == "tokens" or arguments.classifiers
    if second and depth > 1 and facts["blocks_on"] == "query":
        raise Misused(f"{path} has blocks on the query, which V-JEPA 2 does not: leave --classifiers out")
    state = {f"module.{name}": torch.from_numpy(tensors[name]) for name in expected(width, classes, depth)}
    if not second:  # V-JEPA's classifier has a projection, which it never applies
        state.update({f"module.{CROSS}xattn.proj.weight": torch.zeros(width, width),
                      f"module.{CROSS}xattn.proj.bias": torch.zeros(width)})
    content = {"classifiers": [state]} if second else {"classifier": state}
    program.publish(arguments.out, lambda part: torch.save({**content, "epoch": 0}, part))
    print(f"{arguments.out}: {next(iter(content))}, {len(state)} tensors, {facts['heads']} heads")
