"""Inference of a backbone's configuration from the tensors of a segmenter or detector."""

from __future__ import annotations

from vim_deploy.errors import CheckpointError
from vim_deploy.model.checkpoint_weights import StateDict
from vim_deploy.model.config import VimConfig
from vim_deploy.model.loading import ReadWeights
from vim_deploy.model.variant import find_structure
from vim_deploy.text import plural


def find_backbone(
    read: ReadWeights,
    prefix: str,
    image_size: tuple[int, int] | None,
    average_directions: bool | None,
) -> tuple[VimConfig, list[str]]:
    """The configuration of the backbone whose tensor names have this prefix, and a note per assumption."""
    shapes = shapes_below(read.state, prefix)
    if not shapes:
        raise CheckpointError(
            f"{read.source} has heads but no backbone: no name of its {plural(len(read.state), 'tensor')} "
            f"begins with {prefix!r}. Give a complete checkpoint."
        )
    config, notes = find_structure(shapes, read.source, image_size=image_size)
    return config.adjusted(num_classes=0, average_directions=average_directions), notes


def assumptions(vim: VimConfig, average_directions: bool | None, unstated: str) -> list[str]:
    """Notes on what the backbone's tensors do not show. `unstated`: the same about the reference."""
    notes = []
    if vim.rope:
        notes.append(
            "rotary embedding is assumed to be applied to the residual too; the weights do not show it."
        )
    if average_directions is None and vim.averages_directions:
        notes.append(
            "the outputs of both directions are assumed to be averaged; the weights do not show it"
            f"{unstated}. Use --no-average-directions if they are summed."
        )
    return notes


def shapes_below(state: StateDict, prefix: str) -> dict[str, tuple[int, ...]]:
    """Names without the prefix, and shapes, of the tensors whose names have it."""
    return {
        name.removeprefix(prefix): tuple(tensor.shape)
        for name, tensor in state.items()
        if name.startswith(prefix)
    }
