"""Write held-out scenes as OUT/images/N.png, and their objects as OUT/annotations.json in COCO's format."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from detection_data import HELD_OUT_SCENES, annotations, held_out_objects
from PIL import Image


def write_objects(folder: Path, count: int = HELD_OUT_SCENES) -> int:
    """Returns the number of scenes."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    scenes = list(held_out_objects(count))
    content = annotations(scenes)
    for described, scene in zip(content["images"], scenes, strict=True):
        Image.fromarray(scene.image).save(folder / "images" / described["file_name"])
    (folder / "annotations.json").write_text(json.dumps(content))
    return count


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: write_objects.py OUT")
    folder = Path(sys.argv[1])
    print(f"{write_objects(folder)} scenes in {folder}", file=sys.stderr)


if __name__ == "__main__":
    main()
