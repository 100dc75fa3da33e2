"""Reads the machine code of kernels as cuobjdump writes it: instructions, and the loops that they form."""
import collections
import re
import subprocess

# Matches "        /*0f30*/               @P0 BRA 0x3bb0 ;      /* 0x... */".
LINE = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(?:@(!?U?P[T\d]+)\s+)?([A-Z][A-Za-z0-9_.]*)\s*([^;]*);")

Instruction = collections.namedtuple("Instruction", "address guard name rest")


def opcode(instruction):
    """Return the first part of an instruction's name: HGMMA of HGMMA.64x256x16.F32.BF16."""
    return instruction.name.split(".")[0]


def names_of(mangled):
    """Return {symbol: name as in the sources}: names without arguments, anonymous namespaces and casts."""
    out = subprocess.run(["c++filt"], input="\n".join(mangled), capture_output=True, text=True, check=True).stdout
    short = {}
    for symbol, name in zip(mangled, out.splitlines()):
        name = re.sub(r"\(anonymous namespace\)::", "", name)
        name = re.sub(r"\((?:int|unsigned int|long|bool|work|ends)\)", "", name)
        name = name[len("void "):] if name.startswith("void ") else name
        depth = end = 0
        for end, c in enumerate(name + "("):
            depth += (c == "<") - (c == ">")
            if c == "(" and depth == 0:
                break
        short[symbol] = re.sub(r"\bunsigned short\b", "bf16", name[:end]).replace(" ", "")
    return short


def read(cuobjdump, cubin):
    """Return {symbol: list of instructions} for the functions of a cubin. A RuntimeError has what cuobjdump said."""
    text = subprocess.run([cuobjdump, "--dump-sass", cubin], capture_output=True, text=True)
    if text.returncode:
        raise RuntimeError(f"{cuobjdump} --dump-sass {cubin}: {text.stderr.strip()}")
    functions, code = {}, []
    for line in text.stdout.splitlines():
        if m := re.search(r"Function : (\S+)", line):
            code = functions[m[1]] = []
        elif m := LINE.match(line):
            code.append(Instruction(int(m[1], 16), m[2], m[3], m[4].strip()))
    return functions


def target(instruction):
    """Return the address to which a branch goes, or None."""
    if opcode(instruction) != "BRA":
        return None
    m = re.search(r"0x([0-9a-f]+)", instruction.rest)
    return int(m[1], 16) if m else None


def following(code, index, i):
    """Return the numbers of the instructions that can follow instruction i of a function; index: {address: number}."""
    x, to = code[i], target(code[i])
    ways = [] if opcode(x) in ("BRA", "EXIT", "BREAK", "RET") and not x.guard else [i + 1]
    if to is not None and to in index:
        ways.append(index[to])
    return [way for way in ways if way < len(code)]


def registers(x):
    """Return how many registers a thread needs to have for an instruction: one more than the largest number in it."""
    found = [(int(n), 2 if pair else 1) for n, pair in re.findall(r"\bR(\d+)\b(\.64)?", x.rest)]
    parts, wide = x.name.split("."), 4 if ".128" in x.name or x.name.startswith("LDSM") else 2 if ".64" in x.name or "WIDE" in x.name else 1
    if found and parts[0] == "HGMMA":  # its sums
        found.append((found[0][0], int(parts[1].split("x")[1]) // 2))
    elif found and parts[0] in ("STG", "STS"):  # what is stored comes last
        found.append((found[-1][0], wide))
    elif found and parts[0] != "LDGSTS":
        found.append((found[0][0], wide))
    return max((n + count for n, count in found), default=0)


def after(code, start):
    """Return the instructions that can follow instruction number `start` of a function, and it. None follows a trap."""
    index = {x.address: i for i, x in enumerate(code)}
    seen, ahead = set(), [start]
    while ahead:
        i = ahead.pop()
        if i not in seen:
            seen.add(i)
            ahead += [] if code[i].name.startswith("BPT") else following(code, index, i)
    return [code[i] for i in sorted(seen)]


def registers_of_groups(code):
    """Return [(registers that setmaxnreg leaves or gives to a warp group, registers that its instructions need)]."""
    return [(int(x.rest.split("0x")[1].split()[0], 16), max(registers(y) for y in after(code, i)))
            for i, x in enumerate(code) if x.name.startswith("USETMAXREG") and "0x" in x.rest]


def early_writes(code):
    """
    Return the addresses of instructions that write a register which an HGMMA before them may still read: its operand A,
    until a WARPGROUP.DEPBAR has waited for its group. Instructions are looked at in the order of the code. Before CUDA
    13.3 ptxas may reuse such registers too early (https://github.com/triton-lang/triton/issues/9433).
    """
    groups, found = [set()], []  # registers that are read, by group; the last group is not closed yet
    for x in code:
        operands = re.findall(r"^R(\d+)\b(?:, R(\d+)\b)?", x.rest)
        if opcode(x) == "HGMMA":
            first, count = int(operands[0][0]), int(x.name.split(".")[1].split("x")[1]) // 2
        elif x.name.startswith("WARPGROUP.DEPBAR"):
            groups = groups[max(0, len(groups) - 1 - int(x.rest.split("0x")[1], 16)):]
            continue
        elif operands and opcode(x) not in ("STG", "STS", "ST", "LDGSTS", "R2UR", "RED"):
            wide = 4 if ".128" in x.name or x.name.startswith("LDSM") else 2 if ".64" in x.name or "WIDE" in x.name else 1
            first, count = int(operands[0][0]), wide
        else:
            continue
        if set().union(*groups) & set(range(first, first + count)):
            found.append(x.address)
        if opcode(x) == "HGMMA":
            if operands[0][1]:
                groups[-1] |= set(range(int(operands[0][1]), int(operands[0][1]) + 4))
            if "gsb" in x.rest:
                groups.append(set())
    return found


class Loop:
    """A loop: the instructions from the target of a backward branch up to that branch, and those on ways that leave
    this range and come back."""

    def __init__(self, code, index, first, last):
        self.code, self.index, self.first, self.last = code, index, first, last
        self.body = code[first:last + 1]

    def count(self, name):
        return sum(opcode(x) == name for x in self.body)

    def path(self, wanted, whole=False):
        """
        Return the shortest way through the loop that has the given numbers of instructions, or None if there is none.
        `wanted` is {name: number}, where a name is the beginning of the instruction's name. The shortest way leaves out
        code for the ends of tiles, for waits that find nothing to wait for, and for arrays that a call does not have.
        `whole`: the guards of all instructions hold, as in a whole tile, which leaves fewer ways to try.
        """
        kinds = sorted(wanted)
        limit = tuple(wanted[k] for k in kinds)
        nothing = tuple(0 for _ in kinds)
        most, least = self.most_ahead(kinds, limit), self.least_ahead(kinds)
        does, after = {}, {}  # by instruction, when it is first met: what it may count as, and where it goes on
        start = self.first, nothing
        before = {start: None}
        states = collections.deque([start])
        while states:
            state = states.popleft()
            i, met = state
            if i not in does:
                x = self.code[i]
                did = tuple(int(x.name.startswith(k)) for k in kinds)
                does[i] = [nothing] if not any(did) else [did, nothing] if x.guard and not whole else [did]  # a guard may skip it
                after[i] = [] if i == self.last else [to for to in following(self.code, self.index, i) if to != self.first]
            for done in does[i]:
                now = met if done is nothing else tuple(m + d for m, d in zip(met, done))
                if done is not nothing and any(n > end for n, end in zip(now, limit)):
                    continue
                if i == self.last and now == limit:
                    return self.way_to(state, now, before, whole)
                for to in after[i]:
                    ahead = zip(now, least.get(to, nothing), most.get(to, limit), limit)
                    if (to, now) not in before and all(n + less <= end <= n + more for n, less, more, end in ahead):
                        before[to, now] = state
                        states.append((to, now))
        return None

    def most_ahead(self, kinds, limit):
        """Return for each instruction an upper bound on the number of instructions of each kind on any way from it to
        the loop's end. Bounds are at most `limit`, which is also the bound behind a backward branch."""
        most = {}
        for i in range(len(self.code) - 1, self.first - 1, -1):
            ways = [] if i == self.last else [to for to in following(self.code, self.index, i) if to != self.first]
            ahead = [limit if to <= i else most[to] for to in ways] or [tuple(0 for _ in kinds)]
            most[i] = tuple(min(end, max(column) + self.code[i].name.startswith(k)) for end, k, column in zip(limit, kinds, zip(*ahead)))
        return most

    def least_ahead(self, kinds):
        """Return for each instruction how many of each kind there are at least on all ways from it to the loop's end. A
        jump back counts as having none ahead."""
        least = {}
        for i in range(len(self.code) - 1, self.first - 1, -1):
            ways = [] if i == self.last else [to for to in following(self.code, self.index, i) if to != self.first]
            ahead = [tuple(0 for _ in kinds) if to <= i else least[to] for to in ways] or [tuple(0 for _ in kinds)]
            always = not self.code[i].guard
            least[i] = tuple(min(column) + (always and self.code[i].name.startswith(k)) for k, column in zip(kinds, zip(*ahead)))
        return least

    def way_to(self, state, met, before, whole):
        """Return the instructions on the way to a state. One whose guard does not hold is replaced by a NOP."""
        way = []
        while state:
            x = self.code[state[0]]
            way.append(x._replace(name="NOP") if not whole and x.guard and opcode(x) != "BRA" and met == state[1] and self.counts(x) else x)
            met, state = state[1], before[state]
        return way[::-1]

    @staticmethod
    def counts(x):
        """Return whether an instruction keeps a unit busy if its guard holds."""
        return opcode(x) in ("STS", "LDS", "LDG", "STG", "MUFU")


def loops(code):
    """Return all loops of a function, the smallest first."""
    index = {x.address: i for i, x in enumerate(code)}
    found = []
    for i, x in enumerate(code):
        to = target(x)
        if to is not None and to in index and index[to] <= i:
            found.append(Loop(code, index, index[to], i))
    return sorted(found, key=lambda loop: len(loop.body))
