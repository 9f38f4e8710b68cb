"""The verdict on artifacts that are judged by the quality of their predictions, not by differences."""

from __future__ import annotations

from dataclasses import dataclass

from vim_deploy.text import plural
from vim_deploy.validation.accuracy import Accuracy
from vim_deploy.validation.compare import ALL, Report
from vim_deploy.validation.quality import QualityDifference

LARGEST_LOSS = 0.01  # of top-1 accuracy, mIoU or average precision
LEAST_COSINE = 0.99  # of outputs without classes, per image
_ROUNDING = 1e-9  # of the subtraction


@dataclass(frozen=True)
class Criterion:
    """What was compared, in words, and why the artifact failed by it; None if it passed.

    `notes`: how certain a verdict on few images is.
    """

    text: str
    reason: str | None
    notes: tuple[str, ...] = ()


def judge(
    task_has_quality: bool, report: Report, accuracy: Accuracy | None, quality: QualityDifference | None
) -> Criterion:
    """The criterion for the figures of a run and the verdict by it.

    `task_has_quality`: whether accuracy, mIoU or average precision exist for the task. Without them, the
    outputs must have about the same direction as those of the eager model.
    """
    if not task_has_quality:
        cosine = report.group(ALL).cosine
        text = f"cosine similarity of the outputs of at least {LEAST_COSINE:g} on every image"
        if cosine is None:
            return Criterion(text, "the outputs have no cosine similarity; give --rtol")
        found = f"cosine similarity {cosine:.4f}, minimum {LEAST_COSINE:g}"
        return Criterion(text, None if cosine >= LEAST_COSINE else found)
    text = f"top-1 accuracy, mIoU or average precision at most {LARGEST_LOSS:.0%} below the eager model's"
    if accuracy is None and quality is None:
        return Criterion(
            text,
            "its precision is judged by accuracy, which was not measured: give labeled --images with "
            "--labels or --ground-truth, or accept a difference with --rtol",
        )
    measured = []
    if accuracy is not None:
        top1 = accuracy.reference_top1, accuracy.top1
        measured.append(("top-1 accuracy", *top1, accuracy.images, accuracy.interval))
    if quality is not None:
        values = quality.reference, quality.value
        measured.append((quality.metric, *values, quality.images, quality.interval))
    losses = [
        f"{metric} {value:.2%} on {plural(images, 'image')}, eager model {expected:.2%}; largest loss "
        f"{LARGEST_LOSS:.0%}"
        for metric, expected, value, images, _ in measured
        if not expected - value <= LARGEST_LOSS + _ROUNDING
    ]
    notes = [
        f"{metric} on {plural(images, 'image')}: the 95 % interval of the difference, {low:+.2%} to "
        f"{high:+.2%}, includes losses above {LARGEST_LOSS:.0%}; more images make it narrower"
        for metric, _, _, images, (low, high) in measured
        if low < -LARGEST_LOSS
    ]
    return Criterion(text, "; ".join(losses) or None, tuple(notes))
