"""Classifies the frames of a video, in constant memory.

    python examples/video_frames.py vim_tiny.engine clip.gif

Frames are read with Pillow (GIF, WebP, APNG, multi-page TIFF). With OpenCV, `frames` would be a loop over
`cv2.VideoCapture(path).read()` that yields `frame[..., ::-1]`, because OpenCV's frames are BGR.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence

import vim_deploy


def frames(path: str) -> Iterator[NDArray[np.uint8]]:
    """RGB frames (height, width, 3), decoded one at a time."""
    with Image.open(path) as video:
        for frame in ImageSequence.Iterator(video):
            yield np.asarray(frame.convert("RGB"))


def changes(results: Iterator[Any]) -> Iterator[tuple[int, str]]:
    """The number of each frame where the most probable class changes, with the class."""
    last = None
    for number, result in enumerate(results):
        name = result.top1.name if result.ok else f"error: {result.error}"
        if name != last:
            yield number, name
        last = name


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("engine")
    parser.add_argument("video")
    options = parser.parse_args()
    with vim_deploy.load(options.engine, task="classify") as model:
        # For a live camera: model.predict(frame) for each frame, so that no frame waits for a batch.
        stream = model.predict(frames(options.video), stream=True)
        for number, name in changes(stream):
            print(f"frame {number}: {name}")


if __name__ == "__main__":
    main()
