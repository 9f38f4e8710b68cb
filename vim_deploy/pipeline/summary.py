"""The figures of a run, counted row by row."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Protocol

from vim_deploy.results import Row

# Reasons hold numbers and quoted names; a million different reasons would be a list of all images.
_VARYING = re.compile(r"'[^']*'|0x[0-9a-f]+|-?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|\b(?:nan|inf)\b)")
_MOST_REASONS = 1000


class Counts(Protocol):
    """A task's own figures, see tasks/base.py."""

    def count(self, row: Row) -> None: ...

    def summary(self) -> dict[str, Any]: ...

    def summary_lines(self) -> list[str]: ...


@dataclass
class Summary:
    """Accuracy is over the labelled images that have a prediction; None without any.

    `images` and all counts include the `resumed` rows of the run that this one continued; `seconds` and the
    images per second do not.
    """

    engine: str
    backend: str
    device: str
    precision: str
    images: int = 0
    failed: int = 0
    resumed: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    labelled: int = 0
    top1_right: int = 0
    top5_right: int = 0
    other_files: int = 0
    seconds: float = 0.0
    task: Counts | None = None  # what the task counts by itself

    def count(self, row: Row) -> None:
        self.images += 1
        if row.status != "ok":
            self.failed += 1
            reason = _VARYING.sub("…", row.reason or "")
            full = len(self.reasons) >= _MOST_REASONS and reason not in self.reasons
            self.reasons["other reasons" if full else reason] += 1
        if row.rank is not None:
            self.labelled += 1
            self.top1_right += row.rank <= 1
            self.top5_right += row.rank <= 5
        if self.task is not None:
            self.task.count(row)

    def to_dict(self) -> dict[str, Any]:
        values = dataclasses.asdict(dataclasses.replace(self, task=None))
        del values["top1_right"], values["top5_right"], values["task"]
        values["reasons"] = dict(self.reasons.most_common())
        values["ok"] = self.images - self.failed
        values["images_per_second"] = self.rate
        values["top1_accuracy"] = self.top1_right / self.labelled if self.labelled else None
        values["top5_accuracy"] = self.top5_right / self.labelled if self.labelled else None
        return values | (self.task.summary() if self.task is not None else {})

    @property
    def rate(self) -> float | None:
        return (self.images - self.resumed) / self.seconds if self.seconds else None

    def text(self) -> str:
        values = self.to_dict()
        lines = [
            f"{self.images - self.resumed} images in {self.seconds:.2f} s ({self.rate or 0:.1f} images/s, "
            f"decoding and writing included), {self.failed} failed"
        ]
        if self.resumed:
            lines.append(f"{self.resumed} rows were there already, {self.images} are there now")
        if self.labelled:
            lines.append(
                f"accuracy over {self.labelled} labelled images: top-1 {values['top1_accuracy']:.2%}, "
                f"top-5 {values['top5_accuracy']:.2%}"
            )
        if self.task is not None:
            lines += self.task.summary_lines()
        lines += [f"{count} x {reason}" for reason, count in self.reasons.most_common(5)]
        if self.other_files:
            lines.append(f"{self.other_files} files that are no images by name or content were left out")
        return "\n".join(lines)
