"""Libraries without content, in place of those that a parser links but does not call.

The library of TensorRT's own plugins, which the parser of 8.6 loads, links cuBLAS and cuDNN, and opens
libnvinfer_vc_plugin.so.8, which the wheel does not contain. While a file is parsed, none of their functions
is called. Each function of the written libraries returns 1, an error.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

# Only these are replaced; any other missing library is an error.
_REPLACEABLE = re.compile(r"lib(cublas|cublasLt|cudnn)\.so\.\d+")
_OPENED_BY_PLUGINS = "libnvinfer_vc_plugin.so.8"


def write_missing_libraries(parser: Path, folder: Path) -> None:
    """Writes what the loader does not find for `parser`, a library of 8.6, into `folder`."""
    plugins = parser.with_name("libnvinfer_plugin.so.8")
    if not plugins.is_file() or shutil.which("ldd") is None:
        return
    folder.mkdir(exist_ok=True)
    for name in sorted(_missing(plugins)):
        if not (folder / name).exists():
            _write(folder / name, _functions(plugins, name))
    if not parser.with_name(_OPENED_BY_PLUGINS).exists() and not (folder / _OPENED_BY_PLUGINS).exists():
        _write(folder / _OPENED_BY_PLUGINS, [])


def _missing(library: Path) -> set[str]:
    shown = subprocess.run(["ldd", str(library)], capture_output=True, text=True, check=True).stdout
    names = re.findall(r"^\s*(\S+) => not found", shown, re.M)
    return {name for name in names if _REPLACEABLE.fullmatch(name)}


def _functions(library: Path, needed: str) -> list[str]:
    """The functions that `library` expects in the library `needed`."""
    command = ["nm", "-D", "--undefined-only", str(library)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return sorted(set(re.findall(rf"U (\w+)@{re.escape(needed)}$", shown, re.M)))


def _write(target: Path, functions: list[str]) -> None:
    versions = target.with_suffix(".map")
    versions.write_text(f"{target.name} {{ global: *; }};\n")
    code = "\n".join(f"int {name}(void) {{ return 1; }}" for name in functions) or "typedef int nothing;"
    flags = ["-shared", "-fPIC", f"-Wl,-soname,{target.name}", f"-Wl,--version-script={versions}"]
    command = ["gcc", "-w", *flags, "-x", "c", "-", "-o", str(target)]
    subprocess.run(command, input=code, text=True, check=True)
