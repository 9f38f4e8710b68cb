"""Layers and plugins of detectors, by the operators' definitions."""

from __future__ import annotations

import struct

import torch

from tensorrt_parsers.recording import Layer, Recording, UnsupportedLayerError
from vim_deploy.dense.boxes import nms
from vim_deploy.dense.roi import roi_align

_MAX_NMS_BOXES = 5000  # per image, above the score threshold
_ROI_ALIGN_86 = "<5if"  # serialized by TensorRT 8.6, before the sizes of the inputs
_ROI_ALIGN_FIELDS = (
    "coordinate_transformation_mode", "mode", "output_height", "output_width", "sampling_ratio",
    "spatial_scale",
)  # fmt: skip
_HALF_PIXEL, _AVERAGE, _ADAPTIVE = 1, 1, 0


def suppression(
    network: Recording,
    layer: Layer,
    boxes: torch.Tensor,
    scores: torch.Tensor,
    limit: torch.Tensor,
    iou: torch.Tensor,
    threshold: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """NonMaxSuppression of one image: rows (image, class, box), class by class, and their number."""
    above = int((scores > threshold).sum())
    if above > _MAX_NMS_BOXES:
        raise UnsupportedLayerError(
            f"{above} boxes above the threshold; TensorRT's NMS takes at most {_MAX_NMS_BOXES}"
        )
    rows = []
    for label, values in enumerate(scores[0].float().t()):
        count = min(int(limit), len(values))
        pairs, best = nms(boxes[0].float(), values[None], threshold, float(iou), count)
        rows += [(0, label, int(box)) for box in pairs[best > threshold, 1]]
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, 3), torch.tensor(len(rows))


def roi_align_plugin(
    layer: Layer, level: torch.Tensor, boxes: torch.Tensor, images: torch.Tensor
) -> torch.Tensor:
    """TensorRT's RoiAlign of one image, in the form that detectors use."""
    assert layer.plugin is not None
    if "fields" in layer.plugin:
        fields = {name: layer.plugin["fields"][name][0] for name in _ROI_ALIGN_FIELDS}
    else:
        values = struct.unpack_from(_ROI_ALIGN_86, bytes.fromhex(layer.plugin["data"]))
        fields = dict(zip(_ROI_ALIGN_FIELDS, values, strict=True))
    expected = (_HALF_PIXEL, _AVERAGE, fields["output_height"], fields["output_height"], _ADAPTIVE)
    if tuple(fields.values())[:-1] != expected or images.any():
        raise UnsupportedLayerError(
            f"RoiAlign with {fields}; only the average over half-pixel samples of one image is computed"
        )
    return roi_align(level.float(), boxes.float(), fields["spatial_scale"], fields["output_height"])
