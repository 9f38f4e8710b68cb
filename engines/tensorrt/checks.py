"""The checks of this backend for vim-doctor. Importing this module imports no other package."""

from __future__ import annotations

import ctypes

from vim_deploy.errors import VimDeployError
from vim_deploy.finding import Check, Finding, not_found, package_finding


def _gpu() -> list[Finding]:
    advice = "only required for GPUs: install NVIDIA's driver"
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return [not_found("GPU", "no NVIDIA driver (libcuda.so.1) on this machine", advice)]
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
        return [not_found("GPU", f"the driver ({cuda}) finds no GPU", advice)]
    return [Finding("GPU", "ok", f"{', '.join(names)}; driver for {cuda}")]


def _tensorrt() -> list[Finding]:
    advice = (
        'only required for TensorRT engines: `pip install "vim-deploy[tensorrt]"` on a machine with a GPU'
    )
    found = package_finding("tensorrt", "tensorrt", advice)
    if found.status != "ok":
        return [found]
    import tensorrt

    from vim_deploy.engines.tensorrt.api import load_plugin, make_builder, make_logger

    try:
        make_builder(tensorrt, make_logger(tensorrt))
    except VimDeployError as error:
        return [Finding("tensorrt", "broken", str(error), advice)]
    try:
        plugin = Finding("tensorrt plugin", "ok", f"{load_plugin(tensorrt)}: registered")
    except VimDeployError as error:
        plugin = not_found("tensorrt plugin", str(error), "build it with TensorRT's headers")
    return [Finding("tensorrt", "ok", f"{tensorrt.__version__}, creates a builder"), plugin]


CHECKS = {
    "GPU": Check(_gpu, "reinstall NVIDIA's driver"),
    "tensorrt": Check(_tensorrt, "install the TensorRT version that matches the driver"),
}
