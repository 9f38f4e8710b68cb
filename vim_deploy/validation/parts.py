"""A Vision Mamba as a chain of named parts, each a function of the outputs of earlier parts.

The chain computes exactly what the model does. With the intermediate values of another implementation, every
part can be recomputed from that implementation's own inputs to it, which separates the error of the part from
the error of its inputs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from vim_deploy.errors import ConfigError
from vim_deploy.model.blocks import Block
from vim_deploy.model.config import Directions
from vim_deploy.model.mixer import Mixer, causal_conv
from vim_deploy.model.vim import VisionMamba
from vim_deploy.ops import selective_scan, use_scan

PIXELS, TOKENS, FINAL_NORM = "pixels", "tokens", "final norm"


@dataclass(frozen=True)
class Part:
    """`compute` takes the values named in `inputs`. `kind` is the name without block and direction."""

    name: str
    kind: str
    block: int | None
    inputs: tuple[str, ...]
    compute: Callable[..., Tensor]


def model_parts(model: VisionMamba) -> list[Part]:
    """The chain from "pixels" to "final norm", in order of execution, computing in float64.

    Block i has the parts `layers.i.` residual (the input of its norm), norm, in_proj, for each direction
    convolution, x_proj, dt_proj and scan (with the gate), then sum (average of the directions) and out_proj.
    Raises ConfigError for models with one direction per layer.
    """
    if model.config.paired:
        raise ConfigError(
            "--layers does not support models with paired directions, one per layer; drop --layers."
        )
    double = copy.deepcopy(model).double().eval()
    parts = [Part(TOKENS, TOKENS, None, (PIXELS,), double.forward_tokens)]
    stream, hidden = None, TOKENS
    for index in range(double.config.depth):
        block = list(_block(double, index, stream, hidden))
        parts += block
        stream, hidden = f"layers.{index}.residual", block[-1].name
    assert stream is not None
    parts.append(Part(FINAL_NORM, "norm", None, (stream, hidden), lambda a, b: double.norm_f(a + b)))
    return parts


def run_parts(parts: list[Part], pixels: Tensor) -> dict[str, Tensor]:
    """The outputs of all parts in float64, each computed from the outputs before it."""
    values = {PIXELS: pixels.double()}
    for part in parts:
        values[part.name] = run_part(part, values)
    return values


def run_part(part: Part, values: dict[str, Tensor]) -> Tensor:
    """The output of one part for the given values, in float64."""
    with torch.inference_mode(), use_scan("reference"):
        return part.compute(*(values[name].double() for name in part.inputs))


def _block(model: VisionMamba, index: int, stream: str | None, hidden: str) -> Iterator[Part]:
    block = model.layers[index]
    assert isinstance(block, Block)
    mixer = block.mixer

    def part(kind: str, inputs: tuple[str, ...], compute: Callable[..., Tensor], direction: str = "") -> Part:
        name = f"layers.{index}.{kind}{direction and ' ' + direction}"
        return Part(name, kind, index, inputs, compute)

    before = (hidden,) if stream is None else (hidden, stream)
    yield (residual := part("residual", before, partial(_stream, model)))
    yield (norm := part("norm", (residual.name,), block.norm))
    yield (in_proj := part("in_proj", (norm.name,), mixer.in_proj))
    scans: list[str] = []
    for direction, suffix, reverse in _directions(mixer):
        if suffix or not scans:
            conv = getattr(mixer, f"conv1d{suffix}")
            yield (u := part("convolution", (in_proj.name,), partial(_convolve, conv, reverse), direction))
            yield (x_proj := part("x_proj", (u.name,), getattr(mixer, f"x_proj{suffix}"), direction))
            step = partial(_time_step, mixer, getattr(mixer, f"dt_proj{suffix}"))
            yield (delta := part("dt_proj", (x_proj.name,), step, direction))
        names = (u.name, delta.name, x_proj.name, in_proj.name)
        scan = part("scan", names, partial(_scan, mixer, suffix, direction == "backward", reverse), direction)
        scans.append(scan.name)
        yield scan
    yield (total := part("sum", tuple(scans), partial(_sum, mixer)))
    yield part("out_proj", (total.name,), partial(_project_out, mixer))


def _directions(mixer: Mixer) -> list[tuple[str, str, bool]]:
    """Name, suffix of the weights before the scan, and whether the sequence is reversed."""
    directions = mixer.config.directions
    forward = ("forward", "", False)
    if directions is Directions.FORWARD:
        return [forward]
    return [forward, ("backward", "_b" if directions is Directions.SEPARATE else "", True)]


def _stream(model: VisionMamba, hidden: Tensor, residual: Tensor | None = None) -> Tensor:
    if model.config.rope:
        hidden = model.rope(hidden)
        if residual is not None and model.config.rope_residual:
            residual = model.rope(residual)
    return hidden if residual is None else residual + hidden


def _convolve(conv: nn.Conv1d, reverse: bool, projected: Tensor) -> Tensor:
    return F.silu(causal_conv(projected.chunk(2, dim=-1)[0], conv.weight, conv.bias, reverse))


def _time_step(mixer: Mixer, dt_proj: nn.Linear, projected: Tensor) -> Tensor:
    return F.linear(projected[..., : mixer.config.dt_rank], dt_proj.weight)


def _scan(
    mixer: Mixer, suffix: str, backward: bool, reverse: bool,
    u: Tensor, delta: Tensor, projected: Tensor, gated: Tensor,
) -> Tensor:  # fmt: skip
    rank, state = mixer.config.dt_rank, mixer.config.state
    _, B, C = projected.split([rank, state, state], dim=-1)
    A = -torch.exp(mixer.A_b_log if backward else mixer.A_log)
    D, bias = getattr(mixer, f"D{suffix}"), getattr(mixer, f"dt_proj{suffix}").bias
    z = gated.chunk(2, dim=-1)[1]
    return selective_scan(
        u, delta, A, B.contiguous(), C.contiguous(), D, z, bias, delta_softplus=True, reverse=reverse
    )


def _sum(mixer: Mixer, *scans: Tensor) -> Tensor:
    total = sum(scans[1:], start=scans[0])
    return total / 2 if mixer.config.averages_directions else total


def _project_out(mixer: Mixer, mixed: Tensor) -> Tensor:
    hidden: Tensor = mixer.out_proj(mixed)
    return hidden * mixer.gamma if mixer.config.layer_scale else hidden
