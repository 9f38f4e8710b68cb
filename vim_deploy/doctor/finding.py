"""What a check reports."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """`status`: ok, missing or broken. `required`: whether vim-infer needs it on every CPU."""

    name: str
    status: str
    detail: str
    advice: str = ""
    required: bool = False

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
