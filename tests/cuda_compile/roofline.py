#!/usr/bin/env python3
"""Computes a training step's time on one H100, kernel by kernel, from the instructions in the kernels' loops and from
what the kernels compute and move:
    roofline.py [--check | --write | --detail] FOLDER
FOLDER has what run.sh compiled. operations/NETWORK.txt lists what a step computes; gpu-check work NETWORK prints it
(tests/gpu/work.c). The script prints the tables of docs/roofline.md, writes them there, or checks that they are there;
with --detail it also prints each product and attention by its shape. docs/roofline.md says what is assumed; nothing is
measured."""
import collections
import math
import os
import re
import shutil
import sys

import machine_code

# ---------------------------------------------------------------------------------------------- the GPU, and what is assumed

PEAK, PROCESSORS = 989e12, 132
CLOCK = PEAK / PROCESSORS / 4096  # 1.83 GHz: a multiprocessor's tensor cores do 4096 FLOP in bf16 per cycle
BYTES_S = 3.35e12
MEMORY = 0.9  # the share of BYTES_S that kernels reach
PRACTICE = 0.75  # the share of the speed allowed by their instructions that kernels reach
MMA = 0.62  # the largest share of PEAK that mma.sync reaches
LIBRARY = 0.70  # the share of PEAK that cuBLASLt reaches
GAP = 1.5e-6  # seconds from a kernel to the next
HANDOVER = 60  # cycles from the end of one warp group's turn until the other group goes on
FAR, NEAR = 800, 300  # cycles to wait for data from memory, and for data that other blocks have read before
SCHEDULERS, LANES = 4, 32
MUFU, ALU, SHARED = 16, 64, 128  # per cycle: exponentials or reciprocals, integers or comparisons, shared bytes
ALU_NAMES = set("IADD3 LOP3 SHF PRMT ISETP FSETP FMNMX SEL FSEL LEA VIADD F2FP I2FP PLOP3 VIMNMX IMNMX".split())
NARROW = 64  # the width of a narrow tile is a multiple of it (product_wgmma.cu)
OWN_ROWS = 128  # in a tile of attention (attention_wgmma.cu, attention_tiles.cu)
SUM_ROWS = 64  # whose columns attention's backward pass sums together (attention.h)
NETWORKS = {"L224": "ViT-L/16 224, 24 clips", "H224": "ViT-H/16 224, 24 clips", "H384": "ViT-H/16 384, 10 clips"}
HERE = os.path.dirname(os.path.abspath(__file__))
PAGE, CLUSTER = HERE + "/../../docs/roofline.md", HERE + "/../../jobs/configs/cluster_h100.yaml"
BEGIN, END = "<!-- tests/cuda_compile/roofline.py --write: from here -->\n", "<!-- to here -->\n"


def shared_bytes(x):
    """Return the bytes of shared memory that an instruction of a warp accesses; for wgmma, those of its warp group."""
    name = machine_code.opcode(x)
    if name == "HGMMA":
        wide = int(re.search(r"64x(\d+)x16", x.name)[1])
        registers = re.search(r"^R\d+, R\d+,", x.rest)
        return wide * 32 + (0 if registers else 64 * 32)
    if name == "LDSM":
        return LANES * 16 if x.name.endswith(".4") else LANES * 8
    if name == "SHFL":
        return LANES * 4
    if name in ("LDS", "STS", "LDGSTS"):
        return LANES * (16 if ".128" in x.name else 8 if ".64" in x.name else 4)
    return 0


def units(path, warps):
    """Return the cycles of each unit of a multiprocessor for `warps` warps with these instructions, without wgmma."""
    cycles = collections.Counter()
    for x in path:
        name = machine_code.opcode(x)
        cycles["instructions"] += warps / SCHEDULERS
        if name == "MUFU":
            cycles["exponentials"] += warps * LANES / MUFU
        if name in ALU_NAMES:
            cycles["comparisons"] += warps * LANES / ALU
        if name == "HMMA":
            cycles["tensor cores"] += warps * (4096 if "16816" in x.name else 2048) / (4096 * MMA)
        if name != "HGMMA":
            cycles["shared memory"] += warps * shared_bytes(x) / SHARED
    return cycles


def wgmma_cycles(x):
    """Return the cycles of a wgmma: those of the tensor cores, or those of reading shared memory if they are more."""
    return max(int(re.search(r"64x(\d+)x16", x.name)[1]) / 2, shared_bytes(x) / SHARED)


def operations(path, beside):
    """
    Return the list of what a warp group does in a loop: ("work", cycles of each unit), ("product", cycles),
    ("commit",), ("wait", number of groups of products that may still be under way), and ("take",) and ("end",) of its
    turn. `beside` is the number of instructions of other warps for each instruction of these.
    """
    ops, part, turns = [], [], turns_of(path)

    def work():
        cycles = units(part, 4)
        cycles["instructions"] *= 1 + beside
        if part:
            ops.append(("work", cycles))
        part.clear()

    for i, x in enumerate(path):
        part.append(x)
        name, say = machine_code.opcode(x), []
        if name == "HGMMA":
            say = [("product", wgmma_cycles(x))] + [("commit",)] * ("gsb0" in x.rest)
        elif x.name.startswith("WARPGROUP.DEPBAR"):
            say = [("wait", int(x.rest.split(",")[1], 16))]
        elif i in turns:
            say = [(turns[i],)]
        if say:
            work()
            ops += say
    work()
    return ops


def turns_of(path):
    """
    Return {place in the path: "take" or "end"}. Where groups take turns, a group waits at a barrier in shared memory
    before its products, and arrives at the other group's barrier right after them. No other arrival comes between
    products and the wait for them.
    """
    names = "HGMMA", "SYNCS.PHASECHK", "SYNCS.ARRIVE", "WARPGROUP.DEPBAR"
    met = [(i, name) for i, x in enumerate(path) for name in names if x.name.startswith(name)]
    pairs = list(zip(met, met[1:]))
    turns = {i: "end" for (_, before), (i, name) in pairs if (before, name) == ("HGMMA", "SYNCS.ARRIVE")}
    if turns:
        turns |= {i: "take" for (i, name), (_, after) in pairs if (name, after) == ("SYNCS.PHASECHK", "HGMMA")}
    return turns


def timeline(path, groups, beside):
    """
    Simulate `groups` warp groups that each run their own steps of a loop, and return the cycles of a step. A group runs
    its instructions in order. A product begins when it has been issued and all earlier products, of all groups, are
    done. A wait for products lasts until those products of the group are done; a wait for a turn lasts until the other
    group has ended its turn. Work that both groups do at the same time takes longer if they need the same unit.
    """
    ROUNDS = 16
    ops = operations(path, beside)
    takes = sum(op[0] == "take" for op in ops)
    if takes != sum(op[0] == "end" for op in ops):
        sys.exit("roofline.py: a loop takes turns and does not end as many")
    now = free = 0.0
    # By group: its operation, and what is left of it: a share of its work (1 at first), or the time that it waits for.
    at, left = [0] * groups, [None] * groups
    queued, made, taken = [0.0] * groups, [[] for _ in range(groups)], [0] * groups
    ended, rounds = [[] for _ in range(groups)], [[] for _ in range(groups)]

    def advance(g):
        """Go on until group g works or waits for a later time. Return False if it waits for the other group."""
        nonlocal free
        while len(rounds[g]) < ROUNDS:
            op = ops[at[g]]
            if op[0] == "work":
                left[g] = left[g] or ("work", 1.0)
                if left[g][1] > 1e-9:
                    return True
            elif op[0] == "product":
                free = queued[g] = max(free, now) + op[1]
            elif op[0] == "commit":
                made[g].append(queued[g])
            elif op[0] == "wait" and len(made[g]) > op[1] and made[g][-1 - op[1]] > now + 1e-9:
                left[g] = "time", made[g][-1 - op[1]]
                return True
            elif op[0] == "take" and groups == 1:  # the other group has no rows, and hands each turn back at once
                if ended[0] and ended[0][-1] + 2 * HANDOVER > now + 1e-9:
                    left[g] = "time", ended[0][-1] + 2 * HANDOVER
                    return True
            elif op[0] == "take":
                before = taken[g] - (g == 0)  # the other group's turn that must have ended
                if before >= 0:
                    if len(ended[1 - g]) <= before:
                        return False
                    if ended[1 - g][before] + HANDOVER > now + 1e-9:
                        left[g] = "time", ended[1 - g][before] + HANDOVER
                        return True
                taken[g] += 1
            elif op[0] == "end":
                ended[g].append(now)
            left[g] = None
            at[g] += 1
            if at[g] == len(ops):
                at[g] = 0
                rounds[g].append(now)
        return False

    while len(rounds[0]) < ROUNDS:
        going = [advance(g) for g in range(groups)]
        going = [advance(g) for g in range(groups)]  # again: what later groups did may let the first go on
        work = [g for g in range(groups) if going[g] and left[g][0] == "work"]
        alone = {g: max(ops[at[g]][1].values()) for g in work}
        busiest = max((sum(ops[at[g]][1][u] / alone[g] for g in work) for u in set().union(*(ops[at[g]][1] for g in work))), default=1)
        rate = {g: 1 / max(1, busiest) / alone[g] for g in work}
        steps = [left[g][1] / rate[g] for g in work] + [left[g][1] - now for g in range(groups) if going[g] and left[g][0] == "time"]
        if not steps:
            if len(rounds[0]) < ROUNDS:
                sys.exit("roofline.py: the groups of a loop wait for one another")
            break
        now += min(steps)
        for g in work:
            left[g] = "work", left[g][1] - min(steps) * rate[g]
    half = ROUNDS // 2
    return (rounds[0][-1] - rounds[0][half - 1]) / (ROUNDS - half)


def named(path, instruction):
    """How many instructions of a path have a name that begins like this."""
    return sum(x.name.startswith(instruction) for x in path)


def hgmma(columns):
    """Of products of tiles with so many columns; None: of all."""
    return f"HGMMA.64x{columns}x" if columns else "HGMMA"


def label(kernel, columns):
    """A kernel, and the width of its tiles if that is not in its name."""
    return kernel if not columns or f"<{columns}," in kernel else f"{kernel}, {columns} columns"


class Kernels:
    """The loops of the kernels that were compiled for sm_90a."""

    def __init__(self, folder):
        cuobjdump = shutil.which("cuobjdump")
        if not cuobjdump:
            sys.exit("roofline.py: there is no cuobjdump; 'bash jobs/setup.sh cuda' gets it")
        self.code, self.known, self.paths = {}, {}, {}
        self.alone = {}  # expected cycles of a step of one of two groups, if the other has no rows
        for name in ("attention_wgmma", "product_wgmma", "attention_tiles", "product"):
            functions = machine_code.read(cuobjdump, f"{folder}/{name}.d/{name}.compute_90a.cubin")
            short = machine_code.names_of(list(functions))
            self.code.update({short[s]: code for s, code in functions.items()})

    def loop(self, kernel, instruction):
        """Return the smallest loop of a kernel that has this instruction."""
        for loop in machine_code.loops(self.code[kernel]):
            if named(loop.body, instruction):
                return loop
        sys.exit(f"roofline.py: {kernel} has no loop with {instruction}")

    def products_path(self, kernel, instruction):
        loop = self.loop(kernel, instruction)
        path = loop.path({instruction: named(loop.body, instruction)})
        if not path:
            sys.exit(f"roofline.py: {kernel}: no way through its loop has all {instruction}")
        return path

    def wgmma_loop(self, kernel, fetch, written, groups=2, columns=None):
        """
        Return (expected cycles, cycles of each unit, instructions of a warp) of a step of a loop that `groups` warp
        groups run. `fetch` is the instruction with which the first group of the block fills the ring in shared memory,
        `written` the bytes that it fills in a step. `columns` is the width of tiles, for a kernel that has several.
        """
        key = label(kernel, columns), fetch
        if key not in self.known:
            path = self.products_path(kernel, hgmma(columns))
            filling = self.products_path(kernel, fetch)
            cycles = units(path, 4 * groups)
            beside = len(filling) * (4 if fetch == "LDGSTS" else 1) / (4 * groups) / len(path)
            cycles["instructions"] *= 1 + beside
            products = [x for x in path if machine_code.opcode(x) == "HGMMA"]
            cycles["tensor cores"] = sum(groups * int(re.search(r"64x(\d+)x16", x.name)[1]) / 2 for x in products)
            cycles["shared memory"] += (sum(groups * shared_bytes(x) for x in products) + written) / SHARED
            expected = max(timeline(path, groups, beside), max(cycles.values()))
            self.known[key] = expected, cycles, len(path)
            if groups > 1:
                self.alone[kernel] = max(timeline(path, 1, beside), max(cycles.values()) / groups)
        return self.known[key]

    def end_path(self, kernel, wide, wanted):
        """Return (the instructions from a tile's first products to its end, those of a step of its products) for tiles
        of `wide` columns. The former have the number of each instruction in `wanted`."""
        key = "end", kernel, tuple(sorted(wanted.items()))
        if key not in self.paths:
            products = self.products_path(kernel, hgmma(wide))
            wanted = {**wanted, hgmma(wide): named(products, "HGMMA")}
            decide = {name: number for name, number in wanted.items() if name not in ("STG.E.64", "LDG.E.64")}  # these have conditions
            for loop in machine_code.loops(self.code[kernel]):
                if all(named(loop.body, name) >= number for name, number in wanted.items()):
                    path = loop.path(decide, True)
                    if path and named(path, "STG.E.64") == wanted["STG.E.64"]:
                        break
            else:
                sys.exit(f"roofline.py: {kernel}: no way through a tile has {wanted}")
            self.paths[key] = path, products
        return self.paths[key]

    def end_in_registers(self, kernel, wide, columns, wanted, first, wait):
        """
        (cycles of each unit, cycles until it is done) of a warp group's end of a tile of `columns`, between its products and those of its
        next tile. `wanted`: instructions of a tile that is `wide`; a narrow tile has those up to the last of its stores. `wait`: cycles for a load. The first
        results need `first` loads; as many are under way at a time as stand in the code before the first result is written, without these.
        """
        key = label(kernel, columns), tuple(sorted(wanted.items()))
        if key not in self.known:
            path, products = self.end_path(kernel, wide, wanted)
            stores = [i for i, x in enumerate(path) if x.name.startswith("STG.E.64")]
            if columns < wide:
                path = path[:stores[wanted["STG.E.64"] * columns // wide - 1] + 1]
            names = [machine_code.opcode(x) for x in path]
            loads = names.count("LDG")
            ahead = names[:names.index("STG")].count("LDG") - first if loads else 0
            if loads and ahead < 1:
                sys.exit(f"roofline.py: {kernel} asks for nothing ahead before it writes the first results of a tile")
            cycles = units(path, 4)
            cycles.subtract(units(products, 4))
            self.known[key] = cycles, wait + max(max(cycles.values()) / PRACTICE, wait * loads / max(ahead, 1)), len(path) - len(products), ahead
        return self.known[key][:2]

    def strip(self, kernel, wanted, groups):
        """Return the cycles of each unit when `groups` warp groups finish 32 columns of a tile with 16 rows a warp."""
        key = kernel, groups, tuple(sorted(wanted.items()))
        if key not in self.known:
            for loop in machine_code.loops(self.code[kernel]):
                if loop.count("STG") and loop.count("LDS") and not loop.count("HGMMA"):
                    if path := loop.path(wanted):
                        self.known[key] = units(path, 4 * groups), len(path)
                        break
            else:
                sys.exit(f"roofline.py: {kernel}: no way through a tile's end has {wanted}")
        return self.known[key][0]


# ---------------------------------------------------------------------------------------------- kernels

# The time of a kernel: `limit` is its busiest unit, `least` the seconds if that unit were the only limit, `expected`
# the expected seconds, and `ends` the part of these in the ends of tiles, which nothing hides.
Time = collections.namedtuple("Time", "kernel limit least expected ends", defaults=[0])


def memory_time(kernel, size):
    return Time(kernel, "memory", size / BYTES_S, size / BYTES_S / MEMORY)


def type_bytes(name):
    return 2 if name == "bf16" else 4


class Product:
    """A matrix product, from a line "product PHASE M N K ..." that work.c prints."""

    def __init__(self, words):
        self.phase = words[1]
        self.M, self.N, self.K = map(int, words[2:5])
        said = dict(w.split("=") for w in words[5:] if "=" in w)
        self.flags = {w for w in words[5:] if "=" not in w}
        self.a, self.b, self.c = said["a"], said["b"], said["c"]
        self.finish, self.calls = said["finish"], int(said["calls"])
        self.parts, self.tile_parts = int(said["parts"]), int(said["tile_parts"])
        self.flops = 2.0 * self.M * self.N * self.K

    def operand_bytes(self):
        return 2.0 * (self.M * self.K + self.N * self.K)

    def result_bytes(self):
        """Return the bytes of the result, and of all that is read or kept beside it."""
        one = type_bytes(self.c) + 4 * ("residual" in self.flags) + type_bytes(self.c) * ("accumulate" in self.flags)
        return (one + 2.0 * ("pre" in self.flags) + 2.0 * ("hidden" in self.flags)) * self.M * self.N

    def rounding_bytes(self):
        """Return the bytes moved to round operands in fp32 to a copy in bf16 first."""
        return sum(6.0 * n for kind, n in ((self.a, self.M * self.K), (self.b, self.N * self.K)) if kind.startswith("f32"))

    def library_does_all(self):
        both = {"residual", "accumulate"} <= self.flags
        extras = self.flags & {"bias", "residual", "accumulate"}
        return self.finish == "plain" and (not extras or (self.c == "f32" and not both and "table" not in self.flags))

    def wide(self):
        """Of tiles by wgmma, as product_wgmma.cu chooses."""
        return 192 if "transposed" not in self.a or -(-self.N // 192) * 192 < -(-self.N // 256) * 256 else 256

    def fills(self):
        """Do tiles of a weight's gradient keep all multiprocessors busy? As product_wgmma.cu finds."""
        tiles = -(-self.M // 128) * -(-self.N // 256)
        return "transposed" in self.a and self.wide() == 256 and self.K >= 4096 and tiles >= 0.95 * -(-tiles // PROCESSORS) * PROCESSORS

    def chosen(self, library):
        """Return who multiplies, as products.c chooses with train.products=own. `library`: there is cuBLASLt."""
        rows = self.M if "transposed" in self.a else 128
        large = self.flops >= 1 << 30
        better = library and self.library_does_all() and self.parts == 1 and not self.fills()
        if large and self.N >= 128 and rows >= 128 and self.K >= 64 and not better:
            return "wgmma"
        return "cublaslt" if library and large and self.tile_parts == 1 else "mma"

    def in_registers(self):
        """Return whether sums are finished in registers, as product_wgmma.cu decides for widths divisible by 4."""
        transposed = "transposed" in self.b
        finishes = {"plain": True, "gelu": transposed, "gelu_gradient": not transposed and "bias" not in self.flags}
        return self.c == "bf16" and not self.flags & {"residual", "accumulate"} and finishes[self.finish]

    def name(self):
        extras = [w for w in ("bias", "residual", "accumulate") if w in self.flags]
        what = {"plain": self.c, "gelu": "GELU, argument kept" if "pre" in self.flags else "GELU", "gelu_gradient": "GELU's gradient"}[self.finish]
        return f"{self.M} x {self.N} over {self.K}: " + ", ".join([what] + extras)


def end_of_tile(p, parts, kept):
    """
    Return the instructions of the end of a tile for 16 rows and 32 columns, which depend on what the product adds, and
    the cycles that a warp waits for memory. `kept` says that all sums are already in shared memory.
    """
    bf16 = p.c == "bf16" and parts == 1
    adds = parts == 1 and bool(p.flags & {"residual", "accumulate"})
    gradient = p.finish == "gelu_gradient"
    stores16 = 4 * (bf16 + (p.finish == "gelu" and "pre" in p.flags) + (gradient and "hidden" in p.flags))
    wanted = {"STS": 0 if kept else 8, "LDS.128": 4, "MUFU": 0 if p.finish == "plain" else 32, "STG.E.64": stores16,
              "STG.E.128": 0 if bf16 else 4, "LDG.E.64": 4 * gradient, "LDG.E.128": 4 * adds + ("bias" in p.flags and parts == 1)}
    return wanted, FAR if adds or gradient else NEAR if "bias" in p.flags else 0


def tiles_together(kernels, kernel, wide, p, steps):
    """Return the seconds, and the part of them in ends of tiles, if each warp group has half of each tile, and nothing
    else runs during its end."""
    step, _, _ = kernels.wgmma_loop(kernel, "UTMALDG", (128 + wide) * 64 * 2)
    wanted, wait = end_of_tile(p, p.parts, False)
    end = wide / 32 * (max(kernels.strip(kernel, wanted, 2).values()) / PRACTICE + wait)
    waves = -(-(-(-p.M // 128) * -(-p.N // wide) * p.parts) // PROCESSORS)
    return waves * (steps * step / PRACTICE + end) / CLOCK, waves * end / CLOCK


def tiles_in_turn(p, wide):
    """[(columns, number)] of tiles, in the order in which blocks take them: as product_wgmma.cu divides a result."""
    rows, left = -(-p.M // 128), -(-(p.N % wide) // NARROW) * NARROW
    full = p.N // wide + (left == wide)
    return [(columns, rows * n) for columns, n in ((wide, full), (left % wide, 1)) if columns and n]


def in_turn(tiles, strips):
    """
    Return the seconds of a launch, and the part of them besides products, if each warp group has every second tile of
    a block. `tiles` is [(number, cycles of the products of one, of the unit that one keeps busiest, of its end)].
    Products of a tile begin when those of the tile before are made, the busiest unit has done what that tile needs,
    and the group has ended its last tile. `strips`: ends wait for one another.
    """
    order = [x for number, *x in tiles for _ in range(number)]
    most = most_products = 0
    for mine in {tuple(map(tuple, order[block::PROCESSORS])) for block in range(min(PROCESSORS, len(order)))}:
        turn, ended = 0, [0, 0]
        for i, (products, unit, end) in enumerate(mine):
            begin = max(turn, ended[i % 2])
            turn = begin + max(products + HANDOVER, unit)
            ended[i % 2] = max([begin + products + HANDOVER] + [ended[1 - i % 2]] * strips) + end
        if max(ended) > most:
            most, most_products = max(ended), sum(products for products, _, _ in mine)
    return most / CLOCK, (most - most_products) / CLOCK


def registers_in_turn(kernels, kernel, wide, p, steps):
    """The same if each warp group has every second tile of a block, and finishes its sums in registers."""
    gradient, written = p.finish == "gelu_gradient", 1 + (p.finish == "gelu" and "pre" in p.flags) + ("hidden" in p.flags)
    tiles = []
    for columns, number in tiles_in_turn(p, wide):
        step, loop, _ = kernels.wgmma_loop(kernel, "UTMALDG", (128 + columns) * 64 * 2, 1, columns)
        values, groups = wide, wide // 16  # of a thread, which writes four at a time; of columns
        wanted = {"STG.E.64": written * values // 4, "MUFU.EX2": 0 if p.finish == "plain" else values,
                  "LDG.E.64": values // 4 if gradient else 2 * groups if "bias" in p.flags else 0,
                  "SHFL": (written + gradient) * values // 4 + ("sums" in p.flags) * 8 * groups}
        wait = FAR if gradient else NEAR if "bias" in p.flags else 0
        cycles, end = kernels.end_in_registers(kernel, wide, columns, wanted, 1 if gradient else 2, wait)
        unit = max(steps * loop[u] + cycles[u] for u in set(loop) | set(cycles))
        tiles.append((number, steps * step / PRACTICE, unit / PRACTICE, end))
    return in_turn(tiles, False)


def strips_in_turn(kernels, kernel, wide, p, steps):
    """The same if the sums go through strips in shared memory, which has room for those of one whole tile."""
    wanted, wait = end_of_tile(p, p.parts, True)
    strip = kernels.strip(kernel, wanted, 1)
    tiles = []
    for columns, number in tiles_in_turn(p, wide):
        step, loop, _ = kernels.wgmma_loop(kernel, "UTMALDG", (128 + columns) * 64 * 2, 1, columns)
        keep = collections.Counter({"shared memory": 128 * columns * 4 / SHARED, "instructions": 128 * columns / LANES / 2 / SCHEDULERS})
        unit = max(steps * loop[u] + keep[u] + columns / 16 * strip[u] for u in set(loop) | set(strip))
        end = max(keep.values()) / PRACTICE + columns / 16 * (max(strip.values()) / PRACTICE + wait)
        tiles.append((number, steps * step / PRACTICE, unit / PRACTICE, end))
    return in_turn(tiles, True)


def wgmma_product(kernels, p):
    together, wide = "transposed" in p.a, p.wide()
    registers = not together and p.in_registers()
    ends = {"plain": 1, "gelu": 2, "gelu_gradient": 3}[p.finish] if registers else 0
    kernel = f"wgmma_kernel<{wide},{int(not together)},{str(together).lower()},{str('transposed' not in p.b).lower()},{ends}>"
    steps = -(-(-(-p.K // p.parts)) // 64)
    by = tiles_together if together else registers_in_turn if registers else strips_in_turn
    seconds, ends = by(kernels, kernel, wide, p, steps)
    moved = p.operand_bytes() + (p.result_bytes() if p.parts == 1 else 4.0 * p.parts * p.M * p.N)
    least = {"tensor cores": p.flops / PEAK, "memory": moved / BYTES_S}
    limit = max(least, key=least.get)
    times = [Time(kernel, limit, least[limit], max(seconds, moved / BYTES_S / MEMORY), ends)]
    if p.parts > 1:
        times.append(memory_time("finish_kernel", 4.0 * p.parts * p.M * p.N + p.result_bytes()))
    return times


def library_product(p):
    moved = p.operand_bytes() + p.result_bytes()
    done = p.library_does_all()
    times = [Time("cuBLASLt", "tensor cores", max(p.flops / PEAK, moved / BYTES_S), max(p.flops / PEAK / LIBRARY, moved / BYTES_S / MEMORY))]
    if not done:
        times.append(memory_time("finish_kernel", 4.0 * p.M * p.N + p.result_bytes()))
    return times


def mma_product(kernels, p):
    tile = 64 if -(-p.M // 128) * -(-p.N // 128) < 96 else 128
    kernel = f"tile_kernel<{tile},{str('transposed' in p.a).lower()},{str('transposed' not in p.b).lower()}>"
    path = kernels.products_path(kernel, "HMMA")
    warps = 2 * tile // 32  # of a block; a multiprocessor holds two blocks for tiles of 128, four for tiles of 64
    blocks = 2 if tile == 128 else 4
    cycles = units(path, warps * blocks)
    limit = max(cycles, key=cycles.get)
    tiles = -(-p.M // tile) * -(-p.N // tile) * p.tile_parts
    steps = -(-(-(-p.K // p.tile_parts)) // 32)
    waves = -(-tiles // (PROCESSORS * blocks))
    moved = p.operand_bytes() + p.result_bytes()
    seconds = max(waves * steps * cycles[limit] / CLOCK / PRACTICE, moved / BYTES_S / MEMORY)
    return [Time(kernel, limit, max(p.flops / PEAK, moved / BYTES_S), seconds)]


def product_times(kernels, p, library):
    by = p.chosen(library)
    times = {"wgmma": lambda: wgmma_product(kernels, p), "cublaslt": lambda: library_product(p), "mma": lambda: mma_product(kernels, p)}[by]()
    if "sums" in p.flags:  # of columns: read partial sums that the kernel wrote, or the whole result
        made = by == "wgmma" and p.in_registers()
        times.append(memory_time("column_sums", 8.0 * -(-p.M // 128) * 4 * p.N if made else type_bytes(p.c) * p.M * p.N))
    if p.rounding_bytes():
        times.append(memory_time("round_rows_kernel", p.rounding_bytes()))
    return times


class Attention:
    """An attention, from a line "attention_forward PHASE rows=..." or "attention_backward ..." that work.c prints. Half
    the segments are taken to have one length and half another, so that the sums of lengths and squares are right."""

    def __init__(self, words):
        self.backward, self.phase = words[0] == "attention_backward", words[1]
        said = {k: float(v) for k, v in (w.split("=") for w in words[2:] if "=" in w)}
        self.segments, self.heads, self.width, self.calls = (int(said[k]) for k in ("segments", "heads", "width", "calls"))
        self.sum_bytes = 4.0 * self.segments * -(-said["longest"] // SUM_ROWS) * 3 * self.width * self.heads if "sums" in words else 0
        self.rows, self.squares = said["rows"], said["squares"]
        mean = self.rows / self.segments
        spread = math.sqrt(max(0, self.squares / self.segments - mean * mean))
        self.lengths = [round(mean + spread), round(mean - spread)]
        self.flops = (10.0 if self.backward else 4.0) * self.squares * self.width * self.heads

    def name(self):
        lengths = " and ".join(str(n) for n in sorted(set(self.lengths), reverse=True))
        return f"{self.segments} segments of {lengths}, {self.heads} heads of {self.width}"

    def lengths_and_heads(self):
        """Return (rows, number of heads of all segments that have so many rows) for each length."""
        return [(n, self.heads * self.segments / len(self.lengths)) for n in self.lengths]


BEGIN_AND_END = 0.5  # the cost of a tile's begin and end, in steps


def wgmma_steps(a, n):
    """Return the steps of a tile of own rows over n rows of the other side: 64 rows a step in backward, 128 in forward,
    where the first step has 32, 64 or 128."""
    if a.backward:
        return -(-n // 64) + BEGIN_AND_END
    full = -(-n // 128) - 1
    return full + next(w for w in (32, 64, 128) if n - 128 * full <= w) / 128 + BEGIN_AND_END


def attention_wgmma(kernels, a):
    """Return the times of attention by wgmma, forward in one kernel and backward in two. In the last tile of own rows,
    one of the two groups may have none."""
    d = a.width
    columns = -(-d // 64) * 64 * 2  # bytes of a row in shared memory
    names = [(f"wgmma_backward<{d},true>", 64), (f"wgmma_backward<{d},false>", 64)] if a.backward else [(f"wgmma_forward<{d}>", 128)]
    times = []
    for name, other in names:
        step, cycles, _ = kernels.wgmma_loop(name, "LDGSTS", 2 * other * columns)
        limit = max(cycles, key=cycles.get)
        tiles = least = expected = 0
        for n, heads in a.lengths_and_heads():
            of_group = -(-n // (OWN_ROWS // 2))  # tiles of one group
            tiles += heads * -(-n // OWN_ROWS)
            least += heads * of_group / 2 * wgmma_steps(a, n) * cycles[limit]
            expected += heads * (of_group // 2 * step + of_group % 2 * kernels.alone[name]) * wgmma_steps(a, n)
        waves = -(-tiles // PROCESSORS) * PROCESSORS / tiles
        times.append(Time(name, limit, least / PROCESSORS / CLOCK, waves * expected / PROCESSORS / CLOCK / PRACTICE))
    return times


def attention_mma(kernels, a):
    """Return the times of attention by mma.sync, for heads of width 24: three blocks per multiprocessor, each of four
    warps with 32 own rows; steps of 64 rows of the other side, or 32 in backward. A warp without rows only waits."""
    if a.width > 24:
        sys.exit(f"roofline.py: heads {a.width} wide by mma.sync are not known here")
    names = [f"tiles_backward<{a.width},true>", f"tiles_backward<{a.width},false>"] if a.backward else [f"tiles_forward<{a.width}>"]
    times = []
    for name in names:
        cycles = units(kernels.products_path(name, "HMMA"), 12)
        steps = sum(heads * -(-n // 32) * (-(-n // (32 if a.backward else 64)) + BEGIN_AND_END) for n, heads in a.lengths_and_heads())  # of a warp
        limit = max(cycles, key=cycles.get)
        seconds = steps / 12 * cycles[limit] / PROCESSORS / CLOCK
        times.append(Time(name, limit, seconds, seconds / PRACTICE))
    return times


def attention_times(kernels, a):
    times = attention_wgmma(kernels, a) if a.width in (64, 80, 128) else attention_mma(kernels, a)
    if a.backward:
        times.append(memory_time("row_terms", 4.0 * a.rows * a.width * a.heads))
    if a.sum_bytes:  # written by the kernels, and read
        times.append(memory_time("column_sums", 2 * a.sum_bytes))
    return times


# ---------------------------------------------------------------------------------------------- a step

Row = collections.namedtuple("Row", "kernel what phase calls flops limit least expected ends")


def read_work(path):
    """Return (FLOP of the method's step, products and attentions, {(name, phase): (calls, bytes)} of other kernels)."""
    flops, shapes, others = 0.0, [], {}
    for line in open(path):
        words = line.split()
        if words[:1] == ["step_flops"]:
            flops = float(words[1])
        elif words[:1] == ["product"]:
            shapes.append(Product(words))
        elif words and words[0].startswith("attention_"):
            shapes.append(Attention(words))
        elif words[:1] == ["op"] and not re.match(r"linear|attention|product|transfer", words[1]):
            said = dict(w.split("=") for w in words[3:])
            if words[1:3] == ["round_bf16", "data"]:
                # Rounding weights to bf16 copies happens only before a run's first step, the step that work.c counts.
                # Later the update writes the copies.
                continue
            others[words[1], words[2]] = int(said["calls"]), float(said["bytes"])
    if not flops or not shapes:
        sys.exit(f"roofline.py: {path} is not what gpu-check work prints")
    return flops, shapes, others


def step_rows(kernels, shapes, others, library):
    rows = []
    for s in shapes:
        times = attention_times(kernels, s) if isinstance(s, Attention) else product_times(kernels, s, library)
        for i, t in enumerate(times):
            flops = s.flops * s.calls if i == 0 else 0
            rows.append(Row(t.kernel, s.name(), s.phase, s.calls, flops, t.limit, s.calls * t.least, s.calls * t.expected, s.calls * t.ends))
    for (name, phase), (calls, size) in others.items():
        t = memory_time(name, size)
        rows.append(Row(name, "", phase, calls, 0, t.limit, t.least, t.expected, 0))
    return rows


def kind(row):
    """Return the row of the step's table to which a kernel belongs."""
    if row.kernel.startswith(("wgmma_forward", "wgmma_backward")):
        return f"attention by wgmma, {row.kernel.split('_')[1].split('<')[0]}"
    if row.kernel.startswith("tiles_"):
        return f"attention of the predictor by mma.sync, {row.kernel.split('_')[1].split('<')[0]}"
    if row.kernel == "cuBLASLt":
        return "products by cuBLASLt"
    if row.kernel.startswith("wgmma_kernel"):
        end = "GELU" if "GELU" in row.what else "residual or sum added" if re.search("residual|accumulate", row.what) else "other ends"
        return f"products by wgmma, {end}"
    if row.kernel.startswith("tile_kernel"):
        return "products by mma.sync"
    return {"layernorm_forward": "norms", "layernorm_backward": "norms", "round_rows_kernel": "operands of floats to bf16",
            "finish_kernel": "sums of parts of weights' gradients", "adamw": "update: AdamW, average of weights",
            "column_sums": "gradients of biases"}.get(row.kernel, "all other kernels")


def total(rows):
    return sum(r.expected for r in rows) + sum(r.calls for r in rows) * GAP


def step_table(name, flops, rows):
    calls, whole = sum(r.calls for r in rows), total(rows)
    kinds = collections.defaultdict(list)
    for r in rows:
        kinds[kind(r)].append(r)
    lines = ["| kernels | calls | TFLOP | limit | ms at the limit | ms expected | of it ends of tiles | share |", "|---|---|---|---|---|---|---|---|"]
    for what, some in sorted(kinds.items(), key=lambda item: -sum(r.expected for r in item[1])):
        limits = collections.Counter()
        for r in some:
            limits[r.limit] += r.expected
        flop, ends, expected = (sum(getattr(r, f) for r in some) for f in ("flops", "ends", "expected"))
        lines.append(f"| {what} | {sum(r.calls for r in some)} | {f'{flop / 1e12:.1f}' if flop else ''} | {limits.most_common(1)[0][0]} | "
                     f"{1e3 * sum(r.least for r in some):.1f} | {1e3 * expected:.1f} | {f'{1e3 * ends:.1f}' if ends else ''} | "
                     f"{100 * expected / whole:.0f} % |")
    lines.append(f"| from a kernel to the next | {calls} | | | | {1e3 * calls * GAP:.1f} | | {100 * calls * GAP / whole:.0f} % |")
    lines.append(f"| **{NETWORKS[name]}** | | {sum(r.flops for r in rows) / 1e12:.1f} | | {1e3 * sum(r.least for r in rows):.1f} | "
                 f"**{1e3 * whole:.1f}** | {1e3 * sum(r.ends for r in rows):.1f} | **{100 * flops / whole / PEAK:.1f} % of the peak** |")
    return lines + [""]


def loops_table(kernels):
    lines = ["| loop | instructions of a warp | tensor cores | exponentials | comparisons | instructions | shared memory | expected, in steps |",
             "|---|---|---|---|---|---|---|---|"]
    for (kernel, *_), known in sorted(kernels.known.items(), key=str):
        if len(known) == 3:
            expected, c, length = known
            lines.append(f"| `{kernel}` | {length} | " + " | ".join(
                f"{c[unit]:.0f}" for unit in ("tensor cores", "exponentials", "comparisons", "instructions", "shared memory")) + f" | {expected:.0f} |")
    lines += ["", "| end of a tile in registers, of a warp group | instructions of a warp | exponentials | comparisons | instructions | shared memory | until it is done | loads ahead |",
              "|---|---|---|---|---|---|---|---|"]
    for (kernel, *_), known in sorted(kernels.known.items(), key=str):
        if len(known) == 4:
            c, end, length, ahead = known
            lines.append(f"| `{kernel}` | {length} | " + " | ".join(
                f"{c[unit]:.0f}" for unit in ("exponentials", "comparisons", "instructions", "shared memory")) + f" | {end:.0f} | {ahead or ''} |")
    return lines + [""]


def planned_rate():
    """Return the rate in TFLOP/s that vjepa-plan assumes for an H100."""
    return float(re.search(r"gpu_tflops_bf16: (\S+)", open(CLUSTER).read())[1])


def tables(kernels, detail):
    """Return the text of the page's tables, and a list of what is wrong with the rate that vjepa-plan assumes."""
    steps, summary, problems = [], [], []
    for name in NETWORKS:
        flops, shapes, others = read_work(f"{HERE}/operations/{name}.txt")
        cells = []
        for library in (True, False):
            rows = step_rows(kernels, shapes, others, library)
            whole = total(rows)
            rate = flops / (whole - sum(r.expected for r in rows if r.kernel in ("adamw", "sum_squares_many"))) / 1e12
            cells += [f"{1e3 * whole:.0f}", f"{100 * flops / whole / PEAK:.1f} %", f"{rate:.0f}"]
            if library:
                steps += step_table(name, flops, rows)
                if not 0.9 * rate < planned_rate() < 1.1 * rate:
                    problems.append(f"cluster_h100.yaml has gpu_tflops_bf16 {planned_rate():.0f}; {name} makes {rate:.0f} by the roofline: not within 10 %")
            if detail:
                for r in sorted(rows, key=lambda r: -r.expected):
                    print(f"{name} {'cublaslt' if library else 'own':8s} {1e3 * r.expected:8.2f} ms, limit {1e3 * r.least:8.2f} {r.limit:14s} {r.calls:5d} x "
                          f"{r.kernel:32s} {r.phase:10s} {r.what} {100 * r.flops / PEAK / (r.expected or 1):.0f} %")
        summary.append(f"| {NETWORKS[name]} | {flops / 1e12:.1f} | " + " | ".join(cells) + " |")
    heads = ["| step | TFLOP | with cuBLASLt: ms | of the peak | TFLOP/s without update | own kernels alone: ms | of the peak | TFLOP/s |", "|---|---|---|---|---|---|---|---|"]
    return "\n".join(heads + summary + [""] + steps + loops_table(kernels)), problems


def main():
    args = [a for a in sys.argv[1:] if not a.startswith("--")]
    compiler = open(f"{args[0]}/compiler.txt").read().strip()
    text, problems = tables(Kernels(args[0]), "--detail" in sys.argv)
    text = f"By {compiler}.\n\n{text}"
    page = open(PAGE).read()
    before, _, rest = page.partition(BEGIN)
    now, _, after = rest.partition(END)
    if "--write" in sys.argv:
        with open(PAGE, "w") as f:
            f.write(before + BEGIN + text + END + after)
    elif "--check" in sys.argv and now.split("\n")[0] != f"By {compiler}.":
        print(f"SKIPPED: docs/roofline.md was not compared, for it is {now.split(chr(10))[0]} and this is {compiler}")
    elif "--check" in sys.argv and now != text:
        problems.append("docs/roofline.md is not of these kernels; write it anew: bash tests/cuda_compile/run.sh --update")
    elif "--check" not in sys.argv:
        print(text)
    for problem in problems:
        print("FAIL: roofline:", problem, file=sys.stderr)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
