"""Resizing of position embeddings to another image size.

There are two rules, because the one used upstream is wrong for a class token in the middle: it always treats
the first rows as class tokens, and resizes the actual class token's row as if it were a patch.
"""

from __future__ import annotations

import math
from typing import Literal

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from vim_deploy.errors import ConfigError
from vim_deploy.model.config import ClassToken

Rule = Literal["geometric", "reference"]
Grid = tuple[int, int]


def resize_position_embedding(
    table: Tensor, old_grid: Grid, new_grid: Grid, class_token: ClassToken, rule: Rule = "geometric"
) -> Tensor:
    """The table (1, rows, embed) of `old_grid` (rows, columns of patches) for `new_grid`.

    "geometric" resizes the rows of the patches and moves the rows of class tokens to their new positions;
    "reference" is bit-compatible with the reference implementation's fine-tuning and requires square grids.
    Both resize bicubically (a = -0.75, half-pixel centers, clamped edges, no antialiasing). Raises
    ConfigError for a table of another size, an unknown rule, and a grid that the rule does not support.
    """
    if rule not in ("geometric", "reference"):
        raise ConfigError(f"position embedding rule {rule!r}; expected 'geometric' or 'reference'.")
    expected = math.prod(old_grid) + class_token.rows
    if table.dim() != 3 or table.shape[:2] != (1, expected):
        raise ConfigError(
            f"position embedding of shape {tuple(table.shape)}; expected (1, {expected}, embed) for a grid "
            f"of {old_grid} patches with class_token={class_token.value}."
        )
    if rule == "reference" and (old_grid[0] != old_grid[1] or new_grid[0] != new_grid[1]):
        raise ConfigError(
            f"position embedding from grid {old_grid} to {new_grid}: the rule 'reference' requires "
            "square grids; use the rule 'geometric'."
        )
    if old_grid == new_grid:
        return table
    old_rows = _class_rows(old_grid, class_token, rule)
    new_rows = _class_rows(new_grid, class_token, rule)
    resized = _resize_patches(table[:, _others(table.shape[1], old_rows)], old_grid, new_grid)
    result = table.new_empty(1, math.prod(new_grid) + class_token.rows, table.shape[2])
    result[:, new_rows] = table[:, old_rows]
    result[:, _others(result.shape[1], new_rows)] = resized
    return result


def _class_rows(grid: Grid, class_token: ClassToken, rule: Rule) -> list[int]:
    """The rows that are moved instead of resized."""
    if rule == "reference":
        return list(range(class_token.rows))
    patches = math.prod(grid)
    return {
        ClassToken.NONE: [],
        ClassToken.FRONT: [0],
        ClassToken.MIDDLE: [patches // 2],
        ClassToken.DOUBLE: [0, patches + 1],
    }[class_token]


def _others(count: int, rows: list[int]) -> list[int]:
    return [row for row in range(count) if row not in rows]


def _resize_patches(rows: Tensor, old_grid: Grid, new_grid: Grid) -> Tensor:
    """(1, patches, embed) of one grid as that of another."""
    image = rows.unflatten(1, old_grid).permute(0, 3, 1, 2)
    resized = F.interpolate(image, size=new_grid, mode="bicubic", align_corners=False, antialias=False)
    return resized.permute(0, 2, 3, 1).flatten(1, 2)
