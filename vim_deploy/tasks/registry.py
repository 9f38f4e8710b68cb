"""The tasks by name. A new task is a folder beside this file and a line here; see docs/extending.md."""

from __future__ import annotations

from vim_deploy.errors import EngineError
from vim_deploy.registry import Registry
from vim_deploy.tasks.spec import TaskSpec

TASKS: Registry[TaskSpec] = Registry(
    "task",
    EngineError,
    {
        "classify": "vim_deploy.tasks.classify.spec:SPEC",
        "features": "vim_deploy.tasks.features.spec:SPEC",
        "segment": "vim_deploy.tasks.segment.spec:SPEC",
        "detect": "vim_deploy.tasks.detect.spec:SPEC",
        "raw": "vim_deploy.tasks.raw.spec:SPEC",
    },
)
