"""The facts about a task that the rest of the package reads instead of asking which task it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from vim_deploy.registry import load_object

if TYPE_CHECKING:
    import numpy as np

    from vim_deploy.parity.difference import Difference

Outputs: TypeAlias = "Mapping[str, np.ndarray]"


@dataclass(frozen=True)
class TaskSpec:
    """One task: the inputs and outputs of its networks, and where its code is.

    Importing a spec imports neither PyTorch, numpy nor a runtime; the fields that hold "module:name" are
    imported on first use (`vim_deploy.registry.load_object`).

    `outputs`: names of the network's outputs, the primary one first. `model_kinds`: the kinds of model family
    that the task works with. `class_axis`: axis of the primary output that has one value per class, None
    if there is none. `batchable`: whether every output has one row per image, so that batches can be split
    and joined. `fixed_size_option`: the option of vim-export without which outputs have sizes
    that are not known before a run, None if they always are. `labeled`: whether an image
    has one true class, which accuracy is measured with. `settings`: scalar inputs of the network besides the
    pixels, with the values used when two networks are compared.
    `arrays`: whether networks take and return named arrays, which each file names, instead of images and
    `outputs`. `noun`: what an input file is; `accepts`: a function (path, name) that says whether a file in a
    folder is one.
    `draw` draws a prediction on its image, None for predictions that cannot be drawn. `served`: what a
    service returns for an image, None if there is no service for images.
    `ground_truth`: the option of vim-infer that has the ground truth, and `quality`: a function of rows,
    class names and ground truth that returns a `vim_deploy.tasks.quality.Quality`, for vim-validate.
    `difference` compares the outputs of two networks, the reference first. `class_count` gives the number of
    classes from the model's configuration, and `check` raises EngineError for a configuration that the task
    cannot be run with; its arguments are the file's name, the configuration and the class names.
    """

    name: str
    outputs: tuple[str, ...]
    model_kinds: tuple[str, ...]
    handler: str  # a TaskHandler, see tasks/base.py
    module: str  # a TaskModule, see export/task.py
    export_options: str = "vim_deploy.tasks.options:NoOptions"  # the same for vim-export; see export/task.py
    options: str = (
        "vim_deploy.tasks.options:NoOptions"  # a dataclass of `option` fields, see tasks/options.py
    )
    result: str = "vim_deploy.tasks.model_result:Result"  # its subclass that Model.predict returns
    served: str | None = None  # a `Served`, see tasks/served.py
    class_axis: int | None = None
    batchable: bool = True
    fixed_size_option: str | None = None
    labeled: bool = False
    settings: Mapping[str, float] = field(default_factory=dict)
    draw: str | None = (
        None  # a function (image, Prediction, class names, **options) -> image; see tasks/draw.py
    )
    arrays: bool = False
    noun: str = "image"
    accepts: str = "vim_deploy.data.discover:is_image"
    difference: str | None = None  # a function (Outputs, Outputs) -> Difference
    ground_truth: str | None = None
    quality: str | None = None
    class_count: Callable[[Mapping[str, Any]], int] | None = None
    check: Callable[[str, Mapping[str, Any], Sequence[str] | None], None] | None = None

    @property
    def primary_output(self) -> str:
        return self.outputs[0]

    def compare(self, reference: Outputs, candidate: Outputs) -> Difference:
        """The difference over all outputs; without `difference`, that of the output where it is largest."""
        if self.difference is not None:
            result: Difference = load_object(self.difference)(reference, candidate)
            return result
        from vim_deploy.parity.difference import difference

        found = [difference(reference[name], candidate[name]) for name in self.outputs or reference]
        return max(found, key=lambda item: item.relative)
