"""The operator library compiles for 64-bit Arm; `make test-arm` also runs it, in an emulator."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest
from commands import output_of

ROOT = Path(__file__).resolve().parents[2]
COMPILER = "aarch64-linux-gnu-g++"
AARCH64 = 183  # e_machine in an ELF header


@pytest.mark.slow
def test_the_operator_library_compiles_for_64_bit_arm(tmp_path):
    for program in (COMPILER, "cmake"):
        if not shutil.which(program):
            pytest.skip(f"{program} is missing")
    toolchain = f"-DCMAKE_TOOLCHAIN_FILE={ROOT}/tools/arm/aarch64.cmake"
    options = ["-DVIM_DEPLOY_WERROR=ON", "-DVIM_DEPLOY_CUDA=OFF", "-DVIM_DEPLOY_TRT=OFF"]
    configured = output_of("cmake", "-S", str(ROOT), "-B", str(tmp_path), toolchain, *options)
    assert "CPU kernels: neon, portable" in configured
    output_of("cmake", "--build", str(tmp_path), "--parallel", "2")
    header = (tmp_path / "lib" / "libvim_deploy_ort.so").read_bytes()[:20]
    assert struct.unpack_from("<H", header, 18) == (AARCH64,)
