"""The checks: each tries one thing and says what it found. They run in processes of their own."""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass

from vim_deploy.doctor.examine import Finding
from vim_deploy.errors import VimDeployError


@dataclass(frozen=True)
class Check:
    """`advice` is for when the check does not come back."""

    run: Callable[[], list[Finding]]
    advice: str
    needed: bool = False


def _machine() -> list[Finding]:
    import vim_deploy
    from vim_deploy.machine import architecture, instruction_set, usable_processors

    return [
        Finding("vim-deploy", "ok", f"{vim_deploy.__version__} in {', '.join(vim_deploy.__path__)}"),
        Finding("python", "ok", f"{platform.python_version()} at {sys.executable}"),
        Finding("system", "ok", platform.platform()),
        Finding("processor", "ok", f"{architecture()}, {instruction_set()}, {usable_processors()} usable"),
    ]


def _packages() -> list[Finding]:
    advice = "install this project again: `pip install .`"
    names = {"numpy": "numpy", "pillow": "PIL", "onnx": "onnx", "click": "click", "rich": "rich"}
    return [_package(name, module, advice, needed=True) for name, module in names.items()]


def _package(name: str, module: str, advice: str, needed: bool = False) -> Finding:
    try:
        found = importlib.import_module(module)
        # Of a copy without a package's records, what the module says itself.
        version = getattr(found, "__version__", None) or importlib.metadata.version(name)
        return Finding(name, "ok", str(version), needed=needed)
    except ModuleNotFoundError as error:
        if error.name == module:
            return Finding(name, "missing", "not installed", advice, needed)
        return Finding(name, "broken", str(error), advice, needed)
    except (ImportError, OSError) as error:
        return Finding(name, "broken", " ".join(str(error).split())[:300], advice, needed)


def _image_formats() -> list[Finding]:
    from PIL import features

    parts = {"jpg": "JPEG", "zlib": "PNG", "webp": "WebP", "libtiff": "compressed TIFF"}
    lacking = [format for part, format in parts.items() if not features.check(part)]
    if lacking:
        advice = "install Pillow from its wheels: `pip install --force-reinstall pillow`"
        return [Finding("image formats", "broken", f"no {', '.join(lacking)}", advice, True)]
    return [Finding("image formats", "ok", f"{', '.join(parts.values())}, BMP, GIF", needed=True)]


def _onnxruntime() -> list[Finding]:
    from vim_deploy.engines.onnxruntime.providers import identity_runs
    from vim_deploy.engines.onnxruntime.session import runtime

    try:
        onnxruntime = runtime()
    except VimDeployError as error:
        return [Finding("onnxruntime", "missing", str(error), 'pip install "vim-deploy[cpu]"', True)]
    version, built = onnxruntime.__version__, onnxruntime.get_available_providers()
    detail = f"{version}, built with {', '.join(built)}"
    findings = [Finding("onnxruntime", "ok", detail, needed=True)]
    for provider in ("CPUExecutionProvider", "CUDAExecutionProvider"):
        cpu = provider.startswith("CPU")
        name = f"onnxruntime {provider}"
        if provider not in built:
            advice = 'for NVIDIA GPUs: remove onnxruntime, then `pip install "vim-deploy[gpu]"`'
            findings.append(Finding(name, "missing", "not in this build", advice, cpu))
        elif reason := identity_runs(provider):
            advice = "install the CUDA and cuDNN libraries that this onnxruntime was built for"
            findings.append(Finding(name, "broken", reason, advice, cpu))
        else:
            findings.append(Finding(name, "ok", "starts and computes", needed=cpu))
    return findings


def _operator_library() -> list[Finding]:
    from vim_deploy.doctor.tiny import scan_runs
    from vim_deploy.ops.library import load_library, ort_library

    name = "operator library"
    advice = (
        "build it in a checkout with `cmake -S . -B build && cmake --build build`, or install the package"
    )
    try:
        path = ort_library()
        load_library()
        if reason := scan_runs(path):
            return [Finding(name, "broken", reason, advice, True)]
    except VimDeployError as error:
        return [Finding(name, "missing", str(error), advice, True)]
    chosen = os.environ.get("VIM_DEPLOY_ISA")
    note = f", VIM_DEPLOY_ISA={chosen}" if chosen else ""
    return [Finding(name, "ok", f"{path}: registered, and its scan is right{note}", needed=True)]


def _cuda_operator_library() -> list[Finding]:
    from vim_deploy.doctor.tiny import library_registers, scan_runs
    from vim_deploy.engines.onnxruntime.providers import CUDA, identity_runs
    from vim_deploy.ops.library import ort_cuda_library

    name = "operator library for CUDA"
    advice = "needed for --backend onnxruntime --device cuda alone: build it where CUDA's nvcc is on PATH"
    try:
        path = ort_cuda_library()
    except VimDeployError as error:
        return [Finding(name, "missing", str(error), advice)]
    if reason := library_registers(path):
        return [Finding(name, "broken", reason, advice)]
    if identity_runs(CUDA):
        return [Finding(name, "ok", f"{path}: registered; not run, since {CUDA} does not start here")]
    if reason := scan_runs(path, CUDA):
        return [Finding(name, "broken", reason, advice)]
    return [Finding(name, "ok", f"{path}: registered, and its scan is right")]


def _gpu() -> list[Finding]:
    advice = "needed for GPUs alone: install NVIDIA's driver"
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return [Finding("GPU", "missing", "no NVIDIA driver (libcuda.so.1) on this machine", advice)]
    if code := driver.cuInit(0):
        return [Finding("GPU", "broken", f"the driver does not start (cuInit gives {code})", advice)]
    count, version = ctypes.c_int(), ctypes.c_int()
    driver.cuDeviceGetCount(ctypes.byref(count))
    driver.cuDriverGetVersion(ctypes.byref(version))
    names = []
    for index in range(count.value):
        device, name = ctypes.c_int(), ctypes.create_string_buffer(200)
        driver.cuDeviceGet(ctypes.byref(device), index)
        driver.cuDeviceGetName(name, 200, device)
        names.append(name.value.decode(errors="replace"))
    cuda = f"CUDA {version.value // 1000}.{version.value % 1000 // 10}"
    if not names:
        return [Finding("GPU", "missing", f"the driver ({cuda}) sees no GPU", advice)]
    return [Finding("GPU", "ok", f"{', '.join(names)}; driver for {cuda}")]


def _tensorrt() -> list[Finding]:
    advice = 'needed for TensorRT engines alone: `pip install "vim-deploy[tensorrt]"` on a machine with a GPU'
    found = _package("tensorrt", "tensorrt", advice)
    if found.status != "ok":
        return [found]
    import tensorrt

    from vim_deploy.engines.tensorrt.api import load_plugin

    try:
        if tensorrt.Builder(tensorrt.Logger(tensorrt.Logger.ERROR)) is None:
            return [Finding("tensorrt", "broken", f"{tensorrt.__version__}: no builder", advice)]
    except (RuntimeError, TypeError) as error:
        detail = f"{tensorrt.__version__} does not start: {' '.join(str(error).split())[:200]}"
        return [Finding("tensorrt", "broken", detail, advice)]
    try:
        plugin = Finding("tensorrt plugin", "ok", f"{load_plugin(tensorrt)}: registered")
    except VimDeployError as error:
        plugin = Finding("tensorrt plugin", "missing", str(error), "build it where TensorRT's headers are")
    return [Finding("tensorrt", "ok", f"{tensorrt.__version__}, starts"), plugin]


def _optional() -> list[Finding]:
    export = 'needed for vim-export alone: `pip install "vim-deploy[export]"`'
    parquet = 'needed for Parquet alone: `pip install "vim-deploy[parquet]"`'
    detect = 'needed for COCO results and average precision alone: `pip install "vim-deploy[detect]"`'
    wanted = [
        ("torch", export),
        ("onnxscript", export),
        ("safetensors", export),
        ("pyarrow", parquet),
        ("pycocotools", detect),
    ]
    return [_package(name, name, advice) for name, advice in wanted]


CHECKS = {
    "machine": Check(_machine, "install this project again", True),
    "packages": Check(_packages, "install this project again: `pip install .`", True),
    "image formats": Check(
        _image_formats, "install Pillow again: `pip install --force-reinstall pillow`", True
    ),
    "onnxruntime": Check(
        _onnxruntime, 'install it again: `pip install --force-reinstall "onnxruntime"`', True
    ),
    "operator library": Check(_operator_library, "build the library again on this machine", True),
    "operator library for CUDA": Check(
        _cuda_operator_library, "build the library again, or remove it; only --device cuda needs it"
    ),
    "GPU": Check(_gpu, "install NVIDIA's driver again"),
    "tensorrt": Check(_tensorrt, "install the TensorRT that fits the driver"),
    "optional packages": Check(_optional, "install the extra again that brings it"),
}
