#!/usr/bin/env python3
"""Converts a vjepa checkpoint to a published V-JEPA checkpoint. Read main() first."""
import math

import program
from program import Misused, Refused

program.need("torch", "h5py", "numpy", "xxhash", "yaml")

import torch

import checkpoint
import probes
import published
from checkpoint import Reader
from settings import Settings

DESCRIPTION = """\
Converts a checkpoint of vjepa into one of the published V-JEPA code (PyTorch), with the names, prefixes and numbering
that its pretraining and evaluation load. Every checksum is verified and every tensor accounted for. Position tables are
computed. With the optimiser's moments the published pretraining can go on; it does so at whole epochs. The loss is not
in a vjepa checkpoint (NaN), and the loss scaler starts anew. All of it is in memory before it is written.

A probe's file becomes the `classifier` of V-JEPA, or, with blocks on the tokens or --classifiers, the one of the
`classifiers` of V-JEPA 2; weights only."""

EXAMPLE = """\
examples:
  python3 to_pytorch.py my-run/step_00090000.h5 my-latest.pth.tar
  python3 to_pytorch.py probe.h5 probe.pth.tar
  python3 to_pytorch.py --encoder-only my-run/step_00090000.h5 encoder.pth.tar     # for the published evaluation

exit codes: 0 done, 1 the file is not converted, 2 wrong option"""

# The state of a new torch.cuda.amp.GradScaler.
SCALER = {"scale": 65536.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000, "_growth_tracker": 0}


def expected_tensors(shape, has_moments):
    """Return {vjepa's name: dimensions} of all tensors."""
    encoder, predictor = published.encoder_tensors(shape), published.predictor_tensors(shape)
    parts = {"model/encoder": encoder, "model/predictor": predictor, "model/target": encoder}
    if has_moments:
        for moment in ("first_moment", "second_moment"):
            parts.update({f"optimizer/{moment}/encoder": encoder, f"optimizer/{moment}/predictor": predictor})
    return {f"{part}/{name}": dims for part, tensors in parts.items() for name, dims in tensors.items()}


def network(reader, part, names, table, width, shape):
    """Return a network's tensors with the names and the order of the published code."""
    found = {table: torch.from_numpy(published.table(width, shape.grid, shape.uniform_power))}
    found.update({name: torch.from_numpy(reader[f"model/{part}/{name}"]) for name in names})
    return {published.PREFIX + name: t for name, t in found.items()}


def optimiser(reader, config, ordered, updates):
    groups = published.adam_groups(ordered["encoder"], ordered["predictor"])
    state, param_groups, number = {}, [], 0
    for i, group in enumerate(groups):
        # The published schedules set lr and weight_decay of a group before each update, but not the decay of groups
        # with WD_exclude.
        excluded = {"WD_exclude": True} if i >= 2 else {}
        param_groups.append({"params": list(range(number, number + len(group))), **excluded,
                             "weight_decay": 0 if excluded else config["optimizer.weight_decay"],
                             "lr": config["optimizer.lr"], "eps": config["optimizer.eps"], "amsgrad": False,
                             "betas": (config["optimizer.beta1"], config["optimizer.beta2"])})
        for part, name in group:
            if name != published.TABLE[part]:
                state[number] = {"step": torch.tensor(float(updates)),
                                 "exp_avg": torch.from_numpy(reader[f"optimizer/first_moment/{part}/{name}"]),
                                 "exp_avg_sq": torch.from_numpy(reader[f"optimizer/second_moment/{part}/{name}"])}
            number += 1
    return {"state": state, "param_groups": param_groups}


def convert(arguments):
    program.refuse_existing(arguments.out)
    arguments.checkpoint = checkpoint.newest(arguments.checkpoint)
    if probes.is_ours(arguments.checkpoint):
        probes.to_published(arguments)
        return
    if arguments.classifiers:
        raise Misused(f"--classifiers belongs to probes; {arguments.checkpoint} is none")
    reader = Reader(arguments.checkpoint)
    config = Settings(reader.config, f"the configuration in {arguments.checkpoint}")
    shape, state = config.shape(), reader.state
    reader.check_architecture(shape)
    epoch, rest = divmod(state["step"], config["train.steps_per_epoch"])
    encoder = lambda part: network(reader, part, published.encoder_tensors(shape), "pos_embed", shape.width, shape)
    pixel = config["objective.kind"] == "pixel"
    if pixel and not arguments.encoder_only:
        raise Refused(f"{arguments.checkpoint} is of objective.kind pixel, whose predictor the published code does not "
                      "have; --encoder-only converts its encoder")

    part, key = ("encoder", "encoder") if pixel else ("target", "target_encoder")
    if arguments.encoder_only:
        expected = {f"model/{part}/{name}": dims for name, dims in published.encoder_tensors(shape).items()}
        found = {name: dims for name, dims in reader.dims.items() if name.startswith(f"model/{part}/")}
    else:
        expected = expected_tensors(shape, any(name.startswith("optimizer/") for name in reader.dims))
        found = reader.dims
    problems = published.differences("", found, expected)
    if problems:
        raise Refused(f"{arguments.checkpoint} does not fit its configuration:" + program.listed(problems))

    if arguments.encoder_only:
        content = {key: encoder(part), "epoch": epoch}
    else:
        predictor = network(reader, "predictor", published.predictor_tensors(shape), "predictor_pos_embed",
                            shape.predictor_width, shape)
        content = {"encoder": encoder("encoder"), "predictor": predictor, "opt": None, "scaler": SCALER,
                   "target_encoder": encoder("target"), "epoch": epoch, "loss": math.nan,
                   "batch_size": config["train.batch"], "world_size": 1, "lr": config["optimizer.lr"]}
        if "optimizer/first_moment/encoder/norm.bias" in reader.dims:
            ordered = {key: {name[len(published.PREFIX):]: tuple(t.shape) for name, t in content[key].items()}
                       for key in ("encoder", "predictor")}
            content["opt"] = optimiser(reader, config, ordered, state["step"] - state["bad_steps"])
        else:
            del content["opt"]
            print("  no moments: the published code can evaluate it, not train on")
    if rest and "opt" in content:
        print(f"  step {state['step']} is {rest} steps after epoch {epoch}: the published code would repeat these")
    program.publish(arguments.out, lambda part: torch.save(content, part))
    print(f"{arguments.out}: {', '.join(content)}")


def main():
    p = program.parser(DESCRIPTION, EXAMPLE)
    p.add_argument("checkpoint", metavar="CHECKPOINT.h5", help="or the folder of a run: its newest checkpoint")
    p.add_argument("out", metavar="OUT.pth.tar")
    p.add_argument("--encoder-only", action="store_true",
                   help="only the encoder that features come from: target_encoder; encoder after objective.kind pixel")
    p.add_argument("--classifiers", action="store_true", help="a probe of one block in V-JEPA 2's form")
    program.run(convert, p.parse_args())


if __name__ == "__main__":
    main()
