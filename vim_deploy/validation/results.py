"""What a run of vim-validate found: one result per artifact and run mode, and all of them together."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from vim_deploy.precision import Precision
from vim_deploy.tasks.spec import TaskSpec
from vim_deploy.validation.accuracy import Accuracy
from vim_deploy.validation.artifacts import Target
from vim_deploy.validation.compare import Report, plain_json
from vim_deploy.validation.criterion import Criterion, judge
from vim_deploy.validation.inputs import Input
from vim_deploy.validation.invariance import Invariance
from vim_deploy.validation.layers import LayerReport
from vim_deploy.validation.quality import QualityDifference


@dataclass(frozen=True)
class TargetResult:
    """One target compared with the eager model in float32 and in float64."""

    target: Target
    artifact_sha256: str
    precision: str
    variant: str
    task: TaskSpec
    float32: Report
    float64: Report
    notes: tuple[str, ...] = ()
    layers: LayerReport | None = None
    invariance: Invariance | None = None
    accuracy: Accuracy | None = None
    quality: QualityDifference | None = None

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the target failed; empty when it passed."""
        reasons = [f"against eager float32: {reason}" for reason in self.float32.reasons]
        reasons += [f"against eager float64: {reason}" for reason in self.float64.reasons]
        if self.layers and (fault := self.layers.first_fault):
            reasons.append(
                f"the local error first exceeds its limit at {fault.name}: {fault.local_error:.1e}, limit "
                f"{fault.limit:.1e}"
            )
        if self.invariance:
            reasons += self.invariance.reasons
        if (criterion := self.criterion) is not None and criterion.reason is not None:
            reasons.append(criterion.reason)
        return tuple(reasons)

    @property
    def criterion(self) -> Criterion | None:
        """The criterion of quality, for precisions that have no tolerance, unless one was given."""
        if not Precision(self.precision).judged_by_accuracy or self.float32.tolerance is not None:
            return None
        has_quality = self.task.labeled or self.task.quality is not None
        return judge(has_quality, self.float64, self.accuracy, self.quality)

    @property
    def passed(self) -> bool:
        return not self.reasons

    @property
    def all_notes(self) -> tuple[str, ...]:
        """The notes of the result and of its criterion."""
        return self.notes + (self.criterion.notes if self.criterion else ())

    def to_dict(self) -> dict[str, Any]:
        return {
            "label": self.target.label,
            "path": str(self.target.path),
            "mode": str(self.target.mode),
            "sha256": self.artifact_sha256,
            "precision": self.precision,
            "variant": self.variant,
            "passed": self.passed,
            "reasons": list(self.reasons),
            "criterion": self.criterion and self.criterion.text,
            "notes": list(self.all_notes),
            "against_float32": self.float32.to_dict(),
            "against_float64": self.float64.to_dict(),
            "layers": self.layers and plain_json(self.layers.to_dict()),
            "invariance": self.invariance and self.invariance.to_dict(),
            "accuracy": self.accuracy and self.accuracy.to_dict(),
            "quality": self.quality and self.quality.to_dict(),
        }


@dataclass(frozen=True)
class Validation:
    """All results of a run. `eager` compares the eager model in float32 with float64: the cost of float32."""

    origin: dict[str, Any]
    inputs: tuple[Input, ...]
    inputs_sha256: str
    eager: Report
    results: tuple[TargetResult, ...]
    notes: tuple[str, ...]
    versions: dict[str, str]
    created: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))

    @property
    def passed(self) -> bool:
        return all(result.passed for result in self.results)

    def to_dict(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "created": self.created,
            "versions": self.versions,
            "reference": {
                "checkpoint": self.origin,
                "operator": "reference",
                "types": ["float32", "float64"],
            },
            "inputs": {"count": len(self.inputs), "sha256": self.inputs_sha256},
            "eager_float32_against_float64": self.eager.to_dict(),
            "artifacts": [result.to_dict() for result in self.results],
            "notes": list(self.notes),
        }
