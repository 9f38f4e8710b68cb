"""Cycles per state update of the CPU kernels, estimated with llvm-mca: docs/arm.md.

cd tools && python -m machine_code.recurrence [--measure]

An update is one state of one vector of channels. The loop over the tokens is compiled, found in the
assembly, and given to llvm-mca, which knows a CPU's pipes and latencies but no caches. `--measure` also runs
the instruction sets of this CPU; run it on an idle machine.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from machine_code.kernels import ToolError

HERE = Path(__file__).resolve().parent
KERNELS = HERE.parents[1] / "plugins" / "selective_scan"
FLAGS = (
    "-O3 -std=c++17 -ffp-contract=fast -fno-math-errno -fno-trapping-math "
    "-fno-exceptions -fno-rtti -Wno-psabi"
)
STATES = 16  # updates in one iteration of the loop
ITERATIONS = 200
MCA_NAMES = (*(f"llvm-mca-{version}" for version in range(30, 15, -1)), "llvm-mca")
_MULTIPLY_ADD = re.compile(r"\s(fmla|fmls|vfn?m(add|sub)\d+ps)\s")
_LABEL = re.compile(r"^(\.L\w+):")
_BRANCH = re.compile(r"^\s+(?:j\w+|b\.?\w*|cbn?z\s+\w+,|tbn?z\s+\w+,.*,)\s*(\.L\w+)")


@dataclass(frozen=True)
class Target:
    """An instruction set, how it is compiled, and the CPUs for which it is estimated."""

    header: str
    name: str  # of the class
    compiler: str
    flags: tuple[str, ...]
    march: str
    cpus: tuple[str, ...]


_ARM_CPUS = ("neoverse-v2", "neoverse-n2", "neoverse-n1", "cortex-a78ae")
TARGETS = (
    Target("lanes_avx2.h", "Avx2", "g++", ("-mavx2", "-mfma"), "x86-64", ("znver3", "znver4")),
    Target("lanes_neon.h", "Neon", "aarch64-linux-gnu-g++", (), "aarch64", _ARM_CPUS),
    Target("lanes_portable.h", "Portable", "aarch64-linux-gnu-g++", (), "aarch64", _ARM_CPUS),
)


@dataclass(frozen=True)
class Estimate:
    instructions: int  # in one iteration
    cycles: float  # per state update
    bound: float  # per state update, by the busiest resource


def compile_recurrence(target: Target, output: Path, *options: str) -> None:
    if not shutil.which(target.compiler):
        raise ToolError(f"{target.compiler} is missing")
    defines = (f'-DLANES="{target.header}"', f"-DSET={target.name}", f"-I{KERNELS}")
    command = [target.compiler, *FLAGS.split(), *target.flags, *defines, *options, "-o", str(output)]
    done = subprocess.run(
        [*command, str(HERE / "recurrence.cpp")], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ToolError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")


def token_loop(assembly: str) -> list[str]:
    """The instructions of the innermost loop with the most multiply-adds."""
    labels: dict[str, int] = {}
    body: list[str] = []
    loops: list[list[str]] = []
    for line in assembly.splitlines():
        if label := _LABEL.match(line):
            labels[label[1]] = len(body)
        elif re.match(r"^\s+[a-z]", line):
            body.append(line)
            branch = _BRANCH.match(line)
            if branch and branch[1] in labels:
                loops.append(body[labels[branch[1]] :])
    if not loops:
        raise ToolError("the assembly has no loop")
    return max(loops, key=lambda loop: (sum(bool(_MULTIPLY_ADD.search(line)) for line in loop), -len(loop)))


def find_mca() -> str:
    for name in MCA_NAMES:
        if shutil.which(name):
            return name
    raise ToolError("llvm-mca is missing; install LLVM 16 or later")


def estimate(loop: list[str], march: str, cpu: str) -> Estimate:
    command = [find_mca(), f"-march={march}", f"-mcpu={cpu}", f"-iterations={ITERATIONS}"]
    done = subprocess.run(command, input="\n".join(loop), capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    values = dict(re.findall(r"^(Total Cycles|Block RThroughput):\s+([\d.]+)", done.stdout, re.MULTILINE))
    total, bound = float(values["Total Cycles"]), float(values["Block RThroughput"])
    return Estimate(len(loop), total / ITERATIONS / STATES, bound / STATES)


def measure(target: Target, folder: Path) -> float:
    """Cycles per state update on this CPU: the minimum of many runs."""
    program = folder / "measure"
    compile_recurrence(target, program, "-DMEASURE")
    return float(subprocess.run([program], capture_output=True, text=True, check=True).stdout)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", action="store_true", help="also run the kernels of this CPU")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="vim-recurrence-") as folder:
            for target in TARGETS:
                listing = Path(folder) / "recurrence.s"
                compile_recurrence(target, listing, "-S")
                loop = token_loop(listing.read_text())
                for cpu in target.cpus:
                    found = estimate(loop, target.march, cpu)
                    cycles = f"{found.cycles:.2f} cycles per update, at least {found.bound:.2f}"
                    print(f"{target.name} {cpu}: {found.instructions} instructions, {cycles}")
                if options.measure and target.march == "x86-64":
                    print(f"{target.name} measured: {measure(target, Path(folder)):.2f} cycles per update")
    except ToolError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
