"""Statistics of a run, updated with every row."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Protocol

from vim_deploy.data.labels import UnknownLabel
from vim_deploy.data.samples import LOW_DEPTH, LOW_FLAG
from vim_deploy.pipeline.reasons import Reasons
from vim_deploy.results import Row
from vim_deploy.text import plural


class Counts(Protocol):
    """The statistics of a task, see tasks/base.py."""

    def count(self, row: Row) -> None: ...

    def summary(self) -> dict[str, Any]: ...

    def summary_lines(self) -> list[str]: ...


@dataclass
class Summary:
    """Accuracy is over the labeled images that have a prediction; None if there are none.

    `images` and all counts include the `resumed` rows of an interrupted run; `seconds` and the images per
    second do not.
    """

    engine: str
    backend: str
    device: str
    precision: str
    images: int = 0
    failed: int = 0
    resumed: int = 0
    reasons: Reasons = field(default_factory=Reasons)
    labeled: int = 0
    top1_correct: int = 0
    top5_correct: int = 0
    labels_missing: int = 0
    labels_invalid: int = 0
    low_16bit: int = 0  # images with this flag
    other_files: int = 0
    seconds: float = 0.0
    task: Counts | None = None
    noun: str = "image"  # what an input is

    def count(self, row: Row) -> None:
        self.images += 1
        self.low_16bit += LOW_FLAG in row.flags
        self.labels_missing += UnknownLabel.MISSING.value in row.flags
        self.labels_invalid += UnknownLabel.INVALID.value in row.flags
        if row.status != "ok":
            self.failed += 1
            self.reasons.add(row.reason or "")
        if row.rank is not None:
            self.labeled += 1
            self.top1_correct += row.rank <= 1
            self.top5_correct += row.rank <= 5
        if self.task is not None:
            self.task.count(row)

    def to_dict(self) -> dict[str, Any]:
        values = dataclasses.asdict(dataclasses.replace(self, task=None))
        del values["top1_correct"], values["top5_correct"], values["task"], values["noun"]
        values["reasons"] = self.reasons.to_dict()
        values["ok"] = self.images - self.failed
        values["images_per_second"] = self.rate
        values["top1_accuracy"] = self.top1_correct / self.labeled if self.labeled else None
        values["top5_accuracy"] = self.top5_correct / self.labeled if self.labeled else None
        return values | (self.task.summary() if self.task is not None else {})

    @property
    def rate(self) -> float | None:
        return (self.images - self.resumed) / self.seconds if self.seconds else None

    def text(self) -> str:
        values = self.to_dict()
        lines = [
            f"{plural(self.images - self.resumed, self.noun)} in {self.seconds:.2f} s ({self.rate or 0:.1f} "
            f"{self.noun}s/s, including decoding and writing), {self.failed} failed"
        ]
        if self.resumed:
            lines.append(f"{plural(self.resumed, 'row')} resumed, {self.images} in total")
        if self.labeled:
            lines.append(
                f"accuracy over {plural(self.labeled, 'labeled image')}: top-1 "
                f"{values['top1_accuracy']:.2%}, top-5 {values['top5_accuracy']:.2%}"
            )
        for count, kind, flag in (
            (self.labels_missing, "no label", UnknownLabel.MISSING),
            (self.labels_invalid, "a label that cannot be read or is not a class", UnknownLabel.INVALID),
        ):
            if count:
                lines.append(f"{plural(count, 'image')} with {kind} (flag {flag.value})")
        if self.task is not None:
            lines += self.task.summary_lines()
        lines += self.reasons.lines()
        if self.low_16bit:
            lines.append(
                f"{plural(self.low_16bit, 'image')} in 16-bit files with samples of at most {LOW_DEPTH} "
                "bits, which are almost black; use --depth with the number of bits of the camera"
            )
        if self.other_files:
            kind = "images by name or content" if self.noun == "image" else ".npz or .npy files"
            lines.append(f"{plural(self.other_files, 'file')} skipped: not {kind}")
        return "\n".join(lines)
