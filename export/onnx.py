"""Export of an eager model to an ONNX graph, with the scan as one operator."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import onnx
import onnxscript
import onnxscript.optimizer
import torch
from onnx import helper
from torch import nn

import vim_deploy.ops.mamba  # noqa: F401  (registers the PyTorch operators)
from vim_deploy.errors import ExportError
from vim_deploy.export.clean import name_after_modules, simplify, tidy
from vim_deploy.export.gate import gate_after_scan
from vim_deploy.export.opset import IR_VERSION, OPSET, lower_to_opset_17, raise_opset
from vim_deploy.export.problems import FixedSizeError, explained, last_state_message
from vim_deploy.export.symbolic_int import symbolic_int
from vim_deploy.export.task import TaskModule
from vim_deploy.integrations.mamba_ssm import exportable
from vim_deploy.ops.function_body import body_for
from vim_deploy.ops.signature import (
    ATTRIBUTES,
    CONTRACT_VERSION,
    INPUTS,
    OP_DOMAIN,
    OP_NAME,
    OUTPUT,
    is_gated,
)

_log = logging.getLogger("vim_deploy")

_EXPORTER_OPSET = 18  # the exporter's lowest
_FLOATS = ["tensor(float)", "tensor(float16)", "tensor(bfloat16)"]


def to_onnx(task: TaskModule, *, batch: int | None = None, opset: int = OPSET) -> onnx.ModelProto:
    """The graph of `task` with its weights; its inputs are `pixels` and the task's settings.

    `batch` None makes the batch size dynamic, unless the task fixes it. `opset`: 17 to 19. Raises ExportError
    if the exporter fails.
    """
    batch = _batch(task, batch)
    try:
        model = _model(task, batch)
    except FixedSizeError:
        with symbolic_int(task.model) as lines:
            model = _model(task, batch)
        _log.info("int() of a dynamic size was kept symbolic during the export, in %s", ", ".join(lines))
    if opset > OPSET:
        raise_opset(model, opset)
    onnx.checker.check_model(model, full_check=False)
    return model


def _model(task: TaskModule, batch: int | None) -> onnx.ModelProto:
    """Raises FixedSizeError if the network's code fixes a size that should be dynamic."""
    inputs, dynamic = task.example_inputs(batch), task.dynamic_shapes(batch)
    root = ".".join(filter(None, ("model", getattr(task.model, "root", ""))))
    program = _traced(
        task.eval(),
        root,
        tuple(inputs.values()),
        input_names=list(inputs),
        output_names=list(task.outputs),
        dynamic_shapes=dynamic,
        custom_translation_table={**_translations(), **task.translations()},
    )
    simplify(program.model)
    model: onnx.ModelProto = program.model_proto
    lower_to_opset_17(model)
    if dynamic is not None:
        _check_dynamic(model, task)
    name_after_modules(model, root=root)
    _attach_function_body(model)
    tidy(model, task.open_dimension)
    # An initializer with the name of an input is its default value.
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(inputs[name].numpy(), name) for name in task.settings
    )
    return model


def _check_dynamic(model: onnx.ModelProto, task: TaskModule) -> None:
    """Raises FixedSizeError if the exporter has made a dynamic size a constant, which it does silently."""
    for value in model.graph.input:
        for axis, size in enumerate(value.type.tensor_type.shape.dim):
            if axis in task.dynamic_axes(value.name) and size.HasField("dim_value"):
                raise FixedSizeError(
                    f"the network's code fixes axis {axis} of {value.name} (to {size.dim_value} in this "
                    "export), for example with int() of a shape or a loop over images; export with a fixed "
                    "size (--batch-size 1, or without that axis in dynamic_axes), or change that code."
                )


def _traced(network: nn.Module, root: str, inputs: tuple[Any, ...], **options: Any) -> Any:
    """The exporter's program. Raises ExportError that says what in the network cannot be exported."""
    try:
        with _quiet_exporter(), exportable(network):
            program = torch.onnx.export(
                network,
                inputs,
                dynamo=True,
                opset_version=_EXPORTER_OPSET,
                verbose=False,
                optimize=False,  # see simplify
                **options,
            )
    except Exception as error:  # the exporter raises many kinds of errors
        raise explained(error, network, root) from error
    if program is None:
        raise ExportError("the PyTorch exporter returned nothing; expected an ONNX program.")
    return program


def _batch(task: TaskModule, requested: int | None) -> int | None:
    if task.fixed_batch is not None and requested not in (None, task.fixed_batch):
        raise ExportError(
            f"batch size {requested}: this task only supports batch size {task.fixed_batch}; omit "
            "--batch-size."
        )
    return task.fixed_batch or requested


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence the exporter's warnings; the comparison with the eager model detects any problem."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """The exporter writes the scan as one node in our domain, with integer attributes."""
    domain = onnxscript.values.Opset(OP_DOMAIN, CONTRACT_VERSION)
    scan = onnxscript.values.Op(domain, OP_NAME, _schema())

    def selective_scan(*arguments: Any) -> Any:
        inputs, flags = arguments[: len(INPUTS)], arguments[len(INPUTS) :]
        return scan(*inputs, **{name: int(flag) for name, flag in zip(ATTRIBUTES, flags, strict=True)})

    def last_state(*arguments: Any) -> Any:
        raise ExportError(last_state_message())

    # The exporter removes nodes without users, so that only a state that is used is refused.
    return {
        torch.ops.vim_deploy.selective_scan.default: selective_scan,
        torch.ops.vim_deploy.scan_last_state.default: last_state,
    }


def _schema() -> onnx.defs.OpSchema:
    schema = onnx.defs.OpSchema
    return schema(
        OP_NAME,
        OP_DOMAIN,
        CONTRACT_VERSION,
        inputs=[
            schema.FormalParameter(
                spec.name,
                "tensor(float)" if spec.float32 else "T",
                param_option=getattr(schema.FormalParameterOption, "Optional" if spec.optional else "Single"),
            )
            for spec in INPUTS
        ],
        outputs=[schema.FormalParameter(OUTPUT.name, "T")],
        type_constraints=[("T", _FLOATS, "")],
        attributes=[schema.Attribute(name, schema.AttrType.INT, required=True) for name in ATTRIBUTES],
    )


def _attach_function_body(model: onnx.ModelProto) -> None:
    scans = [node for node in model.graph.node if (node.domain, node.op_type) == (OP_DOMAIN, OP_NAME)]
    if len({is_gated(node) for node in scans}) > 1:
        gate_after_scan(model.graph)
    del model.functions[:]
    model.functions.append(body_for(scans))
    domains = {entry.domain for entry in model.opset_import}
    if OP_DOMAIN not in domains:
        model.opset_import.append(helper.make_opsetid(OP_DOMAIN, CONTRACT_VERSION))
    model.ir_version = IR_VERSION
