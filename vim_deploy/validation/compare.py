"""Compares two models on any runtime: `compare(reference, candidate, inputs) -> Report`.

A model is a function from a batch of inputs to a batch of outputs, both numpy arrays.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vim_deploy.parity.difference import (
    Difference,
    cosine_similarity,
    difference,
    rank_correlation,
    signal_to_noise,
)
from vim_deploy.precision import Precision
from vim_deploy.validation.inputs import Input, batches

Model = Callable[[np.ndarray], np.ndarray]
Outputs = Mapping[str, np.ndarray]
TOP = 5
ALL = "all"


@dataclass(frozen=True)
class Tolerance:
    """The largest accepted difference of an image: `atol` + `rtol` times its largest reference value."""

    rtol: float = 0.0
    atol: float = 0.0

    @property
    def signal_to_noise_floor(self) -> float:
        """The same bound for the power of the error, in dB; none if an absolute difference is accepted."""
        return -20 * math.log10(self.rtol) if self.rtol and not self.atol else -math.inf

    def __str__(self) -> str:
        return (
            " + ".join(
                text
                for value, text in ((self.atol, f"{self.atol:g}"), (self.rtol, f"{self.rtol:g} relative"))
                if value
            )
            or "0"
        )


@dataclass(frozen=True)
class ImageFigures:
    """Both outputs for one input; the fields from `decision` on are None without class scores.

    `cosine` and `signal_to_noise_db` are None for outputs that are sets, such as detections.
    `relative`: largest difference, relative to the largest reference value of this image. `margin`: the
    reference's highest score minus its second highest.
    """

    name: str
    kind: str
    max_abs: float
    max_reference: float
    relative: float
    cosine: float | None
    signal_to_noise_db: float | None
    decision: tuple[int, int] | None = None  # reference's class, candidate's class
    margin: float | None = None
    top5_overlap: float | None = None
    rank_correlation: float | None = None

    @property
    def decision_changed(self) -> bool:
        return self.decision is not None and self.decision[0] != self.decision[1]


@dataclass(frozen=True)
class Group:
    """The worst figures of a group of inputs, and the agreement of predicted classes as fractions."""

    kind: str
    images: int
    max_abs: float
    relative: float
    cosine: float | None
    signal_to_noise_db: float | None
    top1: float | None
    top5: float | None
    rank_correlation: float | None


@dataclass(frozen=True)
class Report:
    """`compare`'s result. `passed`: within `tolerance`, or that of `precision`; `reasons`: why not."""

    images: tuple[ImageFigures, ...]
    precision: str
    tolerance: Tolerance | None = None

    @property
    def reasons(self) -> tuple[str, ...]:
        limit, total, found = self._limit, self.group(), []
        floor = self._floor
        excess = [(_excess(image, limit), image) for image in self.images]
        if not all(over <= 0 for over, _ in excess):
            # NaN and infinity first, then the largest excess.
            _, worst = max(excess, key=lambda pair: math.inf if math.isnan(pair[0]) else pair[0])
            what = f"relative difference {worst.relative:.2e} on {worst.name}, limit {limit.rtol:g}"
            if limit.atol:
                both = f"{worst.max_abs:.2e} ({worst.relative:.2e} relative)"
                what = f"difference {both} on {worst.name}, limit {limit}"
            found.append(what)
        ratio = total.signal_to_noise_db
        if ratio is not None and not ratio >= floor:
            least = min(self.images, key=lambda image: _least(image.signal_to_noise_db))
            found.append(f"signal-to-noise ratio {ratio:.0f} dB on {least.name}, minimum {floor:.0f} dB")
        return tuple(found)

    @property
    def _limit(self) -> Tolerance:
        precision = Precision(self.precision)
        return self.tolerance or Tolerance(math.inf if precision.judged_by_accuracy else precision.tolerance)

    @property
    def _floor(self) -> float:
        if self.tolerance is not None:
            return self.tolerance.signal_to_noise_floor
        precision = Precision(self.precision)
        return -math.inf if precision.judged_by_accuracy else precision.signal_to_noise_floor

    @property
    def passed(self) -> bool:
        return not self.reasons

    @property
    def changed(self) -> tuple[ImageFigures, ...]:
        """The images with another predicted class."""
        return tuple(image for image in self.images if image.decision_changed)

    def group(self, kind: str = ALL) -> Group:
        """The figures of the inputs of one kind, or of all."""
        chosen = [image for image in self.images if kind in (ALL, image.kind)]
        decided = [image for image in chosen if image.decision is not None]
        return Group(
            kind=kind,
            images=len(chosen),
            max_abs=max(image.max_abs for image in chosen),
            relative=max(image.relative for image in chosen),
            cosine=_smallest(image.cosine for image in chosen),
            signal_to_noise_db=_smallest(image.signal_to_noise_db for image in chosen),
            top1=_mean([not image.decision_changed for image in decided]),
            top5=_mean([image.top5_overlap or 0.0 for image in decided]),
            rank_correlation=min((image.rank_correlation or 0.0 for image in decided), default=None),
        )

    def groups(self) -> list[Group]:
        """One group per kind of input, in order of appearance, and `all`."""
        kinds = dict.fromkeys(image.kind for image in self.images)
        return [self.group(kind) for kind in (*kinds, ALL)]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; infinities and NaN become None."""
        values = {
            "passed": self.passed,
            "reasons": list(self.reasons),
            "precision": self.precision,
            "relative_tolerance": self._limit.rtol,
            "absolute_tolerance": self._limit.atol,
            "signal_to_noise_floor_db": self._floor,
            "groups": [dataclasses.asdict(group) for group in self.groups()],
            "decisions_changed": [dataclasses.asdict(image) for image in self.changed],
            "images": [dataclasses.asdict(image) for image in self.images],
        }
        plain: dict[str, Any] = plain_json(values)
        return plain


def compare(
    reference: Model,
    candidate: Model,
    inputs: Sequence[Input] | np.ndarray,
    *,
    precision: str = "fp32",
    batch: int = 1,
    decisions: bool = True,
    tolerance: Tolerance | None = None,
) -> Report:
    """Run both models on every input and compare their outputs image by image.

    `inputs`: an array (images, ...), or `Input`s, which the report groups by kind. `precision` selects the
    tolerance (see `vim_deploy.precision`), unless `tolerance` is given. With `decisions`, outputs
    (batch, classes) are compared as class scores. Raises ValueError when the outputs differ in shape.
    """
    if isinstance(inputs, np.ndarray):
        inputs = [Input(str(index), "given", pixels) for index, pixels in enumerate(inputs)]
    parts = list(batches(inputs, batch))
    expected = np.concatenate([reference(part) for part in parts])
    found = np.concatenate([candidate(part) for part in parts])
    return compare_outputs(
        expected, found, inputs, precision=precision, decisions=decisions, tolerance=tolerance
    )


def compare_outputs(
    expected: np.ndarray,
    found: np.ndarray,
    inputs: Sequence[Input],
    *,
    precision: str = "fp32",
    decisions: bool = True,
    tolerance: Tolerance | None = None,
) -> Report:
    """`compare` for given outputs: (images, ...), one row per input."""
    if expected.shape != found.shape or len(expected) != len(inputs):
        raise ValueError(
            f"outputs of shapes {expected.shape} and {found.shape} for {len(inputs)} inputs; "
            "expected equal shapes with one row per input."
        )
    rows = zip(inputs, expected, found, strict=True)
    figures = tuple(_figures(item, one, other, decisions) for item, one, other in rows)
    return Report(figures, precision, tolerance)


def compare_each(
    expected: Sequence[Outputs],
    found: Sequence[Outputs],
    inputs: Sequence[Input],
    difference_of: Callable[[Outputs, Outputs], Difference],
    precision: str = "fp32",
    tolerance: Tolerance | None = None,
) -> Report:
    """`compare` for outputs that are sets, by name and image by image; `difference_of` compares two sets."""
    figures = []
    for item, one, other in zip(inputs, expected, found, strict=True):
        apart = difference_of(one, other)
        figures.append(
            ImageFigures(item.name, item.kind, apart.max_abs, apart.max_reference, apart.relative, None, None)
        )
    return Report(tuple(figures), precision, tolerance)


def plain_json(value: Any) -> Any:
    """The value with infinities and NaN replaced by None, since JSON has neither."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: plain_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_json(item) for item in value]
    return value


def _excess(image: ImageFigures, limit: Tolerance) -> float:
    """How much the difference is above the limit, as a relative difference if the limit is one."""
    if not limit.atol:
        return image.relative - limit.rtol
    return image.max_abs - limit.atol - limit.rtol * image.max_reference


def _figures(item: Input, expected: np.ndarray, found: np.ndarray, decisions: bool) -> ImageFigures:
    apart = difference(expected[None], found[None])
    figures = ImageFigures(
        item.name, item.kind, apart.max_abs, apart.max_reference, apart.relative, -1.0, -math.inf
    )
    has_classes = decisions and expected.ndim == 1 and len(expected) > 1
    if not math.isfinite(apart.relative):
        # NaN and infinity agree with nothing.
        return dataclasses.replace(figures, decision=(-1, -2), top5_overlap=0.0) if has_classes else figures
    figures = dataclasses.replace(
        figures,
        cosine=cosine_similarity(expected, found),
        signal_to_noise_db=signal_to_noise(expected, found),
    )
    return dataclasses.replace(figures, **_decision(expected, found)) if has_classes else figures


def _decision(expected: np.ndarray, found: np.ndarray) -> dict[str, Any]:
    count = min(TOP, len(expected))
    best, other = (np.argsort(-values, kind="stable")[:count] for values in (expected, found))
    return {
        "decision": (int(best[0]), int(other[0])),
        "margin": float(expected[best[0]]) - float(expected[best[1]]),
        "top5_overlap": len(np.intersect1d(best, other)) / count,
        "rank_correlation": rank_correlation(expected, found),
    }


def _smallest(values: Iterable[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)


def _least(value: float | None) -> float:
    return math.inf if value is None else value


def _mean(values: Sequence[float | bool]) -> float | None:
    return sum(values) / len(values) if values else None
