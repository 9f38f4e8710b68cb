"""Writes the page: a template with the style, the script and the run's data as JSON."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from vim_deploy.errors import OutputError, os_errors
from vim_deploy.files import atomic_write

_FILES = {"/* STYLE */": "page.css", "/* SCRIPT */": "page.js"}
_DATA = "__DATA__"


def write_page(path: Path, data: dict[str, Any]) -> None:
    """Raises OutputError."""
    page = _read("page.html")
    for placeholder, name in _FILES.items():
        page = page.replace(placeholder, _read(name), 1)
    # No string may end the script element that contains the data.
    text = json.dumps(data).replace("<", "\\u003c")
    with os_errors(OutputError, f"the report {path} cannot be written"), atomic_write(path) as file:
        file.write(page.replace(_DATA, text, 1).encode())


def _read(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")
