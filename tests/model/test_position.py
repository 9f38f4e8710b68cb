"""Resizing position embeddings with both rules."""

from __future__ import annotations

import math

import pytest
import torch
from golden_data import assert_close, load_json, load_tensors
from torch import Tensor

from vim_deploy.errors import ConfigError
from vim_deploy.model import ClassToken
from vim_deploy.model.position import resize_position_embedding

CASES = load_json("op_misc")["pos_embed_resize"]
TENSORS = load_tensors("op_misc")
CLASS_ROWS = {
    ClassToken.NONE: lambda patches: [],
    ClassToken.FRONT: lambda patches: [0],
    ClassToken.MIDDLE: lambda patches: [patches // 2],
    ClassToken.DOUBLE: lambda patches: [0, patches + 1],
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_reference_rule_equals_the_reference(case):
    table = torch.from_numpy(TENSORS[f"pos_embed_resize.{case['name']}.pos_embed"])
    token = ClassToken.MIDDLE if case["extra_tokens_kept_at_front"] else ClassToken.NONE
    sizes = (case["old_grid"],) * 2, (case["new_grid"],) * 2
    resized = resize_position_embedding(table, *sizes, token, "reference")
    assert_close(resized, TENSORS[f"pos_embed_resize.{case['name']}.out"], 1e-6)


def ramp(grid: tuple[int, int], class_token: ClassToken, mark: float) -> Tensor:
    """A table (1, rows, 2): for patches the position of their center, for class tokens `mark`."""
    rows, columns = ((torch.arange(side) + 0.5) / side for side in grid)
    patches = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).flatten(0, 1)
    class_rows = CLASS_ROWS[class_token](len(patches))
    table = torch.full((1, len(patches) + len(class_rows), 2), mark)
    table[:, patch_rows(table, class_rows)] = patches
    return table


def patch_rows(table: Tensor, class_rows: list[int]) -> list[int]:
    return [row for row in range(table.shape[1]) if row not in class_rows]


@pytest.mark.parametrize("class_token", list(ClassToken))
@pytest.mark.parametrize(
    ("old", "new"), [((14, 14), (28, 28)), ((27, 27), (14, 14)), ((14, 14), (8, 20)), ((6, 9), (9, 6))]
)
def test_geometric_rule_keeps_positions_and_class_token(class_token, old, new):
    resized = resize_position_embedding(ramp(old, class_token, 7.0), old, new, class_token)
    expected = ramp(new, class_token, 7.0)
    class_rows = CLASS_ROWS[class_token](math.prod(new))
    torch.testing.assert_close(resized[:, class_rows], expected[:, class_rows], rtol=0, atol=0)
    rows = patch_rows(resized, class_rows)
    # Bicubic interpolation nearly preserves a ramp, but clamping flattens its ends (largest error 0.145 of a
    # step). A table shifted by a patch differs by one step, or by most of the image where rows wrap.
    steps = torch.tensor([1 / side for side in old])
    assert ((resized[:, rows] - expected[:, rows]).abs() < 0.2 * steps).all()


def test_rules_differ_only_for_a_class_token_in_the_middle():
    grids = (4, 4), (6, 6)
    for token in (ClassToken.NONE, ClassToken.FRONT):
        table = torch.randn(1, 16 + token.rows, 8)
        both = [resize_position_embedding(table, *grids, token, rule) for rule in ("geometric", "reference")]
        torch.testing.assert_close(*both, rtol=0, atol=0)
    table = torch.randn(1, 17, 8)
    geometric, reference = (
        resize_position_embedding(table, *grids, ClassToken.MIDDLE, rule)
        for rule in ("geometric", "reference")
    )
    assert torch.equal(geometric[:, 18], table[:, 8])
    assert torch.equal(reference[:, 0], table[:, 0])
    assert not torch.allclose(geometric, reference)


def test_same_grid_changes_nothing():
    table = torch.randn(1, 17, 8)
    assert torch.equal(resize_position_embedding(table, (4, 4), (4, 4), ClassToken.MIDDLE), table)


@pytest.mark.parametrize(
    ("rows", "old", "new", "rule", "message"),
    [
        (17, (4, 4), (4, 8), "reference", "square"),
        (17, (4, 4), (8, 8), "cubic", "expected 'geometric' or 'reference'"),
        (16, (4, 4), (8, 8), "geometric", r"expected \(1, 17, embed\)"),
    ],
)
def test_invalid_arguments_are_refused(rows, old, new, rule, message):
    with pytest.raises(ConfigError, match=message):
        resize_position_embedding(torch.zeros(1, rows, 8), old, new, ClassToken.MIDDLE, rule)
