"""The checks. Each runs one component in a child process and reports findings."""

from __future__ import annotations

import platform
import sys

from vim_deploy.engines.registry import BACKENDS
from vim_deploy.errors import install_command
from vim_deploy.finding import Check, Finding, package_finding
from vim_deploy.registry import load_object
from vim_deploy.text import plural

_REINSTALL = "reinstall this package: `pip install .`"
_REINSTALL_PILLOW = "install Pillow from a wheel: `pip install --force-reinstall pillow`"
# Extra: what it is required for, and its packages with their modules.
EXTRAS = {
    "export": (
        "vim-export and vim-validate",
        {"onnxscript": "onnxscript", "onnx_ir": "onnx_ir", "safetensors": "safetensors",
         "huggingface_hub": "huggingface_hub", "pyyaml": "yaml"},
    ),
    "torch": ("vim-export and vim-validate", {"torch": "torch"}),
    "parquet": ("Parquet results", {"pyarrow": "pyarrow"}),
    "heif": ("HEIC images", {"pillow-heif": "pillow_heif"}),
    "detect": ("COCO results and average precision", {"pycocotools": "pycocotools"}),
    "plots": ("the plots of vim-validate", {"matplotlib": "matplotlib"}),
    "urls": ("images at URLs", {"fsspec": "fsspec"}),
    "triton": (
        "Triton Inference Server on this machine and its clients",
        {"nvidia-pytriton": "pytriton", "tritonclient": "tritonclient"},
    ),
    "s3": ("files at s3://", {"s3fs": "s3fs"}),
    "gcs": ("files at gs://", {"gcsfs": "gcsfs"}),
    "ray": ("batches on a cluster", {"ray": "ray"}),
}  # fmt: skip


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
    return [package_finding(name, module, _REINSTALL, required=True) for name, module in names.items()]


def _image_formats() -> list[Finding]:
    from PIL import features

    parts = {"jpg": "JPEG", "zlib": "PNG", "webp": "WebP", "libtiff": "compressed TIFF"}
    missing = [format for part, format in parts.items() if not features.check(part)]
    if missing:
        detail = f"Pillow was built without {', '.join(missing)}"
        return [Finding("image formats", "broken", detail, _REINSTALL_PILLOW, True)]
    return [Finding("image formats", "ok", f"{', '.join(parts.values())}, BMP, GIF", required=True)]


def _optional() -> list[Finding]:
    return [
        package_finding(name, module, f"only required for {purpose}: {install_command(name, extra)}")
        for extra, (purpose, packages) in EXTRAS.items()
        for name, module in packages.items()
    ]


_BEFORE = {
    "machine": Check(_machine, _REINSTALL, True),
    "packages": Check(_packages, _REINSTALL, True),
    "image formats": Check(_image_formats, _REINSTALL_PILLOW, True),
}
_AFTER = {"optional packages": Check(_optional, "reinstall the package")}


def all_checks() -> dict[str, Check]:
    """The checks by name, with those of all backends."""
    backends: dict[str, Check] = {}
    for spec in map(BACKENDS.get, BACKENDS.names()):
        if spec.checks is not None:
            backends |= load_object(spec.checks)
    return {**_BEFORE, **backends, **_AFTER}
