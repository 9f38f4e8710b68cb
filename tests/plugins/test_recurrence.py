"""tools/machine_code/recurrence.py: the loop over the tokens and estimates of the compiled kernels."""

from __future__ import annotations

import shutil

import pytest
from machine_code import recurrence
from machine_code.kernels import ToolError

ARM_LISTING = """
f:
\tmov\tx0, 0
.L2:
\tldr\tq0, [x1], 16
\tcbz\tx4, .L3
\tb\t.L2
.L3:
\tfmla\tv1.4s, v0.4s, v2.4s
\tadd\tx0, x0, 1
\tfmls\tv3.4s, v0.4s, v2.4s
\tcmp\tx0, x2
\tbne\t.L3
\tcbnz\tx3, .L2
\tret
"""
X86_LISTING = """
.L5:
\tvmovups\t(%rdi), %ymm0
\tvfmadd231ps\t%ymm0, %ymm1, %ymm2
\tjne\t.L5
\tret
"""


def test_the_innermost_loop_with_the_most_multiply_adds_is_found():
    loop = recurrence.token_loop(ARM_LISTING)
    assert [line.split()[0] for line in loop] == ["fmla", "add", "fmls", "cmp", "bne"]
    assert len(recurrence.token_loop(X86_LISTING)) == 3


def test_assembly_without_a_loop_is_an_error():
    with pytest.raises(ToolError, match="no loop"):
        recurrence.token_loop("f:\n\tret\n")


def test_neon_needs_fewer_cycles_than_the_portable_kernel(tmp_path):
    """The reason for lanes_neon.h; docs/arm.md has the figures."""
    if not shutil.which("aarch64-linux-gnu-g++"):
        pytest.skip("aarch64-linux-gnu-g++ is missing")
    if not any(shutil.which(name) for name in recurrence.MCA_NAMES[:-1]):
        pytest.skip("llvm-mca 16 or later is missing")
    cycles = {}
    for target in recurrence.TARGETS:
        if target.march == "aarch64":
            recurrence.compile_recurrence(target, tmp_path / "loop.s", "-S")
            loop = recurrence.token_loop((tmp_path / "loop.s").read_text())
            cycles[target.name] = recurrence.estimate(loop, "aarch64", "neoverse-v2").cycles
    assert cycles["Neon"] < 0.8 * cycles["Portable"]
