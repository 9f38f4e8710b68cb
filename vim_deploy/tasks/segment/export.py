"""The exported network of a segmenter: the logits of a crop, at the resolution of the decode head."""

from __future__ import annotations

from vim_deploy.export.task import TaskModule
from vim_deploy.tasks.segment.spec import SPEC


class SegmentModule(TaskModule):
    """`logits` (batch, classes, height / 4, width / 4), without the auxiliary head.

    The graph does not upsample them: that needs no weights, has sixteen times as many values, and windows,
    images and label maps have different sizes.
    """

    spec = SPEC
