"""Finds, loads and checks the operator library; knows the operator's names. Needs no PyTorch and no runtime.

The contract is plugins/selective_scan/README.md.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import vim_deploy
from vim_deploy.errors import OperatorLibraryError, OperatorLibraryMissingError

OP_DOMAIN = "vim_deploy"
OP_NAME = "SelectiveScan"
CONTRACT_VERSION = 1

LIBRARY_VARIABLE = "VIM_DEPLOY_ORT_LIBRARY"
LIBRARY_NAME = "libvim_deploy_ort.so"
CUDA_LIBRARY_VARIABLE = "VIM_DEPLOY_ORT_CUDA_LIBRARY"
CUDA_LIBRARY_NAME = "libvim_deploy_ort_cuda.so"
TENSORRT_LIBRARY_VARIABLE = "VIM_DEPLOY_TRT_LIBRARY"
TENSORRT_LIBRARY_NAME = "libvim_deploy_trt.so"  # IPluginV3, for 10 and 11
TENSORRT_8_LIBRARY_NAME = "libvim_deploy_trt8.so"  # IPluginV2DynamicExt, for 8.6

_BUILD_HINT = (
    "build it in a checkout with `cmake -S . -B build && cmake --build build`, or install the package"
)
_CUDA_BUILD_HINT = (
    "build it where CUDA's nvcc is on PATH: `cmake -S . -B build && cmake --build build`, or `pip install .`"
)
_TENSORRT_BUILD_HINT = (
    "build it with CUDA's nvcc and TensorRT's headers: "
    "`TENSORRT_ROOT=... cmake -S . -B build && cmake --build build`"
)


def ort_library() -> Path:
    """Path of the operator library, for `SessionOptions.register_custom_ops_library` of any session.

    Looked for where `VIM_DEPLOY_ORT_LIBRARY` points, else in the installed package, else in the checkout's
    `build/lib`. Raises `OperatorLibraryError` where there is none; the file is not loaded.
    """
    return _find(LIBRARY_VARIABLE, LIBRARY_NAME, "operator library", _BUILD_HINT)


def ort_cuda_library() -> Path:
    """Path of the operator library for ONNX Runtime's CUDA provider; never registered beside `ort_library`.

    Looked for like `ort_library`, with `VIM_DEPLOY_ORT_CUDA_LIBRARY`. Raises `OperatorLibraryError` where
    there is none; the file is not loaded.
    """
    return _find(CUDA_LIBRARY_VARIABLE, CUDA_LIBRARY_NAME, "operator library for CUDA", _CUDA_BUILD_HINT)


def tensorrt_library(major: int) -> Path:
    """Path of the plugin library for TensorRT `major`: one for 8.6, one for 10 and 11.

    Looked for like `ort_library`, with `VIM_DEPLOY_TRT_LIBRARY`. Raises `OperatorLibraryError` where there is
    none; the file is not loaded.
    """
    name = TENSORRT_LIBRARY_NAME if major >= 10 else TENSORRT_8_LIBRARY_NAME
    return _find(
        TENSORRT_LIBRARY_VARIABLE, name, f"plugin library for TensorRT {major}", _TENSORRT_BUILD_HINT
    )


def _find(variable: str, name: str, what: str, hint: str) -> Path:
    named = os.environ.get(variable)
    if named:
        path = Path(named)
        if not path.is_file():
            raise OperatorLibraryError(f"{variable}={named}: no such file; point it at {name}, or unset it")
        return path.resolve()
    for path in _places(name):
        if path.is_file():
            return path
    places = ", ".join(str(path) for path in _places(name))
    raise OperatorLibraryMissingError(f"the {what} was not found; looked for {places}; {hint}")


def _places(name: str) -> Iterator[Path]:
    # An editable installation has the package's Python files in the checkout and the library elsewhere.
    yield from (Path(folder) / "lib" / name for folder in vim_deploy.__path__)
    yield Path(__file__).resolve().parents[2] / "build" / "lib" / name


def load_library() -> ctypes.CDLL:
    """The operator library, loaded and checked: it serves this contract and can run on this processor.

    Raises `OperatorLibraryError`, also where `VIM_DEPLOY_ISA` asks for an instruction set that is not there.
    """
    return _load(ort_library())


def instruction_set() -> str:
    """The instruction set that the kernel uses: "avx512_bf16", "avx512", "avx2" or "portable"."""
    name: bytes = load_library().vim_deploy_instruction_set()
    return name.decode()


def usable_instruction_sets() -> tuple[str, ...]:
    """What the library has and this processor runs, best first; `VIM_DEPLOY_ISA` chooses among them."""
    names: bytes = load_library().vim_deploy_usable_instruction_sets()
    return tuple(names.decode().split(", "))


@cache
def _load(path: Path) -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(str(path))
        library.vim_deploy_contract_version.restype = ctypes.c_int32
        library.vim_deploy_instruction_set.restype = ctypes.c_char_p
        library.vim_deploy_instruction_set_error.restype = ctypes.c_char_p
        library.vim_deploy_usable_instruction_sets.restype = ctypes.c_char_p
    except (OSError, AttributeError) as problem:
        raise OperatorLibraryError(
            f"{path} is not a usable operator library: {problem}; {_BUILD_HINT}"
        ) from problem
    version = library.vim_deploy_contract_version()
    if version != CONTRACT_VERSION:
        raise OperatorLibraryError(
            f"{path} serves version {version} of the operator's contract, expected {CONTRACT_VERSION}; "
            f"it belongs to another release: {_BUILD_HINT}"
        )
    if library.vim_deploy_instruction_set() is None:
        raise OperatorLibraryError(library.vim_deploy_instruction_set_error().decode())
    return library
