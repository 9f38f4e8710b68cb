"""The module tensorrt, its logger, and loading our plugin."""

from __future__ import annotations

import contextlib
import ctypes
import logging
from pathlib import Path
from types import ModuleType
from typing import Any

from vim_deploy.engines.fusion.domain import CONV_PAIR, FUSED_DOMAIN, FUSED_VERSION, SCAN_PAIR
from vim_deploy.engines.tensorrt.driver import cuda_major
from vim_deploy.engines.tensorrt.graph import PLUGIN_NAMESPACE, PLUGIN_VERSION
from vim_deploy.errors import EngineError, MissingDependencyError, OperatorLibraryError
from vim_deploy.ops.library import tensorrt_library
from vim_deploy.ops.signature import OP_NAME

_log = logging.getLogger("vim_deploy")

OLDEST = (8, 6)
_TOO_NEW = 12
# The functions of our libraries that return the plugin creators.
_EXPORTS = {8: "getPluginCreators", 10: "getCreators", 11: "getCreators"}

# Opened by the parser for RoiAlign; from TensorRT 10 on, the parser reports an error if it is missing.
_PLUGIN_LIBRARY = "libnvinfer_vc_plugin.so.8"
_REPORTS_MISSING_LIBRARY = 10

_CUDA_VERSION = "vim_deploy_cuda_version"  # function of our libraries that returns a number like 13000
_OLDEST_DRIVERS = {12: 525, 13: 580}  # NVIDIA driver branches, by the major version of CUDA


def tensorrt() -> ModuleType:
    """The module tensorrt. Raises MissingDependencyError if it is missing or not a supported version."""
    try:
        import tensorrt
    except (ImportError, OSError, RuntimeError) as error:
        raise MissingDependencyError(
            f'tensorrt does not load ({error}); install it with `pip install "vim-deploy[tensorrt]"`.'
        ) from None
    found = _version(tensorrt)
    if not OLDEST <= found < (_TOO_NEW,) or found[0] == 9:
        raise MissingDependencyError(f"TensorRT {tensorrt.__version__} is installed; expected 8.6, 10 or 11.")
    return tensorrt


def major(trt: ModuleType) -> int:
    return _version(trt)[0]


def _version(trt: ModuleType) -> tuple[int, ...]:
    numbers = str(trt.__version__).split(".")[:2]
    return tuple(int(part) for part in numbers if part.isdecimal())


def make_logger(trt: ModuleType) -> Any:
    """A logger that forwards to `logging` and keeps warnings and errors for messages."""

    class Logger(trt.ILogger):  # type: ignore[name-defined]  # its base exists only at run time
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []
            self.warnings: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)
            elif severity == trt.ILogger.Severity.WARNING:
                self.warnings.append(message)
            else:
                return
            _log.debug("TensorRT: %s", message)

        def reasons(self) -> str:
            """The last errors in one line. Without a device 8.6 only warns before it fails."""
            return "; ".join((self.errors or self.warnings)[-3:]) or "TensorRT gave no reason"

    return Logger()


def make_builder(trt: ModuleType, logger: Any) -> Any:
    """A builder. Raises EngineError where CUDA does not start, such as with a driver that is too old."""
    try:
        return trt.Builder(logger)
    except (RuntimeError, TypeError):  # a null pointer becomes a TypeError in the bindings
        raise EngineError(f"TensorRT {trt.__version__} does not start: {logger.reasons()}") from None


def parser_errors(parser: Any) -> str:
    """The first errors of an ONNX parser or refitter in one line, empty if there are none."""
    return "; ".join(str(parser.get_error(index)) for index in range(min(parser.num_errors, 3)))


def load_plugin(trt: ModuleType) -> Path:
    """Load our plugin and TensorRT's own plugins into its registry; returns the path of our library.

    Detectors need TensorRT's RoiAlign plugin, which otherwise is registered only while a file is parsed.
    Raises OperatorLibraryError: the registry silently ignores a library that it cannot use.
    """
    path = tensorrt_library(major(trt))
    trt.init_libnvinfer_plugins(None, "")
    registry = trt.get_plugin_registry()
    if _missing(registry):
        _check_library(path, _EXPORTS[major(trt)])
        registry.load_library(str(path))
    if missing := _missing(registry):
        raise OperatorLibraryError(
            f"TensorRT {trt.__version__} does not accept {path}: after loading it, the registry has no "
            f"plugin {', '.join(missing)}. It was built for another major version of TensorRT or from other "
            "sources, or is damaged: build it with TENSORRT_ROOT set to this version's headers."
        )
    return path


def load_roi_align(trt: ModuleType, name: str) -> None:
    """Load the library that 8.6's parser opens for RoiAlign of the file `name`.

    Raises MissingDependencyError if it is not installed: the parser would terminate the process, while that
    of later versions reports an error.
    """
    if major(trt) >= _REPORTS_MISSING_LIBRARY:
        return
    package = Path(str(trt.__file__)).parent
    folders = (package, package.parent / "tensorrt_libs")
    for library in (_PLUGIN_LIBRARY, *(str(folder / _PLUGIN_LIBRARY) for folder in folders)):
        with contextlib.suppress(OSError):
            ctypes.CDLL(library)
            return
    raise MissingDependencyError(
        f"{name} needs {_PLUGIN_LIBRARY} for RoiAlign, which is not installed; the wheels of TensorRT "
        f"{trt.__version__} do not contain it. Install NVIDIA's package libnvinfer-vc-plugin8 of the same "
        "version, or TensorRT 10."
    )


def _missing(registry: Any) -> list[str]:
    """The plugins of our library that the registry does not have."""
    # `all_creators` has both plugin generations; it was added in 10.
    creators = registry.all_creators if hasattr(registry, "all_creators") else registry.plugin_creator_list
    listed = {
        f"{creator.plugin_namespace}::{creator.name} of version {creator.plugin_version}"
        for creator in creators
    }
    wanted = [(PLUGIN_NAMESPACE, OP_NAME, PLUGIN_VERSION)]
    wanted += [(FUSED_DOMAIN, name, str(FUSED_VERSION)) for name in (SCAN_PAIR, CONV_PAIR)]
    names = [f"{domain}::{name} of version {version}" for domain, name, version in wanted]
    return [name for name in names if name not in listed]


def _open(path: Path) -> ctypes.CDLL:
    return ctypes.CDLL(str(path))


def _check_library(path: Path, export: str) -> None:
    """Raises OperatorLibraryError for a library that the registry would silently ignore."""
    try:
        library = _open(path)
    except OSError as error:
        raise OperatorLibraryError(f"{path} does not load: {error}; build it again.") from None
    for name in (export, _CUDA_VERSION):
        if not hasattr(library, name):
            raise OperatorLibraryError(
                f"{path} has no function {name}, so this TensorRT cannot use it; it was built for another "
                "major version or release. Build it with TENSORRT_ROOT set to this version's headers."
            )
    built_with, supported = getattr(library, _CUDA_VERSION)() // 1000, cuda_major()
    if built_with > supported:
        needed = _OLDEST_DRIVERS.get(built_with)
        raise OperatorLibraryError(
            f"{path} was built with CUDA {built_with}, but the NVIDIA driver supports only CUDA {supported}. "
            f"Update the driver{f' to {needed} or later' if needed else ''}, or build the library with CUDA "
            f"{supported}."
        )


def required(container: Any, name: str, version: str, what: str) -> Any:
    """A member of a TensorRT enumeration. Raises EngineError if this version does not have it."""
    if not hasattr(container, name):
        raise EngineError(
            f"TensorRT {version} has no {name}, so it cannot build {what}; leave out the option."
        )
    return getattr(container, name)
