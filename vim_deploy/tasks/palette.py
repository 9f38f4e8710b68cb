"""Colours of classes in label maps and overlays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def palette(classes: int) -> NDArray[np.uint8]:
    """A colour for each class, (classes, 3): the bits of the class index plus one, spread over the channels.

    Neighbouring indices have clearly different colours, and none is black. Source: Pascal VOC's colour map.
    """
    indices = np.arange(1, classes + 1)
    colours = np.zeros((classes, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((indices >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return colours
