"""Export of an eager model to an ONNX graph in opset 17, with the scan as one operator."""

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

import vim_deploy.ops.scan  # noqa: F401  (registers the PyTorch operator)
from vim_deploy.errors import ExportError
from vim_deploy.export.clean import name_after_modules, simplify, tidy
from vim_deploy.export.gate import gate_after_scan
from vim_deploy.export.opset import IR_VERSION, lower_to_opset_17
from vim_deploy.export.task import TaskModule
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

INPUT_NAME = "pixels"

_EXPORTER_OPSET = 18  # the exporter's lowest
_FLOATS = ["tensor(float)", "tensor(float16)", "tensor(bfloat16)"]


def to_onnx(task: TaskModule, *, batch: int | None = None) -> onnx.ModelProto:
    """The graph of `task` with its weights; its inputs are `pixels` and the task's settings.

    `batch` None makes the batch size dynamic, unless the task fixes it. Raises ExportError if the exporter
    fails.
    """
    batch = _batch(task, batch)
    # Two images, because the exporter treats a batch size of 1 as a constant.
    pixels = torch.zeros(batch or 2, task.channels, *task.image_size)
    dynamic = {"pixels": {0: torch.export.Dim("batch", min=1)}} if batch is None else None
    settings = {name: torch.tensor(value) for name, value in task.settings.items()}
    with _quiet_exporter():
        program = torch.onnx.export(
            task.eval(),
            (pixels, *settings.values()),
            dynamo=True,
            opset_version=_EXPORTER_OPSET,
            input_names=[INPUT_NAME, *settings],
            output_names=list(task.outputs),
            dynamic_shapes=dynamic,
            custom_translation_table={**_translations(), **task.translations()},
            verbose=False,
            optimize=False,  # see simplify
        )
    if program is None:
        raise ExportError("the PyTorch exporter returned nothing; expected an ONNX program.")
    simplify(program.model)
    model: onnx.ModelProto = program.model_proto
    lower_to_opset_17(model)
    name_after_modules(model, root="model")
    _attach_function_body(model)
    tidy(model, task.open_dimension)
    # An initializer with the name of an input is its default value.
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(value.numpy(), name) for name, value in settings.items()
    )
    onnx.checker.check_model(model, full_check=False)
    return model


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
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """The exporter writes the scan as one node in our domain, with integer attributes."""
    domain = onnxscript.values.Opset(OP_DOMAIN, CONTRACT_VERSION)
    scan = onnxscript.values.Op(domain, OP_NAME, _schema())

    def selective_scan(*arguments: Any) -> Any:
        inputs, flags = arguments[: len(INPUTS)], arguments[len(INPUTS) :]
        return scan(*inputs, **{name: int(flag) for name, flag in zip(ATTRIBUTES, flags, strict=True)})

    return {torch.ops.vim_deploy.selective_scan.default: selective_scan}


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
