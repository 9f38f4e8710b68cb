"""The facts about this task, see `vim_deploy.tasks.spec`."""

from __future__ import annotations

from vim_deploy.tasks.spec import TaskSpec

SPEC = TaskSpec(
    name="raw",
    outputs=(),
    model_kinds=("classifier",),
    handler="vim_deploy.tasks.raw.handler:RawHandler",
    module="vim_deploy.tasks.raw.export:RawModule",
    options="vim_deploy.tasks.raw.options:RawOptions",
    arrays=True,
    noun="file",
    accepts="vim_deploy.tasks.raw.files:is_array_file",
    batchable=False,
)
