"""Restoring the weights of a stripped engine.

TensorRT's parser sets the weights that it finds in the graph, then fails if the engine has others. Those are
constants that the parser itself made while it parsed the graph, named like tmp_weight_1, such as numbers for
a LayerNormalization in 10.10 and the paddings of a Pad in 10.1. The file has no such weights, so they are
taken from the network that the parser makes of the same graph.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from vim_deploy.engines.tensorrt.api import make_builder, parser_errors
from vim_deploy.engines.tensorrt.builder import network_flags
from vim_deploy.errors import EngineError

_MAX_NAMED = 5


def refit(trt: ModuleType, logger: Any, engine: Any, graph: bytes) -> None:
    """Set the weights of a stripped engine from the graph that it was built from. Raises EngineError."""
    refitter = trt.Refitter(engine, logger)
    parser = trt.OnnxParserRefitter(refitter, logger)
    complete = parser.refit_from_bytes(graph)
    if complete and refitter.refit_cuda_engine():
        return
    known = _weight_names(graph)
    created = {str(name) for name in refitter.get_all_weights()} - known
    if not complete and created:
        network = _parse(trt, logger, graph)  # has the memory of the constants until the engine is refitted
        set_all = network is not None and _set_constants(trt, refitter, network[0], known, len(created))
        if set_all and refitter.refit_cuda_engine():
            return
    missing = sorted(created | {str(name) for name in refitter.get_missing_weights()})
    lacks = f"; missing: {', '.join(missing[:_MAX_NAMED])}" if missing else ""
    more = f" and {len(missing) - _MAX_NAMED} more" if len(missing) > _MAX_NAMED else ""
    raise EngineError(
        f"TensorRT {trt.__version__} does not accept the weights: "
        f"{parser_errors(parser) or logger.reasons()}{lacks}{more}. Build the engine without --strip."
    )


def _weight_names(graph: bytes) -> set[str]:
    import onnx

    return {item.name for item in onnx.load_model_from_string(graph).graph.initializer}


def _parse(trt: ModuleType, logger: Any, graph: bytes) -> tuple[Any, Any] | None:
    """The network of a graph and its parser, which owns the weights; None if it is not parsed."""
    network = make_builder(trt, logger).create_network(network_flags(trt)[0])
    parser = trt.OnnxParser(network, logger)
    return (network, parser) if parser.parse(graph) else None


def _set_constants(trt: ModuleType, refitter: Any, network: Any, known: set[str], count: int) -> bool:
    """Set the `count` constants of the network that are not `known`. False if one is not found or refused."""
    constants = {
        layer.name: layer
        for layer in map(network.get_layer, range(network.num_layers))
        if layer.type == trt.LayerType.CONSTANT
    }
    wanted = {str(name) for name in refitter.get_all()[0]}
    created = [layer for name, layer in constants.items() if name in wanted and name not in known]
    for layer in created:
        layer.__class__ = trt.IConstantLayer  # the bindings return the base class
        if not refitter.set_weights(layer.name, trt.WeightsRole.CONSTANT, layer.weights):
            return False
    return len(created) >= count and not refitter.get_missing_weights()
