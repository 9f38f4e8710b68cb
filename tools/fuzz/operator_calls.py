"""The process of operators.py: `python operator_calls.py NODES COUNT SEED` prints counts of results as JSON.

A third of the calls are of the recorded node with valid inputs of other sizes or values, so that the kernels
run; the others have inputs that do not fit together, other types, missing inputs or extreme attributes.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vim_deploy.engines.onnxruntime.session import make_session
from vim_deploy.errors import EngineError
from vim_deploy.ops.library import instruction_set, ort_library

_CALLS = 8  # with one session
_INTEGERS = (0, 1, 2, -1, 3, 5, 7, 16, 47, 255, 1 << 31, (1 << 31) - 1, -(1 << 31), (1 << 63) - 1, -(1 << 63))
_FLOATS = (0.0, -1.0, 1e-30, 1e38, float("inf"), float("nan"))
_VALUES = (0.0, -0.0, 1e-40, 1e38, -1e38, float("inf"), float("-inf"), float("nan"))
_LARGEST = 1 << 22  # elements of an input


def main(nodes: Path, count: int, seed: int) -> None:
    graphs = [onnx.GraphProto.FromString(path.read_bytes()) for path in sorted(nodes.iterdir())]
    results: Counter[str] = Counter()
    case = 0
    while sum(results.values()) < count:
        case += 1
        generator = random.Random(f"{instruction_set()}/{seed}/{case}")
        graph = onnx.GraphProto()
        graph.CopyFrom(generator.choice(graphs))
        malformed = generator.random() < 0.7
        if malformed and generator.random() < 0.5:
            _change_node(graph.node[0], generator)
        operator = graph.node[0].op_type
        # On stderr, which is shown if this is the last case.
        print(f"case {case}: {operator}", file=sys.stderr)
        inputs = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        fed = [name for name, value in inputs.items() if value.dtype in (np.float32, np.int64)]
        try:
            session = _session(graph, inputs, fed)
        except EngineError:
            results[f"{operator}: not loaded"] += 1
            continue
        for _ in range(_CALLS):
            feeds = _changed({name: inputs[name] for name in fed}, malformed, generator)
            try:
                session.run(None, feeds)
                results[f"{operator}: outputs"] += 1
            except Exception:  # the runtime's exceptions have no common base class
                results[f"{operator}: error"] += 1
    print(json.dumps(dict(results)))


def _session(graph: onnx.GraphProto, inputs: dict[str, np.ndarray], fed: list[str]) -> Any:
    """A session for one node: inputs without shapes, and initializers of types that cannot be fed."""
    node = graph.node[0]
    kinds = {name: helper.np_dtype_to_tensor_dtype(inputs[name].dtype) for name in fed}
    values = [onnx.ValueInfoProto(name=name) for name in fed]
    for value in values:
        value.type.tensor_type.elem_type = kinds[value.name]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    for output in outputs:
        output.type.tensor_type.elem_type = TensorProto.FLOAT
    stored = [tensor for tensor in graph.initializer if tensor.name not in fed]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(node.domain, _versions()[node.domain])]
    whole = helper.make_graph([node], "call", values, outputs, stored)
    model = helper.make_model(whole, opset_imports=opsets, ir_version=8)
    return make_session(
        model.SerializeToString(), library=ort_library(), optimization="none", threads=2, quiet=True
    )


def _versions() -> dict[str, int]:
    from vim_deploy.engines.fusion.domain import FUSED_DOMAIN, FUSED_VERSION
    from vim_deploy.ops.signature import CONTRACT_VERSION, OP_DOMAIN

    return {OP_DOMAIN: CONTRACT_VERSION, FUSED_DOMAIN: FUSED_VERSION}


def _change_node(node: onnx.NodeProto, generator: random.Random) -> None:
    choice = generator.randrange(5)
    if choice == 0 and len(node.input):
        node.input[generator.randrange(len(node.input))] = ""
    elif choice == 1 and len(node.input):
        del node.input[generator.randrange(len(node.input)) :]
    elif choice == 2 and len(node.output) > 1:
        node.output[generator.randrange(len(node.output))] = ""
    elif choice == 3 and len(node.input) > 1:
        first, second = (generator.randrange(len(node.input)) for _ in range(2))
        node.input[first] = node.input[second]
    elif node.attribute:
        attribute = generator.choice(list(node.attribute))
        if attribute.type == onnx.AttributeProto.INT:
            attribute.i = generator.choice(_INTEGERS)
        else:
            attribute.CopyFrom(
                helper.make_attribute(attribute.name, generator.choice((*_FLOATS, *_INTEGERS[:4])))
            )


def _changed(
    inputs: dict[str, np.ndarray], malformed: bool, generator: random.Random
) -> dict[str, np.ndarray]:
    """Copies of the inputs, whose memory ends with them."""
    changed = dict(inputs)
    if malformed:
        for name in generator.sample(sorted(inputs), min(len(inputs), generator.choice((1, 1, 2, 3)))):
            changed[name] = _with_other_shape(inputs[name], generator)
    else:
        batch = generator.choice((1, 2, 3))
        for name, value in inputs.items():
            if value.ndim == 3:  # (batch, length, channels)
                changed[name] = np.concatenate([value[:1]] * batch)
    for name, value in changed.items():
        changed[name] = np.array(value, order="C")
        if value.size and value.dtype == np.float32 and generator.random() < 0.1:
            changed[name].flat[generator.randrange(value.size)] = generator.choice(_VALUES)
    return changed


def _with_other_shape(value: np.ndarray, generator: random.Random) -> np.ndarray:
    shape = list(value.shape)
    choice = generator.randrange(4)
    if choice == 0 and shape:
        axis = generator.randrange(len(shape))
        shape[axis] = generator.choice(
            (0, 1, 2, 3, 5, 17, 49, shape[axis] + 1, max(0, shape[axis] - 1), 1000)
        )
    elif choice == 1 and shape:
        del shape[generator.randrange(len(shape))]
    elif choice == 2:
        shape.insert(generator.randrange(len(shape) + 1), generator.choice((0, 1, 2)))
    else:
        generator.shuffle(shape)
    if np.prod(shape, dtype=float) > _LARGEST:
        return value
    return np.resize(value, shape)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
