"""The parts of a Cascade Mask R-CNN detector: in the eager model, and in its exported graph.

From the proposals on, parts are sets of boxes. A stage is recomputed for the artifact's own boxes before it,
so that its rows are the same ones.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import numpy as np
import onnx
import torch
from torch import Tensor

from vim_deploy.dense.boxes import clip, image_limits
from vim_deploy.dense.cascade import CascadeHeads, mean_scores
from vim_deploy.dense.detector import Detector
from vim_deploy.dense.detector_config import LEVELS as LEVEL_NUMBERS
from vim_deploy.dense.detector_config import POOLED_LEVELS
from vim_deploy.dense.proposals import EXCLUDED, ProposalNetwork
from vim_deploy.errors import ExportError
from vim_deploy.families.dense_parts import LIMITS, backbone_parts, dense_part
from vim_deploy.families.module_values import has_module, module_input, module_output, nodes_of
from vim_deploy.families.parts import PIXELS, Part, Values
from vim_deploy.families.vim_probes import block_probes
from vim_deploy.onnx_graph.index import GraphIndex

_ROOT = "model"  # of nodes that are in no module
_PROPOSALS = ("proposals boxes", "proposals logits")
_FOUND = ("boxes", "scores", "classes")  # outputs of the graph
_MASKS = "masks"


def model_parts(model: Detector) -> list[Part]:
    """The chain from "pixels" to "masks", in order of execution, computing in float64.

    After the backbone's blocks and map: the levels of the pyramid, proposals, the stages of the cascade,
    detections and masks. Objects of every score are detected.
    """
    double = copy.deepcopy(model).double().eval()
    parts, (found,) = backbone_parts(double.backbone.net)
    levels = [f"level {number}" for number in LEVEL_NUMBERS]
    for name, number in zip(levels[:-1], LEVEL_NUMBERS, strict=False):
        step = getattr(double.backbone, f"simfp_{number}")
        parts.append(dense_part(name, "neck", (found,), step))
    parts.append(dense_part(levels[-1], "map", (levels[-2],), lambda level: level[:, :, ::2, ::2]))
    network, heads = double.proposal_generator, double.roi_heads
    parts.append(
        _set_part("proposals", _PROPOSALS, (PIXELS, *levels), partial(_proposals, network), _is_proposed)
    )
    pooled = tuple(levels[: len(POOLED_LEVELS)])
    boxes, logits = _PROPOSALS[0], []
    for index in range(len(heads.config.stage_weights)):
        names = _stage_names(index)
        inputs = (PIXELS, boxes, *pooled)
        parts.append(_set_part(f"stage {index + 1}", names, inputs, partial(_stage, heads, index)))
        boxes = names[0]
        logits.append(names[1])
    inputs = (boxes, _PROPOSALS[1], *logits)
    parts.append(_set_part("detections", _FOUND, inputs, partial(_detections, heads), _is_found))
    inputs = (*_FOUND, *pooled)
    parts.append(_set_part(_MASKS, (*_FOUND, _MASKS), inputs, partial(_masks, heads), _is_found))
    return parts


def _set_part(
    name: str,
    outputs: tuple[str, ...],
    inputs: tuple[str, ...],
    compute: Callable[..., tuple[Tensor, ...]],
    select: Callable[[Values], np.ndarray] | None = None,
) -> Part:
    return Part(name, "set", None, inputs, LIMITS["set"], compute, outputs=outputs, select=select)


def _stage_names(index: int) -> tuple[str, str]:
    return f"stage {index + 1} boxes", f"stage {index + 1} logits"


def _proposals(network: ProposalNetwork, pixels: Tensor, *levels: Tensor) -> tuple[Tensor, ...]:
    return tuple(network(levels, image_limits(pixels)))


def _is_proposed(values: Values) -> np.ndarray:
    """Without the rows that fill the fixed number of proposals."""
    members: np.ndarray = values[1] > EXCLUDED / 2
    return members


def _is_found(values: Values) -> np.ndarray:
    """Without the rows that fill the fixed number of detections."""
    members: np.ndarray = values[1] > 0
    return members


def _stage(
    heads: CascadeHeads, index: int, pixels: Tensor, boxes: Tensor, *levels: Tensor
) -> tuple[Tensor, ...]:
    stage = heads.stage(index, levels, boxes)
    return clip(stage.boxes, image_limits(pixels)), stage.logits


def _detections(heads: CascadeHeads, boxes: Tensor, proposed: Tensor, *logits: Tensor) -> tuple[Tensor, ...]:
    threshold = torch.tensor(0.0, dtype=boxes.dtype)
    scores = mean_scores([stage.softmax(dim=1) for stage in logits], proposed)
    return tuple(heads.select(boxes, scores, threshold))


def _masks(
    heads: CascadeHeads, boxes: Tensor, scores: Tensor, classes: Tensor, *levels: Tensor
) -> tuple[Tensor, ...]:
    return boxes, scores, classes, heads.masks(levels, boxes, classes.long())


def find_probes(model: onnx.ModelProto) -> dict[str, str]:
    """Names of parts to names of values. Raises ExportError for another graph."""
    graph = GraphIndex(model.graph)
    probes = block_probes(graph, "backbone.net.")
    for number in LEVEL_NUMBERS[:-1]:
        probes[f"level {number}"] = module_output(graph, f"backbone.simfp_{number}")
    probes["map 1"] = module_input(graph, f"backbone.simfp_{LEVEL_NUMBERS[-2]}")
    slices = nodes_of(graph, "backbone", "Slice")
    best = nodes_of(graph, "proposal_generator", "TopK")
    clipped = nodes_of(graph, _ROOT, "Min")
    if not slices or not best:
        raise ExportError("the graph has no pyramid or no proposals; expected a file of --task detect.")
    probes[f"level {LEVEL_NUMBERS[-1]}"] = slices[-1].output[0]
    gathered = nodes_of(graph, "proposal_generator", "Gather")
    probes |= dict(zip(_PROPOSALS, (gathered[-1].output[0], best[-1].output[0]), strict=True))
    for index, node in enumerate(clipped):
        scores = f"roi_heads.box_predictor.{index}.cls_score"
        if not has_module(graph, scores):
            raise ExportError(f"the graph has no {scores}; export the file again with this version.")
        probes |= dict(zip(_stage_names(index), (node.output[0], module_output(graph, scores)), strict=True))
    return probes | {name: name for name in (*_FOUND, _MASKS)}
