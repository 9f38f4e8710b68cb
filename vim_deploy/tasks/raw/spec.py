"""The facts about this task, see `vim_deploy.tasks.spec`."""

from __future__ import annotations

from vim_deploy.tasks.spec import TaskSpec

SPEC = TaskSpec(
    name="raw",
    outputs=(),
    model_kinds=("classifier",),
    handler="",
    module="vim_deploy.tasks.raw.export:RawModule",
    arrays=True,
    batchable=False,
)
