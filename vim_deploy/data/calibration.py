"""The images that ranges of quantized matmuls are computed from."""

from __future__ import annotations

import os
from collections.abc import Sequence

from vim_deploy.data.discover import Discovery


def calibration_images(inputs: Sequence[str | os.PathLike[str]], count: int) -> list[str]:
    """The paths of at most `count` of the images in files, folders and globs; empty if there are none.

    They are evenly spaced, because folders are often sorted by class. Raises ImageError for an input that
    does not exist.
    """
    paths = [item.path for item in Discovery(inputs)]
    return paths[:: max(1, -(-len(paths) // count))]
