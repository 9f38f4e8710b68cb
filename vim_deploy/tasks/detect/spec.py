"""The facts about this task, see `vim_deploy.tasks.spec`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vim_deploy.errors import EngineError
from vim_deploy.tasks.spec import TaskSpec
from vim_deploy.text import plural

OUTPUTS = ("boxes", "scores", "classes", "masks")
# Further outputs of files with a fixed number of rows, see docs/dense.md.
COUNT, EXCEEDED = "count", "exceeded"
MAX_CLASSES = 1_000_000


def _class_count(config: Mapping[str, Any]) -> int:
    count: int = config["head"]["num_classes"]
    return count


def _check(name: str, config: Mapping[str, Any], class_names: Sequence[str] | None) -> None:
    """The number of classes is taken from the configuration because no output shape depends on it."""
    head = config.get("head") if isinstance(config, Mapping) else None
    head = head if isinstance(head, Mapping) else {}
    classes, threshold = head.get("num_classes"), head.get("score_threshold")
    if type(classes) is not int or not 1 <= classes <= MAX_CLASSES:
        raise EngineError(
            f"{name} has num_classes {classes!r}; expected 1 to {MAX_CLASSES}. Export the model again."
        )
    if not isinstance(threshold, float) or not 0 <= threshold < 1:
        raise EngineError(
            f"{name} has the score threshold {threshold!r}; expected 0 or more and less than 1. Export the "
            "model again."
        )
    if class_names is not None and len(class_names) != classes:
        raise EngineError(
            f"{name} has {plural(classes, 'class', 'classes')} but {plural(len(class_names), 'class name')}; "
            "export the model again."
        )


SPEC = TaskSpec(
    name="detect",
    outputs=OUTPUTS,
    model_kinds=("detector",),
    handler="vim_deploy.tasks.detect.handler:DetectHandler",
    module="vim_deploy.tasks.detect.export:DetectModule",
    export_options="vim_deploy.tasks.detect.options:DetectExportOptions",
    options="vim_deploy.tasks.detect.options:DetectOptions",
    draw="vim_deploy.tasks.detect.visualization:draw",
    result="vim_deploy.tasks.detect.model_result:DetectResult",
    served="vim_deploy.tasks.detect.served:SERVED",
    batchable=False,
    fixed_size_option="--fixed-rows",
    # A higher threshold might leave nothing to compare.
    settings={"score_threshold": 0.0},
    difference="vim_deploy.tasks.detect.difference:difference",
    ground_truth="annotations",
    quality="vim_deploy.tasks.detect.quality:precision_of",
    class_count=_class_count,
    check=_check,
)
