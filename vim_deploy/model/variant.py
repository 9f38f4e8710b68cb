"""Inference of a model's configuration from the names and shapes of its tensors. Imports no framework."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from vim_deploy.errors import CheckpointError, ConfigError
from vim_deploy.model.config import PRESETS, REGISTERED_NAMES, ClassToken, Directions, VimConfig
from vim_deploy.model.fields import differing_fields
from vim_deploy.text import by, plural

Shapes = Mapping[str, tuple[int, ...]]

_LAYER = re.compile(r"layers\.(\d{1,4})\.")
_SEPARATE_MARKS = (".conv1d_b.", ".x_proj_b.", ".dt_proj_b.", ".D_b")


def find_config(
    shapes: Shapes,
    source: str,
    *,
    model_name: str | None = None,
    input_size: int | None = None,
    image_size: tuple[int, int] | None = None,
) -> tuple[VimConfig, list[str]]:
    """The configuration of a state dict with the reference's tensor names, and a note per assumption.

    `shapes`: the tensors' names and shapes; `source`: the file's name in errors. `model_name` and
    `input_size`: `args.model` and `args.input_size` of a training checkpoint, used if they agree with the
    tensors. `image_size` (height, width): the requested size, used if the number of tokens permits it. Raises
    CheckpointError for tensors of other models.
    """
    config, notes = find_structure(shapes, source, input_size=input_size, image_size=image_size)
    _use_name(config, model_name, notes)
    return config, notes


def find_structure(
    shapes: Shapes,
    source: str,
    *,
    input_size: int | None = None,
    image_size: tuple[int, int] | None = None,
) -> tuple[VimConfig, list[str]]:
    """Like `find_config`, without notes on what the tensors cannot show."""
    notes: list[str] = []
    values = {**_sizes(shapes, source), **_options(shapes)}
    class_token = _class_token(shapes)
    values["class_token"] = class_token
    if class_token is ClassToken.FRONT:
        notes.append(
            "rotary embedding with a class token: assumed to be a model of January 2024, with the class "
            "token at the front and the sum of both directions; the weights do not show either."
        )
        values["average_directions"] = False
    values["image_size"], values["stride"] = _image_size(
        shapes, source, values["patch_size"], class_token, _sizes_to_try(input_size, image_size), notes
    )
    try:
        return VimConfig(**values), notes
    except ConfigError as error:
        raise CheckpointError(f"{source}: {error}") from None


def _sizes(shapes: Shapes, source: str) -> dict[str, Any]:
    embed_dim, channels, patch_size, _ = _dims(shapes, "patch_embed.proj.weight", 4, source)
    inner, state = _dims(shapes, _first(shapes, ".mixer.A_log"), 2, source)
    conv_width = _dims(shapes, _first(shapes, ".mixer.conv1d.weight"), 3, source)[2]
    classes = _dims(shapes, "head.weight", 2, source)[0] if "head.weight" in shapes else 0
    return {
        "patch_size": patch_size,
        "channels": channels,
        "num_classes": classes,
        "embed_dim": embed_dim,
        "depth": 1 + max(int(found[1]) for key in shapes if (found := _LAYER.match(key))),
        "state": state,
        "conv_width": conv_width,
        "expand": max(1, inner // embed_dim),
    }


def _options(shapes: Shapes) -> dict[str, Any]:
    separate = any(mark in key for key in shapes for mark in _SEPARATE_MARKS)
    shared = any(key.endswith(".A_b_log") for key in shapes)
    rope = any(key.startswith("rope.") for key in shapes)
    return {
        "directions": (
            Directions.SEPARATE if separate else Directions.SHARED if shared else Directions.FORWARD
        ),
        "position_embedding": "pos_embed" in shapes,
        "rope": rope,
        "rope_residual": rope,
        "rms_norm": not any(key.endswith(("norm.bias", "norm_f.bias")) for key in shapes),
        "layer_scale": any(key.endswith(".gamma") for key in shapes),
    }


def _class_token(shapes: Shapes) -> ClassToken:
    if "cls_token_head" in shapes or "cls_token_tail" in shapes:
        return ClassToken.DOUBLE
    if "cls_token" not in shapes:
        return ClassToken.NONE
    # The rotary table excludes a token in the middle.
    return ClassToken.FRONT if any(key.startswith("rope.") for key in shapes) else ClassToken.MIDDLE


def _sizes_to_try(
    input_size: int | None, image_size: tuple[int, int] | None
) -> list[tuple[tuple[int, int], str]]:
    """Candidate image sizes with their origin, most trusted first."""
    sizes = []
    if isinstance(input_size, int) and input_size > 0:
        sizes.append(((input_size, input_size), "the training arguments"))
    if image_size is not None:
        sizes.append((image_size, "the requested size"))
    return sizes


def _image_size(
    shapes: Shapes,
    source: str,
    patch: int,
    class_token: ClassToken,
    named: list[tuple[tuple[int, int], str]],
    notes: list[str],
) -> tuple[tuple[int, int], int]:
    """The image size and stride whose grid has as many patches as the tensors have rows."""
    patches = _patch_rows(shapes, source, class_token)
    if patches is None:
        size, origin = named[-1] if named else ((224, 224), "the published models")
        notes.append(
            f"no position embedding, so any image size fits: {by(size)} from {origin}, stride {patch}."
        )
        return size, patch
    for stride in dict.fromkeys((patch, max(1, patch // 2))):
        for size, origin in named:
            if math.prod((side - patch) // stride + 1 for side in size) == patches and min(size) >= patch:
                notes.append(f"{patches} patches: image {by(size)} with stride {stride}, from {origin}.")
                return size, stride
    side = math.isqrt(patches)
    if side * side != patches or not patches:
        raise CheckpointError(
            f"{source}: {patches} patch tokens (class token: {class_token.value}) are not a square grid, so "
            "the image size cannot be inferred; expected a square number. Give the image size or the "
            "configuration that the model was trained with."
        )
    # The published "+" models have 27 x 27 overlapping patches at 224 pixels.
    stride = 8 if (patches, patch) == (729, 16) else patch
    size = (patch + (side - 1) * stride,) * 2
    notes.append(
        f"{patches} patches: interpreted as a square image {by(size)} with stride {stride}; other "
        "combinations have the same tensors."
    )
    return size, stride


def _patch_rows(shapes: Shapes, source: str, class_token: ClassToken) -> int | None:
    if "pos_embed" in shapes:
        return _dims(shapes, "pos_embed", 3, source)[1] - class_token.rows
    tables = [key for key in shapes if key.startswith("rope.")]
    return _dims(shapes, tables[0], 2, source)[0] if tables else None


def _use_name(config: VimConfig, name: str | None, notes: list[str]) -> None:
    """Note that the name in the training arguments confirms the configuration, or what is assumed."""
    registered = PRESETS.get(REGISTERED_NAMES.get(name or "", ""))
    if registered is not None:
        differing = differing_fields(
            config, registered.replace(image_size=config.image_size, num_classes=config.num_classes)
        )
        if not differing:
            notes.append(f"{name} according to its training arguments, which agree with the tensors.")
            return
        notes.append(
            f"the training arguments say {name}, but the tensors differ in {differing}; the tensors are used."
        )
    elif name:
        notes.append(f"the training arguments say {name!r}, which is not a known model; ignored.")
    notes.extend(_assumptions(config))


def _assumptions(config: VimConfig) -> Iterable[str]:
    """Notes on what the tensors do not show; it is assumed to be as in the published models."""
    if config.class_token is ClassToken.MIDDLE:
        yield "the class token is assumed to be in the middle; one at the front has the same tensors."
    if config.class_token is ClassToken.NONE:
        yield "no class token: mean pooling is assumed; other poolings have the same tensors."
    if config.averages_directions:
        yield "the outputs of both directions are assumed to be averaged; the weights do not show it."
    if config.directions is Directions.FORWARD:
        yield "sequential blocks are assumed; paired directions have the same tensors."
    if config.rope:
        yield "rotary embedding is assumed to be applied to the residual too; the weights do not show it."


def _first(shapes: Shapes, ending: str) -> str:
    return next((key for key in shapes if key.endswith(ending) and _LAYER.match(key)), f"layers.0{ending}")


def _dims(shapes: Shapes, name: str, rank: int, source: str) -> tuple[int, ...]:
    shape = shapes.get(name)
    if shape is None:
        some = ", ".join(sorted(shapes)[:5]) or "none"
        raise CheckpointError(
            f"{source} is not a Vision Mamba: the tensor {name} is missing among "
            f"{plural(len(shapes), 'tensor')} ({some}, ...). Expected the names of the reference "
            "implementation; give another checkpoint."
        )
    if len(shape) != rank or 0 in shape:
        raise CheckpointError(
            f"{source}: tensor {name} has shape {tuple(shape)}; expected {rank} dimensions, none of them "
            "zero. The file is damaged or of another kind of model; give another checkpoint."
        )
    return tuple(shape)
