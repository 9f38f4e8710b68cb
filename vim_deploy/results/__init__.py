"""Rows of a run and the files that hold them; docs/inference.md states the formats."""

from __future__ import annotations

from .formats import Format, format_of
from .output import Output, Start, open_output
from .read import read_rows
from .row import Row

__all__ = ["Format", "Output", "Row", "Start", "format_of", "open_output", "read_rows"]
