"""Reading back the layers of a built engine, and checking their precision."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from vim_deploy.engines.tensorrt.graph import PreparedGraph
from vim_deploy.errors import EngineError
from vim_deploy.precision import Precision
from vim_deploy.text import plural

# Type names in the inspectors of 8.6, 10 and 11. Longer names come first: they contain the shorter ones.
_SPELLINGS = {
    Precision.INT8: ("int8",),
    Precision.FP8: ("fp8", "float8"),
    Precision.BF16: ("bf16", "bfloat16"),
    Precision.FP16: ("fp16", "half", "float16"),
    Precision.FP32: ("fp32", "float"),
}
_PLUGIN_TYPE = "plugin"
_log = logging.getLogger("vim_deploy")


def layer_information(
    trt: ModuleType, engine: Any, input_name: str, shape: tuple[int | None, ...]
) -> dict[str, Any]:
    """The inspector's JSON. With dynamic shapes it needs a context whose input shape is set."""
    context = engine.create_execution_context()
    context.set_input_shape(input_name, shape)
    inspector = engine.create_engine_inspector()
    inspector.execution_context = context
    text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    try:
        information = json.loads(text)
        if not isinstance(information["Layers"], list):
            raise TypeError("Layers is not a list")
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError(
            f"TensorRT {trt.__version__} gives no layer information ({error!r}), so the engine's precision "
            "cannot be checked; no engine was written."
        ) from None
    return dict(information)


def check_precision(
    information: dict[str, Any], graph: PreparedGraph, precision: Precision
) -> dict[str, Any]:
    """The number of selective scans and of matmul layers of the blocks, all of which run in `precision`.

    Also the names of the tactics of these matmuls, which show the type that they accumulate in.

    Of a quantized file, the selective scans are in float32, and only the quantized matmuls are looked at.

    Raises EngineError when a selective scan is missing or has another precision, or when a matmul of a block
    has no tensor in `precision`: an fp16 file must not become an fp32 engine.
    """
    of_scans = Precision(precision).activations
    layers = [layer for layer in information["Layers"] if isinstance(layer, dict)]
    plugins = [layer for layer in layers if _is_scan(layer, graph)]
    if len(plugins) != len(graph.scans):
        raise EngineError(
            f"the built engine has {plural(len(plugins), 'selective scan')}, the graph {len(graph.scans)}; "
            "no engine was written. Write its layers with --layers FILE to inspect them."
        )
    for layer in plugins:
        # The first input is u, which has the file's precision; A, D and delta_bias are always float32.
        found = next(_precisions(layer.get("Inputs", [])), "unknown")
        if found != of_scans:
            raise _wrong_precision(layer, found, of_scans)
    matmuls = [layer for layer in layers if _is_block_matmul(layer, graph) and layer not in plugins]
    if graph.scans and not matmuls:
        _log.warning(
            "the layer information does not show which layers are matmuls: only the precision of the plugins "
            "(%s) was checked; the results are compared with the file",
            precision,
        )
    for layer in matmuls:
        found_any = set(_precisions([*layer.get("Inputs", []), *layer.get("Outputs", [])]))
        if found_any and precision not in found_any:
            raise _wrong_precision(layer, ", ".join(sorted(found_any)), precision)
    tactics = {str(layer["TacticName"]) for layer in matmuls if layer.get("TacticName")}
    return {"plugins": len(plugins), "block_matmuls": len(matmuls), "matmul_tactics": sorted(tactics)}


def _wrong_precision(layer: dict[str, Any], found: str, precision: Precision) -> EngineError:
    return EngineError(
        f"the file is in {precision}, but TensorRT built {layer.get('Name')!s:.200} in {found}; no engine "
        "was written. Write its layers with --layers FILE to inspect them."
    )


def _is_scan(layer: dict[str, Any], graph: PreparedGraph) -> bool:
    """Whether the layer is a plugin that does not have the name of a node of TensorRT's own plugins."""
    is_plugin = _PLUGIN_TYPE in str(layer.get("LayerType", "")).lower()
    return is_plugin and not any(name in _names(layer) for name in graph.other_plugins)


def _names(layer: dict[str, Any]) -> str:
    """The layer's name and metadata: 10 and later give layers new names and keep the graph's as metadata."""
    return f"{layer.get('Name', '')} {layer.get('Metadata', '')}"


def _is_block_matmul(layer: dict[str, Any], graph: PreparedGraph) -> bool:
    """Whether the layer is a matmul of a block; of a quantized file, whether it is a quantized matmul."""
    name = _names(layer)
    if layer.get("LayerType") in ("Reformat", "Constant"):
        return False
    if graph.quantized:
        # Not those that quantize its inputs and weights, whose names begin with that of the matmul.
        return any(re.search(rf"{re.escape(matmul)}(?![\w/])", name) for matmul in graph.quantized)
    return ".mixer" in name and "MatMul" in name


def _precisions(tensors: list[Any]) -> Iterator[str]:
    """fp32, fp16, bf16 or unknown for each tensor.

    The field is "Format/Datatype" in 8.6 and 10, with values like "Row major linear FP16", "Half" or "Float";
    11 has separate fields for both. A type takes precedence over a format.
    """
    for tensor in tensors:
        fields = tensor.items() if isinstance(tensor, dict) else ()
        items = [(key.lower(), str(value).lower()) for key, value in fields]
        types = [value for key, value in items if "type" in key]
        text = " ".join(types or [value for key, value in items if "format" in key])
        names = (name for name, spellings in _SPELLINGS.items() if any(word in text for word in spellings))
        yield next(names, "unknown")
