"""COCO's 80 classes, in the order of detectors' outputs, and the numbers that annotation files have for them.

The numbers go from 1 to 90, ten of which belong to categories that were planned and never annotated.
"""

from __future__ import annotations

import json
from importlib.resources import files

_BY_ID: dict[str, str] = json.loads(files("vim_deploy.dense").joinpath("coco.json").read_text("utf-8"))
COCO_IDS: tuple[int, ...] = tuple(map(int, _BY_ID))
COCO_NAMES: tuple[str, ...] = tuple(_BY_ID.values())
