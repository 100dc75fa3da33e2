"""Reads and writes checkpoint files of vjepa (io/store/ckpt/ckpt.h) as a whole, in one process."""
import os
import re
import socket
import time

import h5py
import numpy as np
import xxhash

import program
from program import Refused

FORMAT, VERSION = "vjepa-checkpoint", 1
BLOCK_BYTES = 1 << 20
STATE = ("step", "samples", "seed", "bad_steps", "store_fingerprint")


def _sums(values):
    """Return a checksum for each block of rows (along the first axis). A block has the rows that fit in 1 MiB as
    float32, and at least one."""
    row = values[0].size
    rows = min(max(BLOCK_BYTES // (4 * row), 1), len(values))
    bytes_of = memoryview(np.ascontiguousarray(values)).cast("B")
    step = rows * row * values.itemsize
    return np.array([xxhash.xxh3_64_intdigest(bytes_of[at:at + step]) for at in range(0, len(bytes_of), step)],
                    dtype=np.uint64)


def put_text(item, name, text):
    """Write a text attribute of fixed length, as the programs write and read it."""
    data = text.encode()
    item.attrs.create(name, data, dtype=h5py.string_dtype("utf-8", len(data) + 1))


def put_head(file, name, version, code):
    """Write the attributes that every file of vjepa has (docs/formats.md)."""
    put_text(file, "format", name)
    file.attrs["version"] = np.int64(version)
    put_text(file, "code", code)
    put_text(file, "date", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    put_text(file, "hosts", socket.gethostname() or "unknown")
    file.attrs["ranks"] = np.int64(1)


def architecture(shape):
    """Return the attributes by which a checkpoint describes its encoder (vj_ckpt_architecture in io/store/ckpt/ckpt.h);
    shape is a settings.Shape."""
    return {"kind": "vit", "positions": "sincos", "width": shape.width, "depth": shape.depth, "heads": shape.heads,
            "hidden": shape.hidden, "patch": shape.patch, "tubelet": shape.tubelet, "channels": 3, "prefix_tokens": 0,
            "uniform_power": int(shape.uniform_power), "eps": float(np.float32(1e-6)), "frames": shape.frames,
            "height": shape.crop, "width_px": shape.crop}


def write(path, state, config, shape, tensors, code):
    """Write a checkpoint: `tensors` is {name: float32 array}, `state` has the numbers of STATE. The number of
    roll-backs is not written, which means zero."""

    def fill(part):
        # HDF5's format of version 1.8, as in all files of vjepa: it has checksums in HDF5's own structures, and the
        # length of the file in the superblock.
        with h5py.File(part, "w", libver=("v108", "v108")) as file:
            put_head(file, FORMAT, VERSION, code)
            for name, values in tensors.items():
                dataset = file.create_dataset(name, data=values, dtype="<f4")
                dataset.attrs["xxh3"] = _sums(values)
            group = file.create_group("state")
            for name in STATE:
                group.attrs[name] = (np.uint64 if name == "store_fingerprint" else np.int64)(state[name])
            group = file.create_group("architecture")
            for name, value in architecture(shape).items():
                if isinstance(value, str):
                    put_text(group, name, value)
                else:
                    group.attrs[name] = np.float64(value) if isinstance(value, float) else np.int64(value)
            put_text(file, "config", config)
            file.attrs["complete"] = np.int64(1)

    program.publish(path, fill)


def newest(path):
    """Return the newest checkpoint in the folder of a run. A path that is no folder is returned as it is."""
    if not os.path.isdir(path):
        return path
    found = [(int(name[5:-3]), name) for name in os.listdir(path) if re.fullmatch(r"step_[0-9]+[.]h5", name)]
    if not found:
        raise Refused(f"{path} is a folder without a checkpoint, step_*.h5")
    return os.path.join(path, max(found)[1])


class Reader:
    """An open checkpoint: its state, config and architecture ({} if the file does not say), and its tensors by name,
    each verified against its checksums when it is read."""

    def __init__(self, path):
        self.path = path
        if not h5py.is_hdf5(path):
            open(path, "rb").close()  # raises OSError if the path itself is wrong
            raise Refused(f"{path} is not an HDF5 file")
        self.file = h5py.File(path, "r")
        found = self._text("format"), self.file.attrs.get("version")
        if found != (FORMAT, VERSION):
            raise Refused(f"{path} is a {found[0]} of version {found[1]}, expected a {FORMAT} of version {VERSION}")
        if "complete" not in self.file.attrs:
            raise Refused(f"{path} is incomplete: its writer did not finish")
        self.config = self._text("config")
        state = self.file["state"].attrs if "state" in self.file else {}
        if self.config is None or not set(STATE) <= set(state):
            raise Refused(f"{path} lacks its configuration or the state: {', '.join(STATE)}")
        self.state = {name: int(state[name]) for name in STATE}
        stored = self.file["architecture"].attrs if "architecture" in self.file else {}
        self.architecture = {name: value.decode() if isinstance(value, bytes) else value.item()
                             for name, value in stored.items()}
        self.dims = {}
        self.file.visititems(lambda name, item: self.dims.update({name: item.shape})
                             if isinstance(item, h5py.Dataset) else None)

    def _text(self, name):
        value = self.file.attrs.get(name)
        return value.decode() if isinstance(value, bytes) else value

    def check_architecture(self, shape):
        """Refuse an encoder that the published code cannot run, or that is not that of the configuration. Older files
        do not describe their encoder."""
        want = architecture(shape)
        for name, found in self.architecture.items():
            if found != want.get(name):
                raise Refused(f"{self.path} holds an encoder with {name} {found}, its configuration says {want.get(name)}")

    def __getitem__(self, name):
        """Return a tensor as float32. An exported encoder may be stored as bf16, the upper halves of such numbers."""
        dataset = self.file[name]
        values = dataset.astype("<f4")[...]
        bf16 = dataset.id.get_type().get_size() == 2
        found = _sums((values.view("<u4") >> 16).astype("<u2") if bf16 else values)
        stored = dataset.attrs.get("xxh3", np.zeros(0))
        if found.shape != stored.shape:
            raise Refused(f"{self.path}: {name} has {stored.size} checksums, expected {found.size}")
        bad = np.flatnonzero(found != stored)
        if bad.size:
            raise Refused(f"{self.path} is damaged: block {bad[0]} of {name} does not fit its checksum")
        return values


def clips_fingerprint(stores):
    """Return the fingerprint that a checkpoint records of the clip stores it was trained on, in their order
    (io/store/clips/reader.c)."""
    value = None
    for store in stores:
        with h5py.File(f"{store}/index.h5", "r") as index:
            own = np.uint64(index.attrs["fingerprint"])
        value = int(own) if value is None else xxhash.xxh3_64_intdigest(own.tobytes(), seed=value)
    return value
