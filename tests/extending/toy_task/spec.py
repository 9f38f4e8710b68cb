from __future__ import annotations

from vim_deploy.tasks.spec import TaskSpec

SPEC = TaskSpec(
    name="certainty",
    outputs=("certainty",),
    model_kinds=("classifier",),
    handler="toy_task.handler:CertaintyHandler",
    module="toy_task.export:CertaintyModule",
    options="toy_task.handler:CertaintyOptions",
)
