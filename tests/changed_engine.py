"""Engines whose manifest was changed, with a valid hash."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from vim_deploy.engines.container import read_engine, write_engine


def changed_engine(engine: Path, **changes: Any) -> Path:
    """Replace fields of an engine's manifest in place."""
    manifest, payload = read_engine(engine)
    write_engine(engine, dataclasses.replace(manifest, **changes), payload)
    return engine
