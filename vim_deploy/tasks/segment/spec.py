"""The facts about this task, see `vim_deploy.tasks.spec`."""

from __future__ import annotations

from vim_deploy.tasks.spec import TaskSpec

SPEC = TaskSpec(
    name="segment",
    outputs=("logits",),
    model_kinds=("segmenter",),
    handler="vim_deploy.tasks.segment.handler:SegmentHandler",
    module="vim_deploy.tasks.segment.export:SegmentModule",
    options="vim_deploy.tasks.segment.options:SegmentOptions",
    draw="vim_deploy.tasks.segment.visualization:draw",
    result="vim_deploy.tasks.segment.model_result:SegmentResult",
    served="vim_deploy.tasks.segment.served:SERVED",
    class_axis=1,
    ground_truth="ground_truth",
    quality="vim_deploy.tasks.segment.quality:mean_iou",
)
