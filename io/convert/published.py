"""
The published V-JEPA checkpoint: the names and dimensions of its tensors, its position tables, and the numbering of its
optimiser's parameters. Tensors have the same names, dimensions and meaning in a checkpoint of vjepa. Position tables
are not stored there, since they follow from the configuration.
"""
import pickletools
import zipfile

import numpy as np
import torch

from program import Refused
from settings import Shape

KEYS = ("encoder", "predictor", "opt", "scaler", "target_encoder", "epoch", "loss", "batch_size", "world_size", "lr")
PREFIX = "module.backbone."  # from the wrapper for distributed training, and the one for several masks
TABLE = {"encoder": "pos_embed", "predictor": "predictor_pos_embed"}


def block(name, width, hidden):
    """Return {name: dimensions} of one transformer block."""
    return {
        f"{name}.norm1.weight": (width,),
        f"{name}.norm1.bias": (width,),
        f"{name}.attn.qkv.weight": (3 * width, width),
        f"{name}.attn.qkv.bias": (3 * width,),
        f"{name}.attn.proj.weight": (width, width),
        f"{name}.attn.proj.bias": (width,),
        f"{name}.norm2.weight": (width,),
        f"{name}.norm2.bias": (width,),
        f"{name}.mlp.fc1.weight": (hidden, width),
        f"{name}.mlp.fc1.bias": (hidden,),
        f"{name}.mlp.fc2.weight": (width, hidden),
        f"{name}.mlp.fc2.bias": (width,),
    }


def encoder_tensors(s: Shape):
    """Return {name: dimensions} of an encoder without its position table, in the published order, which numbers the
    optimiser's state."""
    tensors = {"patch_embed.proj.weight": (s.width, 3, s.tubelet, s.patch, s.patch),
               "patch_embed.proj.bias": (s.width,)}
    for i in range(s.depth):
        tensors.update(block(f"blocks.{i}", s.width, s.hidden))
    return {**tensors, "norm.weight": (s.width,), "norm.bias": (s.width,)}


def predictor_tensors(s: Shape):
    width = s.predictor_width
    tensors = {"predictor_embed.weight": (width, s.width), "predictor_embed.bias": (width,)}
    tensors.update({f"mask_tokens.{i}": (1, 1, width) for i in range(s.mask_tokens)})
    for i in range(s.predictor_depth):
        tensors.update(block(f"predictor_blocks.{i}", width, s.predictor_hidden))
    return {**tensors, "predictor_norm.weight": (width,), "predictor_norm.bias": (width,),
            "predictor_proj.weight": (s.width, width), "predictor_proj.bias": (s.width,)}


def table(width, grid, uniform_power):
    """Return the position table, float32 [1, tokens, width]: sines and cosines of time, row and column, cut to the
    width (docs/method.md, section 2)."""
    axis = (2 * ((width + 5) // 6),) * 3 if uniform_power else (width // 2, width // 4, width // 4)
    columns = []
    for w, coordinate in zip(axis, np.indices(grid).reshape(3, -1)):
        angle = coordinate[:, None] * 10000.0 ** (-np.arange(w // 2) / (w // 2))
        columns += [np.sin(angle), np.cos(angle)]
    return np.concatenate(columns, axis=1)[None, :, :width].astype(np.float32)


def adam_groups(encoder, predictor):
    """
    Return the optimiser's four groups as lists of (network, name). `encoder` and `predictor` are {name: dimensions} in
    the order of the checkpoint. They include the position tables, which have a number, but no state. Numbers run on
    through the groups.
    """
    networks = {"encoder": encoder, "predictor": predictor}
    return [[(network, name) for name, dims in networks[network].items() if decays(name, dims) == decay]
            for decay in (True, False) for network in networks]


def decays(name, dims):
    """Return whether weight decay applies to a tensor."""
    return len(dims) > 1 and "bias" not in name


# ------------------------------------------------------------------------------------------------ reading


# The only names to which a pickle of tensors in dictionaries refers. This file checks them itself, since before torch 2
# torch.load(weights_only=True) refuses even floating-point numbers.
PLAIN = {("collections", "OrderedDict"), ("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_parameter")}
IMPORTS = {"GLOBAL", "STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"}


def _check_plain(path):
    """Refuse a file whose pickle refers to anything that could run code. torch.save refers to names only by GLOBAL."""
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [name for name in archive.namelist() if name.endswith(".pkl")]
            if len(pickles) != 1 or not pickles[0].endswith("/data.pkl"):
                raise Refused(f"{path} is no archive of torch.save")
            text = archive.read(pickles[0])
    except zipfile.BadZipFile:
        raise Refused(f"{path} is not a file of torch.save, or one of a PyTorch before 1.6, which can run code: if you "
                      "trust where it is from, give --trust") from None
    for operation, argument, _ in pickletools.genops(text):
        if operation.name not in IMPORTS:
            continue
        module, _, name = str(argument).partition(" ")
        if (module, name) not in PLAIN and not (module in ("torch", "torch.storage") and name.endswith("Storage")):
            raise Refused(f"{path} refers to {module}.{name}, which is no tensor, number or container and could run "
                          "code: if you trust where it is from, give --trust")


def load(path, trust):
    """Return the dictionary that a checkpoint file holds."""
    if not trust:
        _check_plain(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=False)
    except OSError:
        raise
    except Exception as e:  # damaged files and other formats raise many kinds of errors
        reason = (str(e) or repr(e)).splitlines()[0]
        raise Refused(f"{path} cannot be read by torch {torch.__version__}: {reason}") from None
    if not isinstance(content, dict):
        raise Refused(f"{path} holds a {type(content).__name__}, expected the dictionary of a checkpoint")
    return content


def network(content, key):
    """Return the tensors of one network, without the wrappers' prefixes, or {} if the checkpoint has none."""
    tensors = content.get(key, {})
    if not isinstance(tensors, dict) or not all(isinstance(t, torch.Tensor) for t in tensors.values()):
        raise Refused(f"{key} is not a dictionary of tensors")
    for prefix in ("module.", "backbone."):
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name[len(prefix):]: t for name, t in tensors.items()}
    return tensors


def dims(tensors):
    return {name: tuple(t.shape) for name, t in tensors.items()}


def _depth(tensors, blocks):
    parts = [name.split(".") for name in tensors]
    return 1 + max((int(part[1]) for part in parts if part[0] == blocks and part[1].isdigit()), default=-1)


def shape_of(encoder, predictor):
    """Return the Shape that the dimensions show: all of it but frames, crop, uniform_power and heads."""
    needed = ["patch_embed.proj.weight", "blocks.0.mlp.fc1.weight"]
    missing = [name for name in needed if name not in encoder]
    if missing:
        raise Refused(f"this is no published V-JEPA encoder: it has no {' and no '.join(missing)}")
    patch = encoder["patch_embed.proj.weight"]
    if len(patch) != 5:
        raise Refused(f"patch_embed.proj.weight is {list(patch)}, expected [width, 3, tubelet, patch, patch]: "
                      "models of single images are not converted")
    shape = Shape(patch[0], _depth(encoder, "blocks"), encoder["blocks.0.mlp.fc1.weight"][0], patch[3], patch[2])
    if predictor:
        needed = ["predictor_embed.weight", "predictor_blocks.0.mlp.fc1.weight"]
        missing = [name for name in needed if name not in predictor]
        if missing:
            raise Refused(f"this is no published V-JEPA predictor: it has no {' and no '.join(missing)}")
        shape.predictor_width = predictor["predictor_embed.weight"][0]
        shape.predictor_depth = _depth(predictor, "predictor_blocks")
        shape.predictor_hidden = predictor["predictor_blocks.0.mlp.fc1.weight"][0]
        shape.mask_tokens = sum(name.startswith("mask_tokens.") for name in predictor)
    return shape


def differences(label, found, expected):
    """Return a line for each tensor that is missing, unexpected or of other dimensions."""
    lines = [f"{label}{name} is missing" for name in expected if name not in found]
    lines += [f"{label}{name} {list(found[name])} is unexpected" for name in found if name not in expected]
    lines += [f"{label}{name} is {list(found[name])}, expected {list(expected[name])}"
              for name in expected if name in found and found[name] != expected[name]]
    return lines
