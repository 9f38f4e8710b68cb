"""What a built engine says about itself, and the refusal of one that is not in the precision asked for."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from vim_deploy.engines.tensorrt.graph import PreparedGraph
from vim_deploy.errors import EngineError

# How the inspectors of 8.6, 10 and 11 spell types; the longer names first, since they hold the shorter.
_SPELLINGS = {
    "bf16": ("bf16", "bfloat16"),
    "fp16": ("fp16", "half", "float16"),
    "fp32": ("fp32", "float"),
}
_PLUGIN_TYPE = "plugin"
_log = logging.getLogger("vim_deploy")


def layer_information(
    trt: ModuleType, engine: Any, input_name: str, shape: tuple[int | None, ...]
) -> dict[str, Any]:
    """The inspector's JSON. With open shapes it knows formats only for a context whose input has a shape."""
    context = engine.create_execution_context()
    context.set_input_shape(input_name, shape)
    inspector = engine.create_engine_inspector()
    inspector.execution_context = context
    text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    try:
        information = json.loads(text)
        if not isinstance(information["Layers"], list):
            raise TypeError("its Layers are no list")
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError(
            f"TensorRT {trt.__version__} gives no layer information ({error!r}), so the engine's precision "
            "cannot be checked and the engine is not kept."
        ) from None
    return dict(information)


def check_precision(information: dict[str, Any], graph: PreparedGraph, precision: str) -> dict[str, int]:
    """How many plugins and other layers of the blocks run in `precision`.

    Raises EngineError when a plugin runs in another one or is missing, or a product of matrices inside a
    block has no tensor in it: asked for fp16 and got fp32 is a failure.
    """
    layers = [layer for layer in information["Layers"] if isinstance(layer, dict)]
    plugins = [layer for layer in layers if _PLUGIN_TYPE in str(layer.get("LayerType", "")).lower()]
    if len(plugins) != len(graph.scans):
        raise EngineError(
            f"the built engine has {len(plugins)} plugin layers, the graph {len(graph.scans)} selective "
            "scans; the engine is not kept. Its layers can be written with --layers FILE."
        )
    for layer in plugins:
        # The first input is u, which has the file's precision; A, D and delta_bias are always float32.
        found = next(_precisions(layer.get("Inputs", [])), "unknown")
        if found != precision:
            raise _refusal(layer, found, precision)
    products = [layer for layer in layers if _is_block_product(layer) and layer not in plugins]
    if graph.scans and not products:
        _log.warning(
            "the engine's layers do not say which of them are the products of matrices: that its plugins run "
            "in %s was checked, and its results are compared with the file",
            precision,
        )
    for layer in products:
        found_any = set(_precisions([*layer.get("Inputs", []), *layer.get("Outputs", [])]))
        if found_any and precision not in found_any:
            raise _refusal(layer, ", ".join(sorted(found_any)), precision)
    return {"plugins": len(plugins), "block_products": len(products)}


def _refusal(layer: dict[str, Any], found: str, precision: str) -> EngineError:
    return EngineError(
        f"asked for {precision}, but TensorRT built {layer.get('Name')!s:.200} in {found}; the engine is not "
        "kept. Its layers can be written with --layers FILE."
    )


def _is_block_product(layer: dict[str, Any]) -> bool:
    # 10 and later give fused layers names of their own, and the graph's as metadata.
    name = f"{layer.get('Name', '')} {layer.get('Metadata', '')}"
    return ".mixer" in name and "MatMul" in name and layer.get("LayerType") not in ("Reformat", "Constant")


def _precisions(tensors: list[Any]) -> Iterator[str]:
    """fp32, fp16, bf16 or unknown for each tensor.

    The field is "Format/Datatype" in 8.6 and 10, with values like "Row major linear FP16", "Half" or "Float";
    11 has fields of their own for both. A type beats what a format may say.
    """
    for tensor in tensors:
        fields = tensor.items() if isinstance(tensor, dict) else ()
        told = [(key.lower(), str(value).lower()) for key, value in fields]
        types = [value for key, value in told if "type" in key]
        text = " ".join(types or [value for key, value in told if "format" in key])
        names = (name for name, spellings in _SPELLINGS.items() if any(word in text for word in spellings))
        yield next(names, "unknown")
