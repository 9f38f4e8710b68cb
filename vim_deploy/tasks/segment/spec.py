"""The facts about this task, see `vim_deploy.tasks.spec`."""

from __future__ import annotations

from vim_deploy.tasks.spec import TaskSpec

SPEC = TaskSpec(
    name="segment",
    outputs=("logits",),
    model_kinds=("segmenter",),
    handler="vim_deploy.tasks.segment.handler:Segment",
    module="vim_deploy.tasks.segment.export:SegmentTaskModule",
    class_axis=1,
)
