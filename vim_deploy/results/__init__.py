"""Rows of a run and the files they are written to; docs/inference.md describes the formats."""

from __future__ import annotations

from vim_deploy.results.formats import Format, format_of
from vim_deploy.results.output import Output, Start, open_output
from vim_deploy.results.read import read_rows
from vim_deploy.results.row import Row

__all__ = ["Format", "Output", "Row", "Start", "format_of", "open_output", "read_rows"]
