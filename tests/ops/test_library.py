"""Finding and checking the operator library."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vim_deploy.errors import OperatorLibraryError
from vim_deploy.ops import library


def in_a_fresh_process(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(root), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_library_is_found_and_loads():
    assert library.ort_library().name == library.LIBRARY_NAME
    assert library.instruction_set() in library.usable_instruction_sets()
    assert library.usable_instruction_sets()[-1] == "portable"


@pytest.mark.parametrize("name", ["avx512_vnni", "avx512", "avx2_vnni", "avx2", "neon", "portable"])
def test_instruction_set_can_be_forced(name):
    if name not in library.usable_instruction_sets():
        pytest.skip(f"this build on this CPU has no {name}")
    code = "from vim_deploy.ops.library import instruction_set; print(instruction_set())"
    assert in_a_fresh_process(code, VIM_DEPLOY_ISA=name).stdout.strip() == name


@pytest.mark.parametrize("name", ["avx9", "AVX2", "x" * 300])
def test_unknown_instruction_set_is_an_error(name):
    code = "from vim_deploy.ops.library import load_library; load_library()"
    run = in_a_fresh_process(code, VIM_DEPLOY_ISA=name)
    assert run.returncode != 0
    assert f"OperatorLibraryError: VIM_DEPLOY_ISA={name[:40]}" in run.stderr
    assert "this build supports" in run.stderr
    assert "portable" in run.stderr


def test_unknown_instruction_set_is_an_error_in_onnxruntime():
    pytest.importorskip("onnxruntime")
    code = (
        "import onnxruntime; from vim_deploy.ops import ort_library; "
        "onnxruntime.SessionOptions().register_custom_ops_library(str(ort_library()))"
    )
    run = in_a_fresh_process(code, VIM_DEPLOY_ISA="avx9")
    assert run.returncode == 1
    assert "vim_deploy::SelectiveScan: VIM_DEPLOY_ISA=avx9: this build supports" in run.stderr


def test_finding_the_library_imports_neither_pytorch_nor_a_runtime():
    code = (
        "import sys; from vim_deploy.ops import ort_library; ort_library(); import vim_deploy.ops.native; "
        "assert not {'torch', 'onnxruntime', 'onnx'} & set(sys.modules)"
    )
    run = in_a_fresh_process(code)
    assert run.returncode == 0, run.stderr


def test_environment_variable_overrides_the_path(monkeypatch, tmp_path):
    other = tmp_path / "other.so"
    other.write_bytes(library.ort_library().read_bytes())
    monkeypatch.setenv(library.LIBRARY_VARIABLE, str(other))
    assert library.ort_library() == other
    monkeypatch.setenv(library.LIBRARY_VARIABLE, str(tmp_path / "absent.so"))
    with pytest.raises(OperatorLibraryError, match=r"absent\.so: no such file; set it to"):
        library.ort_library()


@pytest.mark.parametrize("content", [b"not a library", b""])
def test_invalid_library_is_named(content, monkeypatch, tmp_path):
    damaged = tmp_path / "damaged.so"
    damaged.write_bytes(content)
    monkeypatch.setenv(library.LIBRARY_VARIABLE, str(damaged))
    with pytest.raises(OperatorLibraryError, match=r"damaged\.so is not a usable operator library"):
        library.load_library()


def test_another_contract_version_is_refused(monkeypatch):
    monkeypatch.setattr(library, "CONTRACT_VERSION", 3)
    library._load.cache_clear()
    try:
        with pytest.raises(OperatorLibraryError, match=r"implements version 2 .*expected 3"):
            library.load_library()
    finally:
        library._load.cache_clear()


def test_missing_library_error_says_how_to_build_it(monkeypatch, tmp_path):
    monkeypatch.delenv(library.LIBRARY_VARIABLE, raising=False)
    monkeypatch.delenv(library.TENSORRT_LIBRARY_VARIABLE, raising=False)
    monkeypatch.setattr(library, "_candidates", lambda name: iter([tmp_path / "lib" / name]))
    with pytest.raises(OperatorLibraryError, match=r"was not found; searched .*cmake --build build"):
        library.ort_library()
    with pytest.raises(OperatorLibraryError, match=r"TensorRT 8 was not found.*_trt8\.so.*TENSORRT_ROOT"):
        library.tensorrt_library(8)
    with pytest.raises(OperatorLibraryError, match=r"TensorRT 11 was not found.*_trt\.so"):
        library.tensorrt_library(11)


def test_environment_variable_overrides_the_path_of_the_plugin(monkeypatch, tmp_path):
    named = tmp_path / "plugin.so"
    named.write_bytes(b"")
    monkeypatch.setenv(library.TENSORRT_LIBRARY_VARIABLE, str(named))
    assert library.tensorrt_library(10) == named


def test_library_exports_only_its_functions_and_depends_only_on_libc():
    for tool, arguments in {"nm": ["-D", "--defined-only"], "objdump": ["-p"]}.items():
        try:
            text = subprocess.run(
                [tool, *arguments, str(library.ort_library())], capture_output=True, text=True, check=True
            ).stdout
        except FileNotFoundError:
            pytest.skip(f"{tool} is not installed")
        if tool == "nm":
            names = {line.split()[-1] for line in text.splitlines()}
            assert "RegisterCustomOps" in names
            assert all(name == "RegisterCustomOps" or name.startswith("vim_deploy_") for name in names)
        else:
            needed = {line.split()[1] for line in text.splitlines() if line.lstrip().startswith("NEEDED")}
            assert all(name.startswith(("libc.", "libm.", "ld-linux")) for name in needed)


def test_gpu_libraries_are_found_in_the_package_of_their_own(monkeypatch, tmp_path):
    folder = tmp_path / "vim_deploy_cuda" / "lib"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    monkeypatch.setattr(library, "folders", list)  # no other library is installed
    for name in (library.CUDA_LIBRARY_VARIABLE, library.TENSORRT_LIBRARY_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    for name in (library.CUDA_LIBRARY_NAME, library.TENSORRT_LIBRARY_NAME):
        (folder / name).touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert library.ort_cuda_library() == folder / library.CUDA_LIBRARY_NAME
    assert library.tensorrt_library(10) == folder / library.TENSORRT_LIBRARY_NAME
    with pytest.raises(OperatorLibraryError, match=r"vim_deploy_cuda/lib/libvim_deploy_trt8\.so"):
        library.tensorrt_library(8)
