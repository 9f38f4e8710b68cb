"""The facts about this task, see `vim_deploy.tasks.spec`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vim_deploy.errors import EngineError
from vim_deploy.parity.detections import detections_difference
from vim_deploy.parity.difference import Difference
from vim_deploy.tasks.spec import Outputs, TaskSpec

OUTPUTS = ("boxes", "scores", "classes", "masks")
MOST_CLASSES = 1_000_000


def _difference(reference: Outputs, candidate: Outputs) -> Difference:
    first, second = (tuple(values[name] for name in OUTPUTS) for values in (reference, candidate))
    return detections_difference(first, second)


def _class_count(config: Mapping[str, Any]) -> int:
    count: int = config["head"]["num_classes"]
    return count


def _check(name: str, config: Mapping[str, Any], class_names: Sequence[str] | None) -> None:
    """No output shows the number of classes, so that it is taken from the configuration."""
    head = config.get("head") if isinstance(config, Mapping) else None
    head = head if isinstance(head, Mapping) else {}
    classes, threshold = head.get("num_classes"), head.get("score_threshold")
    if type(classes) is not int or not 1 <= classes <= MOST_CLASSES:
        raise EngineError(
            f"{name} is for {classes!r} classes; expected 1 to {MOST_CLASSES}. Export it again."
        )
    if not isinstance(threshold, float) or not 0 <= threshold < 1:
        raise EngineError(f"{name} has the score threshold {threshold!r}; expected 0 to 1. Export it again.")
    if class_names is not None and len(class_names) != classes:
        raise EngineError(
            f"{name} has {classes} classes and {len(class_names)} class names; export it again."
        )


SPEC = TaskSpec(
    name="detect",
    outputs=OUTPUTS,
    model_kinds=("detector",),
    handler="vim_deploy.tasks.detect.handler:Detect",
    module="vim_deploy.tasks.detect.export:DetectTaskModule",
    batchable=False,
    fixed_size=False,
    # With a threshold in force there might be nothing to compare.
    settings={"score_threshold": 0.0},
    difference=_difference,
    class_count=_class_count,
    check=_check,
)
