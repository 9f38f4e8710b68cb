"""The options of classification."""

from __future__ import annotations

from dataclasses import dataclass

import click

from vim_deploy.options import option

DEFAULT_TOP_K = 5


@dataclass(frozen=True)
class ClassifyOptions:
    top_k: int = option(DEFAULT_TOP_K, type=click.IntRange(min=1), help="Classes per image.")
