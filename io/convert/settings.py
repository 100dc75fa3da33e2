"""The settings of a vjepa configuration on which a checkpoint's tensors depend (src/base/settings.c has all)."""
import dataclasses

import yaml

from program import Misused

# The same defaults as in src/base/settings.c; tests/convert/convert.sh compares them.
DEFAULTS = {
    "run.seed": 234,
    "data.frames": 16,
    "data.crop": 224,
    "model.size": "large",
    "model.width": 0,
    "model.depth": 0,
    "model.heads": 0,
    "model.mlp_ratio": 0.0,
    "model.patch": 16,
    "model.tubelet": 2,
    "model.uniform_power": True,
    "predictor.width": 384,
    "predictor.depth": 12,
    "predictor.heads": 0,
    "objective.kind": "feature",
    "train.batch": 3072,
    "train.steps_per_epoch": 300,
    "optimizer.lr": 6.25e-4,
    "optimizer.weight_decay": 0.04,
    "optimizer.beta1": 0.9,
    "optimizer.beta2": 0.999,
    "optimizer.eps": 1e-8,
}
MASKS = 2  # the number of mask.generators if none are given

# model.size: width, depth, heads, mlp_ratio
SIZES = {
    "tiny": (192, 12, 3, 4.0),
    "small": (384, 12, 6, 4.0),
    "base": (768, 12, 12, 4.0),
    "large": (1024, 24, 16, 4.0),
    "huge": (1280, 32, 16, 4.0),
    "giant": (1408, 40, 16, 48.0 / 11.0),
}


@dataclasses.dataclass
class Shape:
    """The numbers on which a model's tensors depend, and the heads, which no tensor shows. None: not known (yet)."""

    width: int
    depth: int
    hidden: int
    patch: int
    tubelet: int
    frames: int = None
    crop: int = None
    uniform_power: bool = None
    heads: int = None
    predictor_width: int = None
    predictor_depth: int = None
    predictor_hidden: int = None
    predictor_heads: int = None
    mask_tokens: int = None

    @property
    def grid(self):
        """Return the numbers of tokens along time, rows and columns."""
        return self.frames // self.tubelet, self.crop // self.patch, self.crop // self.patch


# How messages name the settings that belong to the fields of a Shape.
KEYS = {
    "width": "model.width",
    "depth": "model.depth",
    "hidden": "model.mlp_ratio times model.width",
    "patch": "model.patch",
    "tubelet": "model.tubelet",
    "predictor_width": "predictor.width",
    "predictor_depth": "predictor.depth",
    "predictor_hidden": "model.mlp_ratio times predictor.width",
    "mask_tokens": "number of mask.generators",
}


class Settings:
    """A configuration. Its values are read by "section.key"."""

    def __init__(self, text, where):
        self.text, self.where = text, where
        try:
            self.tree = yaml.safe_load(text) or {}
        except yaml.YAMLError as e:
            raise Misused(f"{where} is no YAML: {e}") from None
        if not isinstance(self.tree, dict) or not all(isinstance(s, dict) for s in self.tree.values()):
            raise Misused(f"{where} is not a configuration of vjepa: sections with keys")

    def __getitem__(self, name):
        section, key = name.split(".")
        value, default = self.tree.get(section, {}).get(key, DEFAULTS[name]), DEFAULTS[name]
        try:
            # In YAML 1.1 a number without a point, such as 1e-8, is text.
            return float(value) if isinstance(default, float) else _same_type(value, default)
        except (TypeError, ValueError):
            raise Misused(f"{self.where}: {name} is {value!r}") from None

    def shape(self):
        size, width, depth = self["model.size"], self["model.width"], self["model.depth"]
        heads, ratio = self["model.heads"], self["model.mlp_ratio"]
        if size != "custom":
            if size not in SIZES:
                raise Misused(f"{self.where}: model.size is {size}, expected {', '.join(SIZES)} or custom")
            width, depth, heads, ratio = SIZES[size]
        elif 0 in (width, depth, heads):
            raise Misused(f"{self.where}: model.size custom needs model.width, model.depth and model.heads")
        ratio = ratio or 4.0
        return Shape(width, depth, int(width * ratio), self["model.patch"], self["model.tubelet"],
                     self["data.frames"], self["data.crop"], self["model.uniform_power"], heads,
                     self["predictor.width"], self["predictor.depth"], int(self["predictor.width"] * ratio),
                     self["predictor.heads"] or heads, len(self.tree.get("mask", {}).get("generators") or MASKS * [0]))


def _same_type(value, default):
    if type(value) is not type(default):
        raise TypeError
    return value


def size_of(shape):
    """Return the model.size of a shape whose heads are not known, or None if it is a custom one."""
    for name, (width, depth, _, ratio) in SIZES.items():
        if (width, depth, int(width * ratio)) == (shape.width, shape.depth, shape.hidden):
            return name
    return None


def published_text(shape, batch_size=None, world_size=None):
    """Return the text of a configuration for a checkpoint that came without one. It has the shape; all other settings
    keep the published values."""
    tree = {"data": {"frames": shape.frames, "crop": shape.crop},
            "model": {"size": size_of(shape), "patch": shape.patch, "tubelet": shape.tubelet,
                      "uniform_power": shape.uniform_power}}
    if shape.predictor_width:
        tree["predictor"] = {"width": shape.predictor_width, "depth": shape.predictor_depth,
                             "heads": shape.predictor_heads}
    if batch_size and world_size:  # the masks of a device's clips were cut to the shortest
        tree["mask"] = {"group": batch_size}
        tree["train"] = {"batch": batch_size * world_size, "microbatch": batch_size}
    return yaml.safe_dump(tree, sort_keys=False, default_flow_style=None)
