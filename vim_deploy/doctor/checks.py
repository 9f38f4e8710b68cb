"""The checks. Each runs one component in a child process and reports findings."""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass

from vim_deploy.doctor.finding import Finding
from vim_deploy.errors import VimDeployError
from vim_deploy.text import plural

_REINSTALL = "reinstall this package: `pip install .`"
_REINSTALL_PILLOW = "install Pillow from a wheel: `pip install --force-reinstall pillow`"
# Extra: what it is required for, and its packages.
_EXTRAS = {
    "export": ("vim-export", ("torch", "onnxscript", "safetensors")),
    "parquet": ("Parquet results", ("pyarrow",)),
    "detect": ("COCO results and average precision", ("pycocotools",)),
}


@dataclass(frozen=True)
class Check:
    """`advice` is given if the check itself crashes or times out; `required` as in Finding."""

    run: Callable[[], list[Finding]]
    advice: str
    required: bool = False


def _machine() -> list[Finding]:
    from vim_deploy.machine import architecture, instruction_set, usable_cpus
    from vim_deploy.package import VERSION, folders

    return [
        Finding("vim-deploy", "ok", f"{VERSION} in {', '.join(map(str, folders()))}"),
        Finding("python", "ok", f"{platform.python_version()} at {sys.executable}"),
        Finding("system", "ok", platform.platform()),
        Finding("CPU", "ok", f"{architecture()}, {instruction_set()}, {plural(usable_cpus(), 'usable CPU')}"),
    ]


def _packages() -> list[Finding]:
    names = {"numpy": "numpy", "pillow": "PIL", "onnx": "onnx", "click": "click", "rich": "rich"}
    return [_package(name, module, _REINSTALL, required=True) for name, module in names.items()]


def _package(name: str, module: str, advice: str, required: bool = False) -> Finding:
    try:
        found = importlib.import_module(module)
        # The module's own version comes first: a copied package has no metadata.
        version = getattr(found, "__version__", None) or importlib.metadata.version(name)
        return Finding(name, "ok", str(version), required=required)
    except ModuleNotFoundError as error:
        if error.name == module:
            return Finding(name, "missing", "not installed", advice, required)
        return Finding(name, "broken", str(error), advice, required)
    except (ImportError, OSError) as error:
        return Finding(name, "broken", " ".join(str(error).split())[:300], advice, required)


def _image_formats() -> list[Finding]:
    from PIL import features

    parts = {"jpg": "JPEG", "zlib": "PNG", "webp": "WebP", "libtiff": "compressed TIFF"}
    missing = [format for part, format in parts.items() if not features.check(part)]
    if missing:
        detail = f"Pillow was built without {', '.join(missing)}"
        return [Finding("image formats", "broken", detail, _REINSTALL_PILLOW, True)]
    return [Finding("image formats", "ok", f"{', '.join(parts.values())}, BMP, GIF", required=True)]


def _onnxruntime() -> list[Finding]:
    from vim_deploy.engines.onnxruntime.providers import probe_provider
    from vim_deploy.engines.onnxruntime.session import runtime

    try:
        onnxruntime = runtime()
    except VimDeployError as error:
        return [Finding("onnxruntime", "missing", str(error), 'pip install "vim-deploy[cpu]"', True)]
    version, built = onnxruntime.__version__, onnxruntime.get_available_providers()
    detail = f"{version}, built with {', '.join(built)}"
    findings = [Finding("onnxruntime", "ok", detail, required=True)]
    for provider in ("CPUExecutionProvider", "CUDAExecutionProvider"):
        cpu = provider.startswith("CPU")
        name = f"onnxruntime {provider}"
        if provider not in built:
            advice = 'for NVIDIA GPUs: uninstall onnxruntime, then `pip install "vim-deploy[gpu]"`'
            findings.append(Finding(name, "missing", "not included in this build", advice, cpu))
        elif reason := probe_provider(provider):
            advice = "install the CUDA and cuDNN libraries that this onnxruntime was built for"
            findings.append(Finding(name, "broken", reason, advice, cpu))
        else:
            findings.append(Finding(name, "ok", "runs a test graph", required=cpu))
    return findings


def _operator_library() -> list[Finding]:
    from vim_deploy.doctor.tiny import scan_runs
    from vim_deploy.ops.library import load_library, ort_library

    name = "operator library"
    advice = "build it in a checkout: `cmake -S . -B build && cmake --build build`, or install the package"
    try:
        path = ort_library()
        load_library()
        if reason := scan_runs(path):
            return [Finding(name, "broken", reason, advice, True)]
    except VimDeployError as error:
        return [Finding(name, "missing", str(error), advice, True)]
    chosen = os.environ.get("VIM_DEPLOY_ISA")
    note = f", VIM_DEPLOY_ISA={chosen}" if chosen else ""
    return [Finding(name, "ok", f"{path}: registered, test scan is correct{note}", required=True)]


def _cuda_operator_library() -> list[Finding]:
    from vim_deploy.doctor.tiny import scan_runs
    from vim_deploy.engines.onnxruntime.providers import probe_provider
    from vim_deploy.engines.onnxruntime.session import CPU, CUDA
    from vim_deploy.ops.library import ort_cuda_library

    name = "operator library for CUDA"
    advice = "only required for --backend onnxruntime --device cuda: build it with CUDA's nvcc on PATH"
    try:
        path = ort_cuda_library()
    except VimDeployError as error:
        return [Finding(name, "missing", str(error), advice)]
    if reason := probe_provider(CPU, path):
        return [Finding(name, "broken", reason, advice)]
    if probe_provider(CUDA):
        return [Finding(name, "ok", f"{path}: registered; not run, because {CUDA} does not work here")]
    if reason := scan_runs(path, CUDA):
        return [Finding(name, "broken", reason, advice)]
    return [Finding(name, "ok", f"{path}: registered, test scan is correct")]


def _gpu() -> list[Finding]:
    advice = "only required for GPUs: install NVIDIA's driver"
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return [Finding("GPU", "missing", "no NVIDIA driver (libcuda.so.1) on this machine", advice)]
    if code := driver.cuInit(0):
        return [Finding("GPU", "broken", f"the driver does not start (cuInit returned {code})", advice)]
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
        return [Finding("GPU", "missing", f"the driver ({cuda}) finds no GPU", advice)]
    return [Finding("GPU", "ok", f"{', '.join(names)}; driver for {cuda}")]


def _tensorrt() -> list[Finding]:
    advice = (
        'only required for TensorRT engines: `pip install "vim-deploy[tensorrt]"` on a machine with a GPU'
    )
    found = _package("tensorrt", "tensorrt", advice)
    if found.status != "ok":
        return [found]
    import tensorrt

    from vim_deploy.engines.tensorrt.api import load_plugin

    try:
        if tensorrt.Builder(tensorrt.Logger(tensorrt.Logger.ERROR)) is None:
            return [Finding("tensorrt", "broken", f"{tensorrt.__version__}: cannot create a builder", advice)]
    except (RuntimeError, TypeError) as error:
        detail = f"{tensorrt.__version__} does not start: {' '.join(str(error).split())[:200]}"
        return [Finding("tensorrt", "broken", detail, advice)]
    try:
        plugin = Finding("tensorrt plugin", "ok", f"{load_plugin(tensorrt)}: registered")
    except VimDeployError as error:
        plugin = Finding("tensorrt plugin", "missing", str(error), "build it with TensorRT's headers")
    return [Finding("tensorrt", "ok", f"{tensorrt.__version__}, creates a builder"), plugin]


def _optional() -> list[Finding]:
    return [
        _package(name, name, f'only required for {purpose}: `pip install "vim-deploy[{extra}]"`')
        for extra, (purpose, names) in _EXTRAS.items()
        for name in names
    ]


CHECKS = {
    "machine": Check(_machine, _REINSTALL, True),
    "packages": Check(_packages, _REINSTALL, True),
    "image formats": Check(_image_formats, _REINSTALL_PILLOW, True),
    "onnxruntime": Check(_onnxruntime, "reinstall it: `pip install --force-reinstall onnxruntime`", True),
    "operator library": Check(_operator_library, "rebuild the library on this machine", True),
    "operator library for CUDA": Check(
        _cuda_operator_library, "rebuild the library, or remove it; only --device cuda needs it"
    ),
    "GPU": Check(_gpu, "reinstall NVIDIA's driver"),
    "tensorrt": Check(_tensorrt, "install the TensorRT version that matches the driver"),
    "optional packages": Check(_optional, "reinstall the package"),
}
