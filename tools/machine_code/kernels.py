"""The compiled kernels: their sources, their variants, compiling and disassembling them."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from machine_code.sass import Block, kernels

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
TYPES = ("float32", "float16", "bfloat16")
ARCHITECTURES = ("sm_80", "sm_86", "sm_87", "sm_89", "sm_90", "sm_100", "sm_120")
_INCLUDE = [f"-I{PLUGINS / folder}" for folder in ("selective_scan", "fused")]
_REPORT = re.compile(
    r"entry function '(\S+)' for.*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
    r".*?Used (\d+) registers",
    re.DOTALL,
)


class ToolError(Exception):
    """A program is missing or failed, or the machine code does not have the expected form."""


@dataclass(frozen=True)
class Variant:
    """An entry of a table of variants: states, lanes and channels of a thread, and tokens of a tile."""

    states: int
    lanes: int
    channels: int
    time: int

    def __str__(self) -> str:
        return f"{self.states} x {self.lanes} x {self.channels}"


@dataclass(frozen=True)
class Family:
    """Kernels that are instances of one template. `table` is the array of variants in `header`."""

    name: str
    source: str  # with the type
    header: str
    table: str
    template: str

    def variants(self) -> list[Variant]:
        text = (PLUGINS / self.header).read_text()
        found = re.search(rf"{self.table}\[\] = \{{(.*?)\n\}};", text, re.DOTALL)
        rows = re.findall(r"\{(\d+), (\d+), (\d+), (\d+)\}", found[1] if found else "")
        if not rows:
            raise ToolError(f"{self.table} was not found in {self.header}")
        return [Variant(*map(int, row)) for row in rows]

    def path(self, element: str) -> Path:
        return PLUGINS / self.source.format(element)

    def kernel(self, names: Iterable[str], index: int, output: bool) -> str:
        """The mangled name of a variant: the scan, which has an output, or the summary of chunks."""
        parts = (f"{self.template}ILb{int(output)}E", f"ShapeILi{index}E")
        found = [name for name in names if all(part in name for part in parts)]
        if len(found) != 1:
            raise ToolError(f"{self.name}: {len(found)} kernels for variant {index}, expected one")
        return found[0]


SCAN = Family(
    "SelectiveScan",
    "selective_scan/scan_cuda_{}.cu",
    "selective_scan/scan_cuda.h",
    "kCudaVariants",
    "scan_kernel",
)
PAIR = Family("ScanPair", "fused/pair_cuda_{}.cu", "fused/pair_cuda.h", "kPairVariants", "pair_kernel")
FAMILIES = (SCAN, PAIR)


def find_nvdisasm() -> str | None:
    """The program on PATH or in the package nvidia-cuda-nvdisasm."""
    if found := shutil.which("nvdisasm"):
        return found
    spec = importlib.util.find_spec("nvidia")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return next((str(path) for folder in folders for path in Path(folder).glob("**/bin/nvdisasm")), None)


def compile_kernels(source: Path, arch: str, target: Path, *flags: str) -> dict[str, int]:
    """Writes a cubin. Returns the registers of each kernel; raises ToolError if one uses local memory."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        raise ToolError("nvcc is not on PATH")
    options = ["-std=c++17", "-O3", f"-arch={arch}", "-cubin", "-Xptxas", "-v", *_INCLUDE, *flags]
    found = _REPORT.findall(_run([nvcc, *options, str(source), "-o", str(target)]).stderr)
    spilled = [name for name, *frame, _ in found if set(frame) != {"0"}]
    if spilled:
        raise ToolError(f"{source.name} for {arch}: local memory in {', '.join(spilled)}")
    return {name: int(registers) for name, *_, registers in found}


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
