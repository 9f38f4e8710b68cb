"""COCO's 80 classes in the order of detectors' outputs, and their ids in annotation files.

The ids are 1 to 90; ten of them are of categories that were never annotated.
"""

from __future__ import annotations

import json
from importlib.resources import files

_BY_ID: dict[str, str] = json.loads(files("vim_deploy.dense").joinpath("coco.json").read_text("utf-8"))
COCO_IDS: tuple[int, ...] = tuple(map(int, _BY_ID))
COCO_NAMES: tuple[str, ...] = tuple(_BY_ID.values())
