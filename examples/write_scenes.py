"""Write held-out scenes as PNG files OUT/images/N.png, and their label maps OUT/labels/N.png."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image
from scenes_data import HELD_OUT_SCENES, held_out_scenes


def write_scenes(folder: Path, count: int = HELD_OUT_SCENES) -> int:
    """Returns the number of scenes. Label maps contain class indices; 0 is the background."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index, (image, labels) in enumerate(held_out_scenes(count)):
        Image.fromarray(image).save(folder / "images" / f"{index:04d}.png")
        Image.fromarray(labels).save(folder / "labels" / f"{index:04d}.png")
    return count


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: write_scenes.py OUT")
    folder = Path(sys.argv[1])
    print(f"{write_scenes(folder)} scenes in {folder}", file=sys.stderr)


if __name__ == "__main__":
    main()
