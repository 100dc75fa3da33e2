#!/usr/bin/env python3
"""
Checks the machine code of the register tiles (src/kernels/cpu/tile.c), in place of a measurement where there is no such
processor. It fails if the loop over the depth spills a sum, or has more loads than a tile needs.

usage: tile.py OBJDUMP tile.c.o PREFIX INSTRUCTION SUMS LOADS

Prints the loop of the largest tile, and one line for each tile of functions PREFIX_tile and PREFIX_tile_rows that
multiplies by INSTRUCTION: multiplications, vectors loaded and all instructions in a step of the depth. The largest tile
of PREFIX_tile must have SUMS multiplications and at most LOADS loads.
"""
import re
import subprocess
import sys


def functions(objdump, path):
    """Return {function: list of instructions (address, operation, operands)}."""
    found, name = {}, None
    text = subprocess.run([objdump, "-d", "--no-show-raw-insn", path], check=True, capture_output=True, text=True).stdout
    for line in text.splitlines():
        start = re.match(r"[0-9a-f]+ <(.*)>:$", line)
        instruction = re.match(r"\s*([0-9a-f]+):\s+(\S+)\s*(.*)$", line)
        if start:
            name = start[1]
            found[name] = []
        elif instruction and name:
            found[name].append((int(instruction[1], 16), instruction[2], instruction[3].strip()))
    return found


def is_branch(operation):
    return operation in ("b", "ret", "br", "bl", "blr", "cbz", "cbnz", "tbz", "tbnz") or operation.startswith("b.")


def loops(instructions):
    """Yield the loops that have no branch but the one back to their start."""
    index = {address: i for i, (address, _, _) in enumerate(instructions)}
    for i, (address, operation, operands) in enumerate(instructions):
        if not is_branch(operation) or operation in ("ret", "br", "blr"):
            continue
        target = int(re.split(r"[, ]+", operands.split(" <")[0])[-1], 16)
        body = instructions[index[target]:i + 1] if target in index and target <= address else []
        if body and sum(is_branch(entry[1]) for entry in body) == 1:
            yield body


def vectors_loaded(body):
    """Return the number of vectors that the instructions load; a load of a pair counts as two."""
    def vectors(operands):
        return len(re.findall(r"\b[qzsdv]\d", operands.split("[")[0]))
    return sum(vectors(operands) for _, operation, operands in body if operation.startswith("ld"))


def main():
    objdump, path, prefix, wanted = sys.argv[1:5]
    sums, most_loads = int(sys.argv[5]), int(sys.argv[6])
    found, failures, largest = functions(objdump, path), [], []
    print(f"{'function':28}{wanted:>8}{'loads':>8}{'all':>6}")
    for name in (f"{prefix}_tile", f"{prefix}_tile_rows"):
        for body in loops(found[name]):
            count = sum(operation == wanted for _, operation, _ in body)
            if count == 0:
                continue
            print(f"{name:28}{count:8}{vectors_loaded(body):8}{len(body):6}")
            if name.endswith("_tile") and count > len([entry for entry in largest if entry[1] == wanted]):
                largest = body
            spilled = [entry for entry in body if "[sp" in entry[2] or entry[1].startswith("st")]
            if spilled:
                failures.append(f"{name}: {len(spilled)} accesses to the stack in the loop of {count} {wanted}")
    print("\n" + "\n".join(f"    {operation:8}{operands.split(' <')[0]}" for _, operation, operands in largest))
    count = sum(operation == wanted for _, operation, _ in largest)
    if count != sums:
        failures.append(f"{prefix}_tile: the largest loop has {count} {wanted}, expected {sums}")
    if vectors_loaded(largest) > most_loads:
        failures.append(f"{prefix}_tile: {vectors_loaded(largest)} vectors loaded in a step, expected {most_loads}")
    for failure in failures:
        print(f"FAIL: {failure}", file=sys.stderr)
    return 1 if failures else 0


sys.exit(main())
