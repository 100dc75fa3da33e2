#!/usr/bin/env python3
"""Reads what run.sh compiled: report.py [--update] registers.txt FOLDER. It prints a table of the kernels, and fails if
a kernel uses more registers than registers.txt allows, or lacks the instructions that it is meant to have."""
import collections
import glob
import os
import re
import shutil
import sys

import machine_code

# What a multiprocessor has: registers, threads, and KB of shared memory. Each block takes 1 KB more than it asks for.
REGISTERS, MOST_THREADS = 65536, 2048
SHARED = {"sm_80": 164, "sm_90a": 228}

# Kernels, architectures, and instructions that their machine code must have. Products use tensor cores: either HMMA,
# with operands that come by cp.async (LDGSTS) and ldmatrix (LDSM); or HGMMA by a warp group, which gets registers of
# another one (USETMAXREG), with operands that come by tensor maps (UTMALDG). Without these a kernel would multiply one
# number at a time (FFMA), or do nothing.
MEANT = [
    (r"tile_kernel<", "sm_", ["HMMA", "LDSM", "LDGSTS"]),
    (r"tiles_(forward|backward)<", "sm_", ["HMMA", "LDSM", "LDGSTS"]),
    (r"wgmma_kernel<", "sm_90a", ["HGMMA", "UTMALDG", "USETMAXREG", "WARPGROUP"]),
    (r"wgmma_(forward|backward)<", "sm_90a", ["HGMMA", "LDGSTS", "USETMAXREG", "WARPGROUP"]),
]
NEVER = ["LDL", "STL"]


class Kernel:
    def __init__(self):
        self.registers = {}  # by architecture
        self.static_shared = 0
        self.threads = 0
        self.dynamic_shared = collections.Counter()  # by architecture
        self.count = {}
        self.groups = {}  # machine_code.registers_of_groups()
        self.early = {}  # machine_code.early_writes(), and what it finds if nothing ever waits for HGMMA

    def shared(self, arch):
        return self.static_shared + self.dynamic_shared[arch]


def read_logs(folder, kernels, problems):
    """Read registers from the compiler's logs. Report kernels where the compiler serialises the products of a warp
    group, which it does when it cannot see who uses their sums."""
    for log in sorted(glob.glob(f"{folder}/*.log")):
        symbol = arch = None
        for line in open(log):
            if m := re.search(r"Compiling entry function '(\S+)' for '(\S+)'", line):
                symbol, arch = m.groups()
            elif re.search(r"wgmma.* serialized|warpgroup.wait is injected", line):
                problems.append(f"{os.path.basename(log)}: {line.strip()}")
            elif m := re.search(r"Used (\d+) registers", line):
                kernels[symbol].registers[arch] = int(m[1])
                if s := re.search(r"(\d+) bytes smem", line):
                    kernels[symbol].static_shared = int(s[1])


def read_ptx(folder, kernels):
    """Read from the PTX the threads of a block, by __launch_bounds__, and the size of shared memory, which device.h's
    shared() leaves there."""
    for ptx in glob.glob(f"{folder}/*.d/*.ptx"):
        arch = "sm_" + re.search(r"compute_(\w+)\.ptx$", ptx)[1]
        kernel = Kernel()
        for line in open(ptx):
            if m := re.search(r"\.entry (\w+)", line):
                kernel = kernels[m[1]]
            elif m := re.search(r"\.maxntid (\d+)", line):
                kernel.threads = int(m[1])
            elif m := re.search(r"// vj_shared (\d+)", line):
                kernel.dynamic_shared[arch] = max(kernel.dynamic_shared[arch], int(m[1]))


def read_code(cuobjdump, folder, kernels):
    for cubin in sorted(glob.glob(f"{folder}/*.d/*.cubin")):
        arch = re.search(r"(sm_\w+|compute_\w+)\.cubin$", cubin)[1].replace("compute_", "sm_")
        try:
            functions = machine_code.read(cuobjdump, cubin)
        except RuntimeError as trouble:
            sys.exit(f"FAIL: {trouble}")
        for symbol, code in functions.items():
            kernels[symbol].count[arch] = collections.Counter(machine_code.opcode(x) for x in code)
            kernels[symbol].groups[arch] = machine_code.registers_of_groups(code)
            unwaited = [x for x in code if not x.name.startswith("WARPGROUP.DEPBAR")]
            kernels[symbol].early[arch] = machine_code.early_writes(code), machine_code.early_writes(unwaited)


def blocks(threads, registers, shared, arch):
    """Return how many blocks fit on a multiprocessor. Registers are allocated for each warp, in units of 256."""
    if not threads:
        return 0
    warps = (threads + 31) // 32
    by_registers = REGISTERS // ((registers * 32 + 255) // 256 * 256) // warps
    return min(by_registers, MOST_THREADS // threads, 32, SHARED[arch] * 1024 // (shared + 1024))


def most_registers(threads, registers, shared, arch):
    """Return the largest number of registers with which as many blocks fit as with these."""
    threads = threads or 1024  # without __launch_bounds__
    fit = blocks(threads, registers, shared, arch)
    while registers < 255 and blocks(threads, registers + 1, shared, arch) >= fit:
        registers += 1
    return registers


def checked(kernels):
    """Return a list of ((name, architecture), kernel, registers), for the architectures that registers.txt has."""
    return [((name, arch), kernel, registers) for name, kernel in sorted(kernels.items())
            for arch, registers in sorted(kernel.registers.items()) if arch in SHARED]


def compare(path, kernels, problems):
    allowed = {}
    for line in open(path) if os.path.exists(path) else []:
        if not line.startswith("#") and line.strip():
            name, arch, most = line.split()
            allowed[name, arch] = int(most)
    hint = "if that is meant, write the table anew: bash tests/cuda_compile/run.sh --update"
    for row, _, registers in checked(kernels):
        if row not in allowed:
            problems.append(f"registers.txt has no row for {' '.join(row)}; {hint}")
        elif registers > allowed[row]:
            problems.append(f"{' '.join(row)} uses {registers} registers, registers.txt allows {allowed[row]}, so that fewer "
                            f"blocks fit on a multiprocessor; {hint}")
    for row in sorted(set(allowed) - {row for row, _, _ in checked(kernels)}):
        problems.append(f"registers.txt has a row for {' '.join(row)}, which is no kernel any more; {hint}")


def update(path, kernels):
    with open(path, "w") as f:
        f.write("# Kernel, GPU, and the most registers a thread may use: with more, fewer blocks fit on a multiprocessor.\n"
                "# Written by run.sh --update; look at what changed before it is committed.\n")
        for (name, arch), k, registers in checked(kernels):
            f.write(f"{name} {arch} {most_registers(k.threads, registers, k.shared(arch), arch)}\n")


def check_code(kernels, problems):
    for name, kernel in sorted(kernels.items()):
        for arch, count in kernel.count.items():
            for never in NEVER:
                if count[never]:
                    problems.append(f"{name} on {arch} touches local memory: {count[never]} {never}")
            for pattern, of, meant in MEANT:
                if re.match(pattern, name) and arch.startswith(of):
                    problems += [f"{name} on {arch} has no {i}" for i in meant if not count[i]]
            problems += [f"{name} on {arch}: a warp group that has {has} registers needs {needs}" for has, needs in kernel.groups[arch] if needs > has]
            early, unwaited = kernel.early[arch]
            problems += [f"{name} on {arch}: instruction {at:#x} writes a register that an HGMMA may still read" for at in early]
            if re.match(r"wgmma_(forward|backward)<", name) and count["HGMMA"] and not unwaited:
                problems.append(f"{name} on {arch}: report.py does not find the registers that HGMMA reads")
            if count["USETMAXREG"] and len(kernel.groups[arch]) < 2:
                problems.append(f"{name} on {arch}: report.py does not find how many registers its warp groups have")
    for pattern, _, _ in MEANT:
        if not any(re.match(pattern, name) for name in kernels):
            problems.append(f"no kernel is named {pattern}: report.py looks for one that is gone")


def main():
    args = [a for a in sys.argv[1:] if a != "--update"]
    path, folder = args
    symbols = collections.defaultdict(Kernel)
    problems = []
    read_logs(folder, symbols, problems)
    read_ptx(folder, symbols)
    cuobjdump = shutil.which("cuobjdump")
    if cuobjdump:
        read_code(cuobjdump, folder, symbols)
    found = [s for s in symbols if symbols[s].registers]
    short = machine_code.names_of(found)
    kernels = {}
    for s in found:
        if short[s] in kernels:
            problems.append(f"two kernels are named {short[s]}")
        kernels[short[s]] = symbols[s]

    print(f"{'kernel':62s} {'arch':7s} registers  shared HGMMA/HMMA  blocks/SM")
    for name, kernel in sorted(kernels.items()):
        for arch, registers in sorted(kernel.registers.items()):
            shared = kernel.shared(arch)
            fit = blocks(kernel.threads, registers, shared, arch) if arch in SHARED else 0
            count = kernel.count.get(arch)
            products = "?" if count is None else count["HGMMA"] or count["HMMA"]
            print(f"{name:62s} {arch:7s} {registers:9d} {shared:7d} {products:>10} {fit or '-':>10}")
    if "--update" in sys.argv:
        update(path, kernels)
    compare(path, kernels, problems)
    if cuobjdump:
        check_code(kernels, problems)
    for problem in problems:
        print("FAIL:", problem, file=sys.stderr)
    print(f"{len(kernels)} kernels, {len(problems)} problems")
    return 1 if problems else 0


sys.exit(main())
