"""What can be asked of detection."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DetectOptions:
    """See the help of vim-infer. `score_threshold` None stands for the file's own."""

    coco: Path | None = None
    overlays: Path | None = None
    annotations: Path | None = None
    score_threshold: float | None = None

    @property
    def outlines(self) -> bool:
        """Whether rows need the objects' masks."""
        return self.coco is not None or self.annotations is not None

    def given(self) -> list[str]:
        """The command line's names of the options that differ from their defaults."""
        return [
            f"--{field.name.replace('_', '-')}"
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        ]
