"""The TensorRT plugins: the core, and the adapters if `TENSORRT_ROOT` points to headers."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from native_programs import FUSED, PROGRAMS, SANITIZERS, SCAN, WARNINGS, build, run

CORE = [
    *(SCAN / name for name in ("trt_plugin_core.cpp", "gpu_operators.cpp", "scan_cuda_plan.cpp")),
    FUSED / "pair_cuda_plan.cpp",
]


@pytest.fixture(scope="module")
def core_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("core") / "core"
    return build(target, [PROGRAMS / "test_trt_core.cpp", *CORE], *SANITIZERS, *WARNINGS)


def test_core_accepts_exactly_the_contract(core_program: Path) -> None:
    assert ": 0 failures" in run(core_program)


def test_core_implements_the_configuration(core_program: Path) -> None:
    yaml = pytest.importorskip("yaml", reason="no PyYAML: the plugin's configuration is not checked")
    page: dict[str, Any] = yaml.safe_load((SCAN / "SelectiveScan_PluginConfig.yaml").read_text())
    code: dict[str, Any] = json.loads(run(core_program, "describe"))
    assert all(page[key] == code[key] for key in ("name", "version", "namespace"))
    assert [field["name"] for field in page["attributes"]] == code["attributes"]
    assert all(
        field["type"] == "int32" and field.get("values", [0, 1]) == [0, 1] for field in page["attributes"]
    )
    assert page["limits"]["state"] == code["largest_state"]
    for entry, tensor in zip(page["inputs"] + page["outputs"], code["tensors"], strict=True):
        assert (entry["name"], f"({', '.join(entry['shape'])})") == (tensor["name"], tensor["shape"])
        pairs = [[of_u, of_u if entry["type"] == "T" else entry["type"]] for of_u in page["types"]["T"]]
        assert tensor["types"] == pairs, entry["name"]


def headers_version(include: Path) -> int:
    """TensorRT's major version; its headers define it under one of two names."""
    text = (include / "NvInferVersion.h").read_text()
    found = re.search(r"#define (?:NV_TENSORRT_MAJOR|TRT_MAJOR_ENTERPRISE) (\d+)", text)
    assert found is not None, f"{include}/NvInferVersion.h has no version number"
    return int(found.group(1))


def test_adapter_handles_every_call_under_the_sanitizers(tmp_path: Path) -> None:
    root = os.environ.get("TENSORRT_ROOT")
    if not root:
        pytest.skip("TENSORRT_ROOT is not set: the adapters are not compiled")
    include = Path(root) / "include"
    cuda = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "include"
    if not (cuda / "cuda_runtime_api.h").is_file():
        pytest.skip(f"no CUDA headers in {cuda}, which TensorRT's headers need; set CUDA_HOME")
    adapter = "v2" if headers_version(include) == 8 else "v3"
    sources = [PROGRAMS / f"test_trt_{adapter}.cpp", SCAN / f"trt_plugin_{adapter}.cpp", *CORE]
    system = ("-isystem", str(cuda), "-isystem", str(include))
    program = build(tmp_path / "adapter", sources, *SANITIZERS, *WARNINGS, "-fvisibility=hidden", *system)
    assert ": 0 failures" in run(program)
