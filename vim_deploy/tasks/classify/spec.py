"""The facts about this task, see `vim_deploy.tasks.spec`."""

from __future__ import annotations

from vim_deploy.tasks.spec import TaskSpec

SPEC = TaskSpec(
    name="classify",
    outputs=("logits",),
    model_kinds=("classifier",),
    handler="vim_deploy.tasks.classify.handler:ClassifyHandler",
    module="vim_deploy.tasks.classify.export:ClassifyModule",
    options="vim_deploy.tasks.classify.options:ClassifyOptions",
    draw="vim_deploy.tasks.classify.visualization:draw",
    result="vim_deploy.tasks.classify.model_result:ClassifyResult",
    served="vim_deploy.tasks.classify.served:SERVED",
    class_axis=-1,
    labeled=True,
)
