"""The parts of a UPerNet segmenter: in the eager model, and in its exported graph."""

from __future__ import annotations

import copy
from functools import partial

import onnx
import torch
from torch import Tensor, nn

from vim_deploy.dense.segmentation import LEVELS
from vim_deploy.dense.segmenter import Segmenter
from vim_deploy.dense.upernet import UPerHead, resized
from vim_deploy.families.dense_parts import backbone_parts, dense_part
from vim_deploy.families.module_values import has_module, module_input, module_output
from vim_deploy.families.parts import Part
from vim_deploy.families.vim_probes import block_probes
from vim_deploy.onnx_graph.index import GraphIndex

_LOGITS = "logits"  # the graph's output


def model_parts(model: Segmenter) -> list[Part]:
    """The chain from "pixels" to "logits", in order of execution, computing in float64.

    After the backbone's blocks and maps: neck, and in the decode head lateral, pooling, context (of the
    coarsest level), top-down, fpn, fusion and logits. Levels are numbered from 1, the finest.
    """
    double = copy.deepcopy(model).double().eval()
    parts, maps = backbone_parts(double.backbone)
    levels = list(maps) * (LEVELS if len(maps) == 1 else 1)
    for index in range(LEVELS if double.backbone.neck else 0):
        step = getattr(double.backbone, f"fpn{index + 1}")
        if not isinstance(step, nn.Identity):
            parts.append(dense_part(f"neck {index + 1}", "neck", (levels[index],), step))
            levels[index] = parts[-1].name
    return [*parts, *_head_parts(double.decode_head, levels)]


def _head_parts(head: UPerHead, levels: list[str]) -> list[Part]:
    coarsest, parts = levels[-1], []

    def add(name: str, inputs: tuple[str, ...], compute: nn.Module | partial[Tensor]) -> str:
        parts.append(dense_part(name, "head", inputs, compute))
        return name

    laterals = [
        add(f"lateral {number}", (levels[number - 1],), convolution)
        for number, convolution in enumerate(head.lateral_convs, 1)
    ]
    pooled = [add(f"pooling {number}", (coarsest,), pool) for number, pool in enumerate(head.psp_modules, 1)]
    merged = [add("context", (coarsest, *pooled), partial(_joined, head.bottleneck))]
    for number in range(LEVELS - 1, 0, -1):
        inputs = (laterals[number - 1], merged[0])
        merged.insert(0, add(f"top-down {number}", inputs, partial(_top_down)))
    outputs = [
        add(f"fpn {number}", (merged[number - 1],), convolution)
        for number, convolution in enumerate(head.fpn_convs, 1)
    ]
    fusion = add("fusion", (*outputs, merged[-1]), partial(_joined, head.fpn_bottleneck))
    add(_LOGITS, (fusion,), head.conv_seg)
    return parts


def _joined(convolution: nn.Module, first: Tensor, *others: Tensor) -> Tensor:
    result: Tensor = convolution(torch.cat([first, *(resized(other, like=first) for other in others)], dim=1))
    return result


def _top_down(lateral: Tensor, coarser: Tensor) -> Tensor:
    return lateral + resized(coarser, like=lateral)


def find_probes(model: onnx.ModelProto) -> dict[str, str]:
    """Names of parts to names of values. Raises ExportError for another graph."""
    graph = GraphIndex(model.graph)
    probes = block_probes(graph, "backbone.")
    levels = []
    for number in range(1, LEVELS + 1):
        neck = f"backbone.fpn{number}"
        if has_module(graph, neck):
            probes[f"neck {number}"] = module_output(graph, neck)
            levels.append(module_input(graph, neck))
        else:
            consumer = f"lateral_convs.{number - 1}" if number < LEVELS else "psp_modules.0"
            levels.append(module_input(graph, f"decode_head.{consumer}"))
    for number, value in enumerate(dict.fromkeys(levels), 1):
        probes[f"map {number}"] = value
    for part, module in (("lateral", "lateral_convs"), ("pooling", "psp_modules"), ("fpn", "fpn_convs")):
        index = 0
        while has_module(graph, f"decode_head.{module}.{index}"):
            probes[f"{part} {index + 1}"] = module_output(graph, f"decode_head.{module}.{index}")
            index += 1
    for number in range(1, LEVELS):
        probes[f"top-down {number}"] = module_input(graph, f"decode_head.fpn_convs.{number - 1}")
    probes["context"] = module_output(graph, "decode_head.bottleneck")
    probes["fusion"] = module_output(graph, "decode_head.fpn_bottleneck")
    probes[_LOGITS] = _LOGITS
    return probes
