#!/usr/bin/env python3
"""Counts the memory of PyTorch's step (peer_step.py) without a GPU: the step runs on tensors without data, and the bytes of
all tensors that are alive are added up. Prints the greatest sum.

peer_memory.py NAME RECOMPUTE CONTEXT TARGET CONTEXT TARGET

The arguments are those of peer_step.py. Without torch.compile, which saves less for the backward pass.
"""
import sys
import weakref

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

import peer_step


class Count(TorchDispatchMode):
    """Adds up the storages of all results of operations, each from its first tensor to its last."""

    def __init__(self):
        super().__init__()
        self.alive, self.bytes, self.most = set(), 0, 0

    def free(self, key, size):
        self.alive.discard(key)
        self.bytes -= size

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in tree_flatten(out)[0]:
            if not isinstance(tensor, torch.Tensor):
                continue
            storage = tensor.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key not in self.alive:
                self.alive.add(key)
                self.bytes += size
                self.most = max(self.most, self.bytes)
                weakref.finalize(storage, self.free, key, size)
        return out


def main():
    peer_step.DEVICE = "cpu"
    torch.nn.Module.compile = lambda self: None
    with FakeTensorMode(), Count() as count:
        step = peer_step.make_step(*peer_step.arguments())
        for _ in range(2):  # from the second step on there are moments
            count.most = 0
            step()
    print(f"PyTorch {torch.__version__} {' '.join(sys.argv[1:])}: {1e-9 * count.most:.2f} GB at most")


main()
