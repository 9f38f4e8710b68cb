"""`export_module`: any PyTorch network to an ONNX file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.errors import ExportError, needs_extra
from vim_deploy.families.family import FACTORY, ModelSource
from vim_deploy.metadata import EXPORTED_FILE
from vim_deploy.output_files import OutputFile, check_output_files

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vim_deploy.export.exporter import ExportResult

RAW = "raw"


def export_module(
    module: nn.Module,
    example_inputs: Tensor | Sequence[Tensor] | Mapping[str, Tensor],
    output: str | os.PathLike[str],
    *,
    task: str | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_axes: Mapping[str, Mapping[int, str]] | None = None,
    batch_size: int | None = None,
    preprocessing: Preprocessing | Mapping[str, Any] | None = None,
    class_names: Sequence[str] | None = None,
    check: bool = True,
    force: bool = False,
    **task_options: Any,
) -> ExportResult:
    """Export a network to the ONNX file `output`, and compare the file with the network.

    The network is compared with the slow reference scan in the place of `selective_scan_fn`; its own weights
    and mode are not changed, except that it is in evaluation mode and in float32 on the CPU.

    `task` None: named arrays in, named arrays out. `example_inputs` are the arguments of the network, in
    order or by name; their sizes are fixed in the file, except for `dynamic_axes`, such as
    `{"tokens": {0: "batch", 1: "length"}}`, whose examples have a size of 2 or more. `output_names` default
    to the keys of the network's own outputs, or output0, output1 ...

    `task` "classify" or "features": `example_inputs` is one batch of images, (batch, channels, height,
    width). The batch size of the file is dynamic, or `batch_size`. `preprocessing` defaults to what a
    timm-style `default_cfg` of the network says.

    Returns the path, the metadata with the figures of the comparison, and notes. Raises ExportError that says
    what in the network cannot be exported, ConfigError or OutputError.
    """
    check_output_files([OutputFile("output", Path(output), EXPORTED_FILE)], [], force)
    with needs_extra("export"):
        from vim_deploy.export.exporter import ExportRequest, export_opened
        from vim_deploy.export.module import open_image_module, open_raw_module
    origin = {"source": "module", "sha256": None, "key": None, "seed": None}
    if task in (None, RAW):
        if task_options or preprocessing is not None or class_names is not None or batch_size is not None:
            raise ExportError(
                "preprocessing, class_names, batch_size and task options are for images; set task to "
                "classify or features, or leave them out."
            )
        opened = open_raw_module(module, example_inputs, input_names, output_names, dynamic_axes, origin)
    else:
        if input_names or output_names or dynamic_axes:
            raise ExportError(
                f"input_names, output_names and dynamic_axes are for the task {RAW}; omit them for {task}."
            )
        opened = open_image_module(module, example_inputs, task, task_options, origin)
    if isinstance(preprocessing, Mapping):
        preprocessing = Preprocessing.from_dict(dict(preprocessing))
    request = ExportRequest(
        source=ModelSource(FACTORY),
        output=Path(output),
        task=task or RAW,
        batch=batch_size,
        class_names=None if class_names is None else tuple(class_names),
        preprocessing=preprocessing,
        check=check,
    )
    return export_opened(opened, request)
