"""Cascade Mask R-CNN detectors on Vision Mamba."""

from __future__ import annotations

from vim_deploy.dense.coco import COCO_NAMES
from vim_deploy.dense.detector_config import DETECTORS, DetectorConfig, detector_name
from vim_deploy.families.family import Family

FAMILY = Family(
    name="cascade_vim",
    kind="detector",
    model="vim_deploy.dense.detector:Detector",
    load="vim_deploy.dense.detector_checkpoint:load_detector",
    parse_config=DetectorConfig.from_dict,
    presets=DETECTORS,
    name_of=detector_name,
    class_names=COCO_NAMES,
    dataset="COCO",
    crop_ratio=1.0,
    parts="vim_deploy.families.detector_parts:model_parts",
    probes="vim_deploy.families.detector_parts:find_probes",
)
