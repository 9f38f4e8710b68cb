"""Finds, loads and checks the native libraries. Needs neither PyTorch nor a runtime."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from vim_deploy.errors import OperatorLibraryError, OperatorLibraryMissingError
from vim_deploy.ops.signature import CONTRACT_VERSION
from vim_deploy.package import cuda_folders, folders

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
    "install vim-deploy-cuda13, or build it with CUDA's nvcc: `cmake -S . -B build -DVIM_DEPLOY_CUDA=ON && "
    "cmake --build build`, or `pip install . -C cmake.define.VIM_DEPLOY_CUDA=ON`"
)
_TENSORRT_BUILD_HINT = (
    "install vim-deploy-cuda13 (TensorRT 10 and 11), or build it with CUDA's nvcc and TensorRT's headers: "
    "`cmake -S . -B build -DVIM_DEPLOY_TRT=ON -DTENSORRT_ROOT=... && cmake --build build`"
)


def ort_library() -> Path:
    """Path of the operator library, for `onnxruntime.SessionOptions.register_custom_ops_library`.

    Searched in this order: the file in `VIM_DEPLOY_ORT_LIBRARY`, the installed package, `build/lib` of the
    checkout. Does not load the file. Raises OperatorLibraryError if there is none.
    """
    return _find(LIBRARY_VARIABLE, LIBRARY_NAME, "operator library", _BUILD_HINT)


def ort_cuda_library() -> Path:
    """Path of the operator library for ONNX Runtime's CUDA provider. It replaces `ort_library` in a session.

    Searched like `ort_library`, with `VIM_DEPLOY_ORT_CUDA_LIBRARY`. Does not load the file. Raises
    OperatorLibraryError if there is none.
    """
    return _find(CUDA_LIBRARY_VARIABLE, CUDA_LIBRARY_NAME, "operator library for CUDA", _CUDA_BUILD_HINT)


def tensorrt_library(major: int) -> Path:
    """Path of the plugin library for TensorRT `major`: one for 8.6, one for 10 and 11.

    Searched like `ort_library`, with `VIM_DEPLOY_TRT_LIBRARY`. Does not load the file. Raises
    OperatorLibraryError if there is none.
    """
    name = TENSORRT_LIBRARY_NAME if major >= 10 else TENSORRT_8_LIBRARY_NAME
    return _find(
        TENSORRT_LIBRARY_VARIABLE, name, f"plugin library for TensorRT {major}", _TENSORRT_BUILD_HINT
    )


def _find(variable: str, name: str, what: str, hint: str) -> Path:
    value = os.environ.get(variable)
    if value:
        path = Path(value)
        if not path.is_file():
            raise OperatorLibraryError(f"{variable}={value}: no such file; set it to {name}, or unset it")
        return path.resolve()
    for path in _candidates(name):
        if path.is_file():
            return path
    searched = ", ".join(str(path) for path in _candidates(name))
    raise OperatorLibraryMissingError(f"the {what} was not found; searched {searched}; {hint}")


def _candidates(name: str) -> Iterator[Path]:
    # In an editable installation the Python files are in the checkout and the library is elsewhere.
    yield from (folder / "lib" / name for folder in folders())
    yield from (folder / "lib" / name for folder in cuda_folders())
    yield Path(__file__).resolve().parents[2] / "build" / "lib" / name


def load_library() -> ctypes.CDLL:
    """The operator library, loaded and checked: it implements this contract and runs on this CPU.

    Raises OperatorLibraryError, also if `VIM_DEPLOY_ISA` names an instruction set that is not available.
    """
    return _load(ort_library())


def instruction_set() -> str:
    """The instruction set that the kernel uses, see `plugins/selective_scan/README.md`."""
    name: bytes = load_library().vim_deploy_instruction_set()
    return name.decode()


def usable_instruction_sets() -> tuple[str, ...]:
    """Instruction sets that the library was built for and this CPU has, best first; see `VIM_DEPLOY_ISA`."""
    names: bytes = load_library().vim_deploy_usable_instruction_sets()
    return tuple(names.decode().split(", "))


def check_fused_version(expected: int) -> None:
    """Raises OperatorLibraryError if the library has another version of the fused operators."""
    path, library = ort_library(), load_library()
    try:
        found = library.vim_deploy_fused_version()  # an int32, as ctypes assumes
    except AttributeError:
        found = None  # older libraries do not have the function
    if found != expected:
        version = "an older version" if found is None else f"version {found}"
        raise OperatorLibraryError(
            f"{path} has {version} of the fused operators, expected {expected}; it belongs to another "
            f"release: {_BUILD_HINT}"
        )


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
            f"{path} implements version {version} of the operator contract, expected {CONTRACT_VERSION}; "
            f"it belongs to another release: {_BUILD_HINT}"
        )
    if library.vim_deploy_instruction_set() is None:
        raise OperatorLibraryError(library.vim_deploy_instruction_set_error().decode())
    return library
