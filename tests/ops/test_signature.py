"""The operator's signature is the same in Python, C++, the plugin configuration and the contract page."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from vim_deploy.ops.function_body import function_body
from vim_deploy.ops.reference import selective_scan_reference
from vim_deploy.ops.scan import selective_scan
from vim_deploy.ops.signature import (
    ATTRIBUTES,
    CONTRACT_VERSION,
    INPUT_NAMES,
    INPUTS,
    OP_DOMAIN,
    OP_NAME,
    OUTPUT,
    SIZES,
    TensorSpec,
    by_name,
    input_shapes,
    sizes_of,
)

SCAN = Path(__file__).parents[2] / "plugins" / "selective_scan"


def shape_text(spec: TensorSpec) -> str:
    return f"({', '.join(spec.shape)})"


def source(name: str) -> str:
    """The text without comments and line continuations."""
    text = (SCAN / name).read_text()
    return re.sub(r"//.*", "", text).replace("\\\n", "\n")


def test_contract_header():
    text = source("contract.h")
    rows = re.findall(r'X\(k\w+, (\w+), k\w+, "(\([\w, ]+\))", InputType::(\w+)\)', text)
    assert rows == [(spec.name, shape_text(spec), "kFloat32" if spec.float32 else "kT") for spec in INPUTS]
    assert tuple(re.findall(r'\{"(\w+)", &Flags::\1,', text)) == ATTRIBUTES
    constants = dict(re.findall(r'constexpr [\w:]+ (k\w+)(?:\[\])? = "?(\w+)"?;', text))
    assert (constants["kDomain"], constants["kName"]) == (OP_DOMAIN, OP_NAME)
    assert constants["kVersion"] == constants["kVersionText"] == str(CONTRACT_VERSION)


def test_contract_page():
    text = (SCAN / "README.md").read_text()
    rows = re.findall(r"^\| (?:\d|out) \| `(\w+)` \| (\([\w, ]+\)) \| (\w+) \|", text, re.MULTILINE)
    assert rows == [
        (spec.name, shape_text(spec), "float32" if spec.float32 else "T") for spec in (*INPUTS, OUTPUT)
    ]
    assert tuple(re.findall(r"^\| `(\w+)` \| int, (?:0 or 1|1 or more) \|", text, re.MULTILINE)) == ATTRIBUTES


def test_tensorrt_configuration():
    yaml = pytest.importorskip("yaml", reason="no PyYAML: the plugin's configuration is not compared")
    page: dict[str, Any] = yaml.safe_load((SCAN / "SelectiveScan_PluginConfig.yaml").read_text())
    assert (page["name"], page["namespace"], page["version"]) == (OP_NAME, OP_DOMAIN, str(CONTRACT_VERSION))
    assert tuple(field["name"] for field in page["attributes"]) == (*ATTRIBUTES, "gated")
    for entries, specs in ((page["inputs"], INPUTS), (page["outputs"], (OUTPUT,))):
        expected = [
            {"name": spec.name, "shape": list(spec.shape), "type": "float32" if spec.float32 else "T"}
            for spec in specs
        ]
        assert entries == expected


@pytest.mark.parametrize(("header", "struct"), [("scan.h", "Arguments"), ("scan_cuda.h", "CudaArguments")])
def test_kernel_arguments(header, struct):
    (body,) = re.findall(rf"struct {struct} \{{(.*?)\n\}};", source(header), re.DOTALL)
    fields = re.findall(r"(\w+)(?: = 1)?;", body)
    tensors = (*INPUT_NAMES, OUTPUT.name)
    assert tuple(field for field in fields if field in SIZES) == SIZES
    assert tuple(field for field in fields if field in tensors) == tensors
    assert tuple(field for field in fields if field in ATTRIBUTES) == ATTRIBUTES


@pytest.mark.parametrize("adapter", ["ort_scan.cpp", "ort_op.cpp", "ort_cuda_op.cpp", "trt_plugin_core.cpp"])
def test_adapters_do_not_repeat_the_list_of_inputs(adapter):
    assert not re.search(r"\b(delta_bias|kDeltaBias)\b", source(adapter))


@pytest.mark.parametrize("function", [selective_scan, selective_scan_reference])
def test_python_functions(function):
    names = tuple(inspect.signature(function).parameters)
    assert names[: len(INPUTS)] == INPUT_NAMES
    assert names[len(INPUTS) :][: len(ATTRIBUTES)] == ATTRIBUTES


def test_function_body():
    body = function_body()
    assert (body.domain, body.name) == (OP_DOMAIN, OP_NAME)
    assert (tuple(body.input), tuple(body.output)) == (INPUT_NAMES, (OUTPUT.name,))
    assert tuple(body.attribute) == ATTRIBUTES


def test_shapes_and_sizes():
    sizes = {"batch": 2, "length": 5, "channels": 3, "state": 4}
    shapes = input_shapes(sizes)
    assert shapes["u"] == (2, 5, 3) and shapes["A"] == (3, 4) and shapes["B"] == (2, 5, 4)
    assert input_shapes(sizes, 3)["C"] == (2, 5, 12)
    assert sizes_of(shapes["u"], shapes["A"]) == sizes
    with pytest.raises(ValueError, match="shorter"):
        by_name((1, 2))
