"""What is exported of a segmenter: its crop's logits at the resolution that the decode head has."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from vim_deploy.dense.ade20k import ADE20K_CLASSES
from vim_deploy.dense.segmentation import (
    SEGMENTER_PRESETS,
    SegmenterConfig,
    segmenter_name,
    segmenter_preset,
)
from vim_deploy.dense.segmenter import Segmenter
from vim_deploy.dense.segmenter_checkpoint import load_segmenter
from vim_deploy.export.dense import Family, export_model_of, open_dense
from vim_deploy.export.model import ExportModel
from vim_deploy.export.source import ModelSource
from vim_deploy.export.task import TaskModule


class SegmentTaskModule(TaskModule):
    """`logits` (batch, classes, height / 4, width / 4): see Segmenter.forward. No auxiliary head.

    They are not brought to the crop's size in the graph: that is a step without weights, sixteen times the
    numbers, and windows, image and label map have sizes of their own.
    """

    def __init__(self, model: Segmenter) -> None:
        super().__init__(model, "segment", model.config.backbone.vim.channels, model.config.image_size)

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.model(pixels)
        return logits

    def of(self, model: nn.Module) -> SegmentTaskModule:
        assert isinstance(model, Segmenter)
        return SegmentTaskModule(model)


def open_segmenter(source: ModelSource) -> ExportModel:
    """Raises CheckpointError, ConfigError or ExportError."""
    opened = open_dense(source, _FAMILY)
    config = opened.config.replace(auxiliary_channels=0).to_dict()
    return export_model_of(
        opened, _FAMILY, SegmentTaskModule(opened.model), segmenter_name(opened.config), config
    )


def _from_dict(values: dict[str, Any]) -> SegmenterConfig:
    """SegmenterConfig's fields, or an mmsegmentation configuration's `model`."""
    if "decode_head" in values:
        return SegmenterConfig.from_reference(values)
    return SegmenterConfig.from_dict(values)


_FAMILY = Family(
    kind="segmenter",
    build=Segmenter,
    load=load_segmenter,
    from_dict=_from_dict,
    preset=segmenter_preset,
    presets=SEGMENTER_PRESETS,
    name_of=segmenter_name,
    known_names=ADE20K_CLASSES,
    data_set="ADE20K",
)
