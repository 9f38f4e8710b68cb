"""The exported network of a classifier."""

from __future__ import annotations

from vim_deploy.export.task import TaskModule
from vim_deploy.tasks.classify.spec import SPEC


class ClassifyModule(TaskModule):
    """`logits` (batch, classes), as the model returns them."""

    spec = SPEC
