"""Counts the instructions of the compiled scan per element, as in docs/cuda-kernel.md; needs no GPU.

cd tools && python -m machine_code [--arch sm_90] [--type float16]    counts of each variant
cd tools && python -m machine_code --resources                        registers and shared memory for all GPUs

An element is one channel at one time step. The kernels are compiled with nvcc and disassembled with nvdisasm
(PyPI package nvidia-cuda-nvdisasm). Counted is the path of a whole tile with wide accesses of global memory:
the loop over the tiles, and in it the loop of the recurrence.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from machine_code.sass import Block, Instruction, Loop, kernels, loops, main_path

SCAN = Path(__file__).resolve().parents[2] / "plugins" / "selective_scan"
THREADS_PER_WARP = 32
_REPORT = re.compile(
    r"entry function '(\S+)' for.*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
    r".*?Used (\d+) registers.*?(\d+) bytes smem",
    re.DOTALL,
)
_ARCHITECTURES = ("sm_80", "sm_86", "sm_87", "sm_89", "sm_90", "sm_100", "sm_120")
_TYPES = ("float32", "float16", "bfloat16")
# The cycles of a warp's access to shared memory without bank conflicts, at 128 bytes a cycle. Loads of 8 and
# 16 bytes take half of them if threads at distance 1 or 2 have the same address.
_ACCESS_CYCLES = {"64": 2, "128": 4}


class ToolError(Exception):
    """A program is missing or failed, or the machine code does not have the expected form."""


@dataclass(frozen=True)
class Variant:
    """An entry of kCudaVariants: states, lanes and channels of a thread, and tokens of a tile."""

    states: int
    lanes: int
    channels: int
    time: int


@dataclass(frozen=True)
class Resources:
    """Registers of a thread and bytes of shared memory of a block."""

    registers: int
    shared: int


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


def find_nvdisasm() -> str | None:
    """The program on PATH or in the package nvidia-cuda-nvdisasm."""
    if found := shutil.which("nvdisasm"):
        return found
    spec = importlib.util.find_spec("nvidia")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return next((str(path) for folder in folders for path in Path(folder).glob("**/bin/nvdisasm")), None)


def variants() -> list[Variant]:
    """kCudaVariants in scan_cuda.h."""
    text = (SCAN / "scan_cuda.h").read_text()
    table = re.search(r"kCudaVariants\[\] = \{(.*?)\n\};", text, re.DOTALL)
    rows = re.findall(r"\{(\d+), (\d+), (\d+), (\d+)\}", table[1] if table else "")
    if not rows:
        raise ToolError("kCudaVariants was not found in scan_cuda.h")
    return [Variant(*map(int, row)) for row in rows]


def compile_kernels(source: Path, arch: str, target: Path, *flags: str) -> dict[str, Resources]:
    """Writes a cubin. Returns the resources of each kernel; raises ToolError if one uses local memory."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        raise ToolError("nvcc is not on PATH")
    options = ["-std=c++17", "-O3", f"-arch={arch}", "-cubin", "-Xptxas", "-v", *flags]
    done = _run([nvcc, *options, str(source), "-o", str(target)])
    found = _REPORT.findall(done.stderr)
    spilled = [name for name, *frame, _, _ in found if set(frame) != {"0"}]
    if spilled:
        raise ToolError(f"{source.name} for {arch}: local memory in {', '.join(spilled)}")
    return {name: Resources(int(registers), int(shared)) for name, *_, registers, shared in found}


def disassemble(cubin: Path) -> dict[str, list[Block]]:
    program = find_nvdisasm()
    if program is None:
        raise ToolError("nvdisasm is not installed; pip install nvidia-cuda-nvdisasm")
    return kernels(_run([program, "-c", str(cubin)]).stdout)


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode != 0:
        raise ToolError(f"{' '.join(command)} failed:\n{done.stderr}")
    return done


def count_scan(name: str, blocks: list[Block], variant: Variant, registers: int) -> Counts:
    """The counts of a kernel with a loop over tiles, with barriers, and one over tokens in it."""
    found = loops(blocks)
    tiles = [loop for loop in found if _has(blocks, loop, "BAR")]
    recurrences = [loop for loop in found if _has(blocks, loop, "MUFU.EX2") and not _has(blocks, loop, "BAR")]
    if not tiles:
        raise ToolError(f"{name}: no loop with barriers in the machine code")
    tile = max(tiles, key=lambda loop: len(loop.blocks))
    inner = [loop for loop in recurrences if loop.blocks < tile.blocks]
    if len(inner) != 1:
        raise ToolError(f"{name}: {len(inner)} loops inside the loop over tiles, expected the recurrence")
    once = main_path(blocks, tile, inner, _work)
    repeated = main_path(blocks, inner[0], [], _work)
    # A thread stages and stores time / lanes tokens of its channels. An iteration of the recurrence covers
    # `lanes` tokens, for which `lanes` threads share a channel.
    staged = variant.time / variant.lanes * variant.channels
    return _counts(name, (once, 1 / staged), (repeated, 1 / variant.channels), registers)


def _counts(
    name: str,
    staging: tuple[list[Instruction], float],
    recurrence: tuple[list[Instruction], float],
    registers: int,
) -> Counts:
    """`staging` and `recurrence`: instructions, and how often each is executed per element."""
    totals: defaultdict[str, float] = defaultdict(float)
    for (instructions, weight), paired in ((staging, 1.0), (recurrence, 0.5)):
        for item in instructions:
            kind, *modifiers = item.operation.split(".")
            totals[kind] += weight
            totals["all"] += weight
            if kind in ("LDS", "STS", "SHFL"):
                cycles = next((_ACCESS_CYCLES[text] for text in modifiers if text in _ACCESS_CYCLES), 1)
                totals["shared"] += weight * cycles / THREADS_PER_WARP
                factor = paired if kind == "LDS" and cycles > 1 else 1
                totals["paired"] += weight * cycles * factor / THREADS_PER_WARP
    kinds = [round(totals[kind], 3) for kind in ("all", "LDS", "STS", "SHFL", "MUFU", "shared", "paired")]
    return Counts(name, *kinds, registers=registers)


def _has(blocks: list[Block], loop: Loop, operation: str) -> bool:
    return any(
        item.operation.startswith(operation) for index in loop.blocks for item in blocks[index].instructions
    )


def _work(item: Instruction) -> int:
    """1 for special functions and wide accesses of global memory, of which a whole tile has the most."""
    narrow = ".U16" in item.operation
    return int(
        item.operation.startswith("MUFU") or (item.operation.startswith(("LDG", "STG")) and not narrow)
    )


def count_all(element: str, arch: str, *flags: str) -> list[Counts]:
    """The counts of every scan kernel with an output. Raises ToolError."""
    source = SCAN / f"scan_cuda_{element}.cu"
    found = []
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "scan.cubin"
        resources = compile_kernels(source, arch, cubin, *flags)
        code = disassemble(cubin)
    for index, variant in enumerate(variants()):
        names = [name for name in code if "scan_kernelILb1E" in name and f"ShapeILi{index}E" in name]
        if len(names) != 1:
            raise ToolError(f"variant {index}: {len(names)} kernels in the machine code, expected one")
        found.append(count_scan(_title(variant), code[names[0]], variant, resources[names[0]].registers))
    return found


def resource_table() -> str:
    """Registers by type and shared memory of every variant, launch and architecture. Raises ToolError."""
    resources: dict[tuple[str, str], dict[str, Resources]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for arch in _ARCHITECTURES:
            for element in _TYPES:
                source, cubin = SCAN / f"scan_cuda_{element}.cu", Path(folder) / "scan.cubin"
                resources[arch, element] = compile_kernels(source, arch, cubin)
    lines = [
        f"| states x lanes x channels | launch | {' | '.join(_ARCHITECTURES)} | shared |",
        "|---" * (len(_ARCHITECTURES) + 3) + "|",
    ]
    for index, variant in enumerate(variants()):
        for launch, output in (("scan", 1), ("summary", 0)):
            each = {
                key: next(
                    value
                    for name, value in found.items()
                    if f"ILb{output}E" in name and f"ILi{index}E" in name
                )
                for key, found in resources.items()
            }
            cells = (
                " / ".join(str(each[arch, element].registers) for element in _TYPES)
                for arch in _ARCHITECTURES
            )
            shared = max(value.shared for value in each.values())
            lines.append(f"| {_title(variant)} | {launch} | {' | '.join(cells)} | {shared} |")
    return "\n".join(lines)


def _title(variant: Variant) -> str:
    return f"{variant.states} x {variant.lanes} x {variant.channels}"


def table(rows: Iterable[Counts]) -> str:
    lines = [
        "| states x lanes x channels | all | LDS | STS | SHFL | MUFU "
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
    parser.add_argument("--type", default="float16", choices=_TYPES)
    parser.add_argument(
        "--resources", action="store_true", help="registers and shared memory instead of counts"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object for each kernel")
    options = parser.parse_args(arguments)
    try:
        if options.resources:
            print(resource_table())
            return 0
        rows = count_all(options.type, options.arch)
    except ToolError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(json.dumps(asdict(row)) for row in rows) if options.json else table(rows))
    return 0
