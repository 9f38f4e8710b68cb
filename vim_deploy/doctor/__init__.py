"""Checks which parts of this installation work, by running them."""

from __future__ import annotations

from vim_deploy.doctor.examine import examine
from vim_deploy.finding import Finding

__all__ = ["Finding", "examine"]
