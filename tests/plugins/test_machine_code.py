"""tools/machine_code: reading machine code, and the budget of the compiled scan."""

from __future__ import annotations

import shutil

import pytest
from machine_code import count
from machine_code.kernels import PAIR, SCAN, Family, ToolError, Variant, find_nvdisasm
from machine_code.sass import Instruction, kernels, loops, main_path

# A loop from .L_x_1 to its last branch, with an inner loop at .L_x_2 and a slow path that stores 16 bits.
LISTING = """
\t.section\t.text.kernel,"ax",@progbits
.text.kernel:
        /*0000*/                   MOV R1, c[0x0][0x28] ;
.L_x_1:
        /*0010*/                   LDS.128 R4, [R0] ;
        /*0020*/              @P0 BRA `(.L_x_3) ;
.L_x_2:
        /*0030*/                   MUFU.EX2 R2, R3 ;
        /*0040*/             @!P1 BRA `(.L_x_2) ;
        /*0050*/                   STG.E desc[UR4][R2.64], R3 ;
        /*0060*/                   BRA `(.L_x_4) ;
.L_x_3:
        /*0070*/                   FADD R3, R3, R4 ;
        /*0080*/                   FADD R3, R3, R4 ;
        /*0090*/                   FADD R3, R3, R4 ;
        /*00a0*/                   STG.E.U16 desc[UR4][R2.64], R3 ;
.L_x_4:
        /*00b0*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;
        /*00c0*/              @P2 BRA `(.L_x_1) ;
        /*00d0*/                   EXIT ;
\t.section\t.nv.info
"""


def operations(instructions: list[Instruction]) -> list[str]:
    return [item.operation for item in instructions]


def test_loops_and_their_main_path() -> None:
    (blocks,) = kernels(LISTING).values()
    outer, inner = sorted(loops(blocks), key=lambda loop: -len(loop.blocks))
    assert outer.blocks > inner.blocks
    stores = main_path(blocks, outer, [inner], lambda item: item.operation == "STG.E")
    expected = ["LDS.128", "BRA", "STG.E", "BRA", "BAR.SYNC.DEFER_BLOCKING", "BRA"]
    assert operations(stores) == expected
    slow = main_path(blocks, outer, [inner], lambda item: item.operation == "FADD")
    assert operations(slow)[2:6] == ["FADD", "FADD", "FADD", "STG.E.U16"]
    assert operations(main_path(blocks, inner, [], lambda item: 0)) == ["MUFU.EX2", "BRA"]


def test_counts_are_per_element() -> None:
    """Two channels and one row a thread: half of all instructions."""
    (blocks,) = kernels(LISTING).values()
    found = count.count_scan("scan", blocks, Variant(states=4, lanes=4, channels=2, time=4), registers=80)
    assert (found.instructions, found.lds, found.mufu) == ((6 + 2) / 2, 0.5, 0.5)
    assert found.shared_cycles == pytest.approx(0.5 * 4 / 32, abs=1e-3)


def test_a_kernel_without_barriers_is_refused() -> None:
    (blocks,) = kernels(LISTING.replace("BAR.SYNC.DEFER_BLOCKING", "NOP")).values()
    with pytest.raises(ToolError, match="no loop with barriers"):
        count.count_scan("scan", blocks, Variant(4, 4, 2, 16), registers=80)


def test_the_variants_are_those_of_the_header() -> None:
    assert SCAN.variants()[1] == Variant(states=4, lanes=4, channels=2, time=16)


def counts(family: Family) -> list[count.Counts]:
    """In float16 for sm_90. Skips the test where the programs are missing."""
    if shutil.which("nvcc") is None:
        pytest.skip("no nvcc on PATH: the kernels are not compiled")
    if find_nvdisasm() is None:
        pytest.skip("no nvdisasm: the machine code is not read (pip install nvidia-cuda-nvdisasm)")
    return count.count_all(family, "float16", "sm_90")


# The budgets have a margin over the counts of docs/cuda-kernel.md, for other compiler versions.


@pytest.mark.slow
def test_the_tuned_scan_stays_within_its_budget() -> None:
    tuned = counts(SCAN)[1]
    assert tuned.mufu == 19  # 16 decays, softplus, and a power and a reciprocal for silu
    assert tuned.shfl == 3 and tuned.lds <= 6.6 and tuned.sts <= 1.3
    assert tuned.instructions <= 148
    assert max(tuned.issue_cycles, tuned.shared_cycles) < tuned.special_cycles
    assert tuned.registers <= 96


@pytest.mark.slow
def test_the_tuned_pair_stays_within_its_budget() -> None:
    tuned = counts(PAIR)[0]
    assert tuned.mufu == 18  # the gate's two are shared by the directions
    assert tuned.shfl == 1 and tuned.instructions <= 155
    assert tuned.registers <= 168  # three blocks on a multiprocessor
