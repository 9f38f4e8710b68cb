"""Control flow of machine code as printed by `nvdisasm -c`: basic blocks, loops, and paths through loops."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

_SECTION = re.compile(r"^\.text\.(?P<name>\S+):$")
_LABEL = re.compile(r"^(?P<name>\.L_\w+):$")
_INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?P<text>[^;]+?)\s*;")
_TARGET = re.compile(r"`\((?P<name>\.L_\w+)\)")
_PREDICATE = re.compile(r"^@!?U?P\d+\s+")
_CONDITION = re.compile(r"\bU?P\d\b")


@dataclass(frozen=True)
class Instruction:
    """One instruction: `operation` with its modifiers, such as LDS.128; `text` also has its operands."""

    operation: str
    text: str

    @property
    def target(self) -> str | None:
        """The label in its operands."""
        found = _TARGET.search(self.text)
        return found["name"] if found else None

    @property
    def conditional(self) -> bool:
        operands = self.text.partition("`")[0]
        divergent = self.operation.startswith("BRA.DIV")
        return self.text.startswith("@") or divergent or bool(_CONDITION.search(operands))


@dataclass
class Block:
    """Instructions that run one after another, and the indices of the blocks that may follow."""

    instructions: list[Instruction] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    successors: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Loop:
    """A natural loop: the index of its first block, and of all of its blocks."""

    head: int
    blocks: frozenset[int]


def kernels(disassembly: str) -> dict[str, list[Block]]:
    """The basic blocks of each kernel, by its mangled name."""
    found: dict[str, list[Block]] = {}
    blocks: list[Block] | None = None
    for line in disassembly.splitlines():
        text = line.strip()
        if section := _SECTION.match(text):
            blocks = found.setdefault(section["name"], [Block()])
        elif text.startswith(".section"):
            blocks = None
        elif blocks is not None:
            _add(blocks, text)
    for each in found.values():
        _connect(each)
    return found


def _add(blocks: list[Block], text: str) -> None:
    if label := _LABEL.match(text):
        if blocks[-1].instructions:
            blocks.append(Block())
        blocks[-1].labels.append(label["name"])
    elif instruction := _INSTRUCTION.search(text):
        body = instruction["text"]
        operation = _PREDICATE.sub("", body).split()[0]
        blocks[-1].instructions.append(Instruction(operation, body))
        if operation.partition(".")[0] in ("BRA", "EXIT", "BSYNC", "RET"):
            blocks.append(Block())


def _connect(blocks: list[Block]) -> None:
    place = {label: index for index, block in enumerate(blocks) for label in block.labels}
    # Barrier register to the block after its threads have met, from the nearest BSSY before.
    reconverge: dict[str, int] = {}
    for index, block in enumerate(blocks):
        for item in block.instructions:
            if item.operation.startswith("BSSY") and item.target in place:
                reconverge[_barrier(item)] = place[item.target]
        last = block.instructions[-1] if block.instructions else None
        kind = last.operation.partition(".")[0] if last else ""
        following = [index + 1] if index + 1 < len(blocks) else []
        if last is None or kind not in ("BRA", "EXIT", "BSYNC", "RET"):
            block.successors = following
        elif kind == "BRA":
            target = [place[last.target]] if last.target in place else []
            block.successors = target + (following if last.conditional else [])
        elif kind == "BSYNC":
            meeting = reconverge.get(_barrier(last))
            block.successors = following if meeting is None else [meeting]
        else:
            block.successors = following if last.conditional else []


def _barrier(item: Instruction) -> str:
    found = re.search(r"\bB\d+\b", item.text)
    return found.group() if found else ""


def loops(blocks: list[Block]) -> list[Loop]:
    """All natural loops, one for each head, found by a depth-first search from the first block."""
    predecessors: list[list[int]] = [[] for _ in blocks]
    for index, block in enumerate(blocks):
        for successor in block.successors:
            predecessors[successor].append(index)
    bodies: dict[int, set[int]] = {}
    for tail, head in _back_edges(blocks):
        body = bodies.setdefault(head, {head})
        waiting = [tail]
        while waiting:
            index = waiting.pop()
            if index not in body:
                body.add(index)
                waiting += predecessors[index]
    return [Loop(head, frozenset(body)) for head, body in sorted(bodies.items())]


def _back_edges(blocks: list[Block]) -> Iterator[tuple[int, int]]:
    """Edges to a block that is being visited."""
    visiting, done = {0}, set()
    stack = [(0, iter(blocks[0].successors))]
    while stack:
        index, rest = stack[-1]
        successor = next(rest, None)
        if successor is None:
            stack.pop()
            visiting.discard(index)
            done.add(index)
        elif successor in visiting:
            yield index, successor
        elif successor not in done:
            visiting.add(successor)
            stack.append((successor, iter(blocks[successor].successors)))


def main_path(
    blocks: list[Block], loop: Loop, inner: list[Loop], value: Callable[[Instruction], int]
) -> list[Instruction]:
    """The instructions of one path through the loop's body, from its head back to its head.

    It is the path with the highest sum of `value`, and of these the shortest. Inner loops count as empty.
    """
    inside = {index for each in inner for index in each.blocks}
    known: dict[int, _Path | None] = {}
    visiting: set[int] = set()

    def visit(index: int) -> _Path | None:
        if index in known:
            return known[index]
        visiting.add(index)
        found = [_Path(0, 0, ())] if loop.head in blocks[index].successors else []
        for successor in blocks[index].successors:
            if successor in loop.blocks and successor != loop.head and successor not in visiting:
                path = visit(successor)
                found += [path] if path else []
        visiting.discard(index)
        best = max(found, default=None, key=lambda path: (path.value, -path.length))
        own = [] if index in inside else blocks[index].instructions
        if best is not None:
            best = _Path(best.value + sum(map(value, own)), best.length + len(own), (index, *best.blocks))
        known[index] = best
        return best

    path = visit(loop.head)
    indices = path.blocks if path else ()
    return [item for index in indices if index not in inside for item in blocks[index].instructions]


@dataclass(frozen=True)
class _Path:
    """Blocks up to the head of a loop, with the sum of their instructions' values and the number of them."""

    value: int
    length: int
    blocks: tuple[int, ...]
