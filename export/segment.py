"""What is exported of a segmenter: its crop's logits at the resolution that the decode head has."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.dense.ade20k import ADE20K_CLASSES
from vim_deploy.dense.segmentation import (
    SEGMENTER_PRESETS,
    SegmenterConfig,
    segmenter_name,
    segmenter_preset,
)
from vim_deploy.dense.segmenter import Segmenter
from vim_deploy.dense.segmenter_checkpoint import load_segmenter
from vim_deploy.errors import ConfigError, ExportError
from vim_deploy.export.source import (
    FROM_CHECKPOINT,
    ModelSource,
    generated_origin,
    read_config_file,
    undescribed,
)
from vim_deploy.export.subject import Subject
from vim_deploy.export.task import Task
from vim_deploy.model.generated import fill_generated


class SegmentTask(Task):
    """`logits` (batch, classes, height / 4, width / 4): see Segmenter.forward. No auxiliary head.

    They are not brought to the crop's size in the graph: that is a step without weights, sixteen times the
    numbers, and windows, image and label map have sizes of their own.
    """

    def __init__(self, model: Segmenter) -> None:
        super().__init__(model, "segment", model.config.backbone.vim.channels, model.config.image_size)

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.model(pixels)
        return logits

    def of(self, model: nn.Module) -> SegmentTask:
        assert isinstance(model, Segmenter)
        return SegmentTask(model)


def open_segmenter(source: ModelSource) -> Subject:
    """Raises CheckpointError, ConfigError or ExportError."""
    model, origin, notes, names = _opened(source) if source.checkpoint else _generated(source)
    config = model.config
    if names is None and config.num_classes == len(ADE20K_CLASSES):
        names = ADE20K_CLASSES
        notes = (
            *notes,
            "150 classes without names: taken for those of ADE20K; --class-names says otherwise.",
        )
    vim = config.backbone.vim
    preprocessing = Preprocessing(image_size=config.image_size, crop_ratio=1.0) if vim.channels == 3 else None
    return Subject(
        task=SegmentTask(model),
        variant=segmenter_name(config),
        config=config.replace(auxiliary_channels=0).to_dict(),
        num_classes=config.num_classes,
        origin=origin,
        notes=notes,
        preprocessing=preprocessing,
        class_names=names,
    )


def _opened(
    source: ModelSource,
) -> tuple[Segmenter, dict[str, Any], tuple[str, ...], tuple[str, ...] | None]:
    assert source.checkpoint is not None
    from_file = _config_file(source.name)
    model, loaded = load_segmenter(
        source.checkpoint,
        entry=source.entry,
        config=from_file,
        image_size=source.image_size,
        num_classes=source.num_classes,
        halve=source.halve,
        position_rule=source.position_rule,
    )
    if from_file is None and source.name != FROM_CHECKPOINT:
        found = segmenter_name(loaded.config)
        if segmenter_preset(source.name) is not SEGMENTER_PRESETS.get(found):
            raise ExportError(
                f"{loaded.source} is not a {source.name}: its tensors say {found}. Name the right model, or "
                f"{FROM_CHECKPOINT!r} to take what it is."
            )
    origin = {"source": loaded.source, "sha256": loaded.sha256, "entry": loaded.entry, "seed": None}
    return model, origin, loaded.notes, loaded.class_names


def _generated(
    source: ModelSource,
) -> tuple[Segmenter, dict[str, Any], tuple[str, ...], tuple[str, ...] | None]:
    config = _config_file(source.name) or segmenter_preset(source.name)
    if source.image_size is not None:
        config = config.with_vim(image_size=source.image_size)
    if source.num_classes is not None:
        config = config.replace(num_classes=source.num_classes)
    if source.halve is not None:
        config = config.with_vim(halve=source.halve)
    model = Segmenter(config)
    fill_generated(model, seed=source.seed)
    origin, note = generated_origin(source.seed)
    return model.eval(), origin, (note,), None


def _config_file(name: str) -> SegmenterConfig | None:
    """From a JSON file with SegmenterConfig's fields or with an mmsegmentation configuration's `model`."""
    values = read_config_file(name)
    if values is None:
        return None
    try:
        if "decode_head" in values:
            return SegmenterConfig.from_reference(values)
        return SegmenterConfig.from_dict(values)
    except (ConfigError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise undescribed(name, "segmenter", error) from None
