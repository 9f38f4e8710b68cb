"""A self-contained HTML report of a run."""

from __future__ import annotations

from vim_deploy.report.drawings import Drawings
from vim_deploy.report.pictures import Pictures
from vim_deploy.report.report import About, RunReport

__all__ = ["About", "Drawings", "Pictures", "RunReport"]
