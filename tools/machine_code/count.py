"""Counts the instructions of the compiled scans per element, as in docs/cuda-kernel.md; needs no GPU.

cd tools && python -m machine_code [--arch sm_90] [--type float16]    counts of each variant
cd tools && python -m machine_code --resources                        registers for all GPUs

An element is one channel at one time step in one direction. The kernels are compiled with nvcc and
disassembled with nvdisasm (PyPI package nvidia-cuda-nvdisasm). Counted is the path of a whole tile with wide
accesses of global memory: the loop over the tiles, and in it the loop of the recurrence. For ScanPair, the
time steps are projected from 12 values, and a half of the tiles stores sums, the other half outputs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from machine_code.kernels import (
    ARCHITECTURES,
    FAMILIES,
    TYPES,
    Family,
    ToolError,
    Variant,
    compile_kernels,
    disassemble,
)
from machine_code.sass import Block, Instruction, Loop, loops, main_path

THREADS_PER_WARP = 32
# The cycles of a warp's access to shared memory without bank conflicts, at 128 bytes a cycle. Loads of 8 and
# 16 bytes take half of them if threads at distance 1 or 2 have the same address.
_ACCESS_CYCLES = {"64": 2, "128": 4}
_RANK_STEPS = 3  # iterations of the projection for a rank of 12


@dataclass(frozen=True)
class Counts:
    """Thread instructions per element; `shared_cycles`: cycles on the shared-memory pipe per element.

    `paired_cycles`: the same if wide loads of the recurrence take half the cycles.
    """

    kernel: str
    instructions: float
    lds: float
    sts: float
    shfl: float
    mufu: float
    shared_cycles: float
    paired_cycles: float
    registers: int

    @property
    def issue_cycles(self) -> float:
        """128 thread instructions per cycle and multiprocessor."""
        return self.instructions / 128

    @property
    def special_cycles(self) -> float:
        """16 special functions per cycle and multiprocessor."""
        return self.mufu / 16


@dataclass(frozen=True)
class _Part:
    """Instructions, how often each is executed per element, and the factor for cycles of wide loads."""

    instructions: list[Instruction]
    weight: float
    paired: float = 1.0


def count_scan(name: str, blocks: list[Block], variant: Variant, registers: int) -> Counts:
    """The counts of a kernel with a loop over tiles, with barriers, and one over tokens in it."""
    found = loops(blocks)
    tiles = [loop for loop in found if _has(blocks, loop, "BAR")]
    if not tiles:
        raise ToolError(f"{name}: no loop with barriers in the machine code")
    tile = max(tiles, key=lambda loop: len(loop.blocks))
    inner = [loop for loop in found if loop.blocks < tile.blocks and not _has(blocks, loop, "BAR")]
    recurrences = [loop for loop in inner if _has(blocks, loop, "MUFU.EX2")]
    projections = [loop for loop in inner if loop not in recurrences]
    if len(recurrences) != 1 or len(projections) > 1:
        raise ToolError(f"{name}: {len(inner)} loops inside the loop over tiles, expected the recurrence")
    # A thread stages and stores time / lanes tokens of its channels. An iteration of the recurrence covers
    # `lanes` tokens, for which `lanes` threads share a channel.
    staged = 1 / (variant.time / variant.lanes * variant.channels)
    kinds = (_stores_outputs, _stores_sums) if projections else (_stores_outputs,)
    parts = [_Part(main_path(blocks, tile, inner, kind), staged / len(kinds)) for kind in kinds]
    parts.append(_Part(main_path(blocks, recurrences[0], [], _stores_outputs), 1 / variant.channels, 0.5))
    for loop in projections:
        parts.append(_Part(main_path(blocks, loop, [], _stores_outputs), staged * _RANK_STEPS, 0.5))
    return _counts(name, parts, registers)


def _counts(name: str, parts: Iterable[_Part], registers: int) -> Counts:
    totals: defaultdict[str, float] = defaultdict(float)
    for part in parts:
        for item in part.instructions:
            kind, *modifiers = item.operation.split(".")
            totals[kind] += part.weight
            totals["all"] += part.weight
            if kind in ("LDS", "STS", "SHFL"):
                cycles = next((_ACCESS_CYCLES[text] for text in modifiers if text in _ACCESS_CYCLES), 1)
                totals["shared"] += part.weight * cycles / THREADS_PER_WARP
                factor = part.paired if kind == "LDS" and cycles > 1 else 1
                totals["paired"] += part.weight * cycles * factor / THREADS_PER_WARP
    kinds = [round(totals[kind], 3) for kind in ("all", "LDS", "STS", "SHFL", "MUFU", "shared", "paired")]
    return Counts(name, *kinds, registers=registers)


def _has(blocks: list[Block], loop: Loop, operation: str) -> bool:
    return any(
        item.operation.startswith(operation) for index in loop.blocks for item in blocks[index].instructions
    )


def _stores_outputs(item: Instruction) -> int:
    """High for special functions and wide accesses, of which a whole tile has the most.

    Sums of one direction are stored as float2, outputs are not.
    """
    if item.operation.startswith("MUFU"):
        return 2
    if not item.operation.startswith(("LDG", "STG")):
        return 0
    if item.operation == "STG.E.64" or ".U16" in item.operation:
        return -1
    return 4 if ".64" in item.operation or ".128" in item.operation else 1


def _stores_sums(item: Instruction) -> int:
    """Likewise, but without the gate, which only tiles with outputs apply."""
    if item.operation == "STG.E.64":
        return 4
    return -9 if item.operation == "MUFU.RCP" else _stores_outputs(item)


def count_all(family: Family, element: str, arch: str, *flags: str) -> list[Counts]:
    """The counts of every kernel with an output. Raises ToolError."""
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "scan.cubin"
        registers = compile_kernels(family.path(element), arch, cubin, *flags)
        code = disassemble(cubin)
    found = []
    for index, variant in enumerate(family.variants()):
        name = family.kernel(code, index, output=True)
        found.append(count_scan(f"{family.name} {variant}", code[name], variant, registers[name]))
    return found


def resource_table() -> str:
    """Registers by type of every variant, launch and architecture. Raises ToolError."""
    lines = [f"| kernel | launch | {' | '.join(ARCHITECTURES)} |", "|---" * (len(ARCHITECTURES) + 2) + "|"]
    for family in FAMILIES:
        registers: dict[tuple[str, str], dict[str, int]] = {}
        with tempfile.TemporaryDirectory() as folder:
            for arch in ARCHITECTURES:
                for element in TYPES:
                    cubin = Path(folder) / "scan.cubin"
                    registers[arch, element] = compile_kernels(family.path(element), arch, cubin)
        for index, variant in enumerate(family.variants()):
            for launch, output in (("scan", True), ("summary", False)):
                each = {key: found[family.kernel(found, index, output)] for key, found in registers.items()}
                cells = (" / ".join(str(each[arch, element]) for element in TYPES) for arch in ARCHITECTURES)
                lines.append(f"| {family.name} {variant} | {launch} | {' | '.join(cells)} |")
    return "\n".join(lines)


def table(rows: Iterable[Counts]) -> str:
    lines = [
        "| kernel, states x lanes x channels | all | LDS | STS | SHFL | MUFU "
        "| issue | special | shared | paired | registers |",
        "|---" * 11 + "|",
    ]
    for row in rows:
        numbers = (row.instructions, row.lds, row.sts, row.shfl, row.mufu)
        cycles = (row.issue_cycles, row.special_cycles, row.shared_cycles, row.paired_cycles)
        cells = [*(f"{value:.1f}" for value in numbers), *(f"{value:.2f}" for value in cycles)]
        lines.append(f"| {row.kernel} | {' | '.join(cells)} | {row.registers} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arch", default="sm_90", help="GPU architecture, such as sm_87 (default: sm_90)")
    parser.add_argument("--type", default="float16", choices=TYPES)
    parser.add_argument("--resources", action="store_true", help="registers instead of counts")
    parser.add_argument("--json", action="store_true", help="one JSON object for each kernel")
    options = parser.parse_args(arguments)
    try:
        if options.resources:
            print(resource_table())
            return 0
        rows = [row for family in FAMILIES for row in count_all(family, options.type, options.arch)]
    except ToolError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(json.dumps(asdict(row)) for row in rows) if options.json else table(rows))
    return 0
