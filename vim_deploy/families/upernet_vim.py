"""UPerNet segmenters on Vision Mamba."""

from __future__ import annotations

from typing import Any

from vim_deploy.dense.ade20k import ADE20K_CLASSES
from vim_deploy.dense.segmentation import SEGMENTER_PRESETS, SegmenterConfig, segmenter_name
from vim_deploy.families.family import Family


def _parse_config(values: dict[str, Any]) -> SegmenterConfig:
    """Fields of SegmenterConfig, or the `model` of an mmsegmentation configuration."""
    if "decode_head" in values:
        return SegmenterConfig.from_reference(values)
    return SegmenterConfig.from_dict(values)


def _without_auxiliary_head(config: SegmenterConfig) -> SegmenterConfig:
    return config.replace(auxiliary_channels=0)


FAMILY = Family(
    name="upernet_vim",
    kind="segmenter",
    model="vim_deploy.dense.segmenter:Segmenter",
    load="vim_deploy.dense.segmenter_checkpoint:load_segmenter",
    parse_config=_parse_config,
    presets=SEGMENTER_PRESETS,
    name_of=segmenter_name,
    exported_config=_without_auxiliary_head,
    class_names=ADE20K_CLASSES,
    dataset="ADE20K",
    crop_ratio=1.0,
    parts="vim_deploy.families.segmenter_parts:model_parts",
    probes="vim_deploy.families.segmenter_parts:find_probes",
)
