"""A run as one page of HTML that needs nothing else."""

from __future__ import annotations

from vim_deploy.report.page import write_report

__all__ = ["write_report"]
