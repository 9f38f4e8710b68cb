"""Positions of windows for sliding-window inference. Needs neither PyTorch nor numpy."""

from __future__ import annotations

from vim_deploy.errors import ConfigError


def placements(length: int, crop: int, stride: int) -> list[int]:
    """First pixels of the windows along one side, `stride` apart; the last window is aligned to the end.

    A side that fits into the crop has one window, at 0. Source: mmsegmentation 0.29 `slide_inference`.
    Raises ConfigError for a stride that leaves gaps.
    """
    if not 1 <= stride <= crop:
        raise ConfigError(f"stride is {stride}; expected 1 to {crop}, the window's size.")
    count = max(length - crop + stride - 1, 0) // stride + 1
    return [max(0, min(index * stride, length - crop)) for index in range(count)]
