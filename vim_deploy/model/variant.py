"""Which Vision Mamba a set of tensors belongs to, told from names and shapes alone; needs no PyTorch."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from vim_deploy.errors import CheckpointError
from vim_deploy.model.config import PRESETS, REGISTERED_NAMES, ClassToken, Directions, VimConfig

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
    """The configuration of a state dict in the reference's naming, and a note for every choice that was made.

    `shapes` are the tensors' names and shapes, `source` names the file in errors. `model_name` and
    `input_size` are what a training checkpoint says about itself (`args.model`, `args.input_size`); they are
    used where they agree with the tensors. `image_size` (height, width) is the size somebody wants to use: it
    settles what the number of tokens leaves open. Raises CheckpointError for tensors that are no Vision Mamba
    classifier.
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
    """As `find_config`, without a word of what leaves no trace in the tensors."""
    notes: list[str] = []
    values = {**_sizes(shapes, source), **_options(shapes)}
    class_token = _class_token(shapes)
    values["class_token"] = class_token
    if class_token is ClassToken.FRONT:  # no class token leaves more open: see _untraceable
        notes.append(
            "rotary embedding with a class token: taken for the models of January 2024, class token at the "
            "front and the sum of both directions not halved; the weights do not show either."
        )
        values["halve"] = False
    values["image_size"], values["stride"] = _image_size(
        shapes, source, values["patch_size"], class_token, _sizes_to_try(input_size, image_size), notes
    )
    return VimConfig(**values), notes


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
    # The rotary table leaves no room for a token in the middle.
    return ClassToken.FRONT if any(key.startswith("rope.") for key in shapes) else ClassToken.MIDDLE


def _sizes_to_try(
    input_size: int | None, image_size: tuple[int, int] | None
) -> list[tuple[tuple[int, int], str]]:
    """Image sizes that somebody named, in the order in which they are believed."""
    sizes = []
    if isinstance(input_size, int) and input_size > 0:
        sizes.append(((input_size, input_size), "the training arguments"))
    if image_size is not None:
        sizes.append((image_size, "the size asked for"))
    return sizes


def _image_size(
    shapes: Shapes,
    source: str,
    patch: int,
    class_token: ClassToken,
    named: list[tuple[tuple[int, int], str]],
    notes: list[str],
) -> tuple[tuple[int, int], int]:
    """Image size and stride whose grid has as many patches as the tensors have rows for."""
    patches = _patch_rows(shapes, source, class_token)
    if patches is None:
        size, origin = named[-1] if named else ((224, 224), "the published models")
        notes.append(
            f"no position embedding, so any image size fits: {_by(size)} from {origin}, stride {patch}."
        )
        return size, patch
    for stride in dict.fromkeys((patch, max(1, patch // 2))):
        for size, origin in named:
            if math.prod((side - patch) // stride + 1 for side in size) == patches and min(size) >= patch:
                notes.append(f"{patches} patches: image {_by(size)} with stride {stride}, from {origin}.")
                return size, stride
    side = math.isqrt(patches)
    if side * side != patches or not patches:
        raise CheckpointError(
            f"{source}: {patches} patch tokens (class token: {class_token.value}) are no square grid, so the "
            "image size cannot be told from the tensors; expected a square number. Give the image size or "
            "the configuration that the model was trained with."
        )
    # The published "+" models: 27 x 27 tokens at 224 pixels, overlapping patches.
    stride = 8 if (patches, patch) == (729, 16) else patch
    size = (patch + (side - 1) * stride,) * 2
    notes.append(
        f"{patches} patches: taken for a square image {_by(size)} with stride {stride}; other combinations "
        "have the same tensors."
    )
    return size, stride


def _patch_rows(shapes: Shapes, source: str, class_token: ClassToken) -> int | None:
    if "pos_embed" in shapes:
        return _dims(shapes, "pos_embed", 3, source)[1] - class_token.rows
    tables = [key for key in shapes if key.startswith("rope.")]
    return _dims(shapes, tables[0], 2, source)[0] if tables else None


def _use_name(config: VimConfig, name: str | None, notes: list[str]) -> None:
    """Confirm the untraceable choices by the name in the training arguments, or record that they are "
    "guesses."""
    registered = PRESETS.get(REGISTERED_NAMES.get(name or "", ""))
    if registered is not None:
        differing = differing_fields(
            config, registered.replace(image_size=config.image_size, num_classes=config.num_classes)
        )
        if not differing:
            notes.append(f"{name} according to its training arguments, and the tensors agree.")
            return
        notes.append(
            f"the training arguments say {name}, but the tensors differ in {differing}; tensors used."
        )
    elif name:
        notes.append(f"the training arguments name the model {name!r}, which is not a known name; not used.")
    notes.extend(_untraceable(config))


def _untraceable(config: VimConfig) -> Iterable[str]:
    """What leaves no trace in the tensors and therefore follows the published models."""
    if config.class_token is ClassToken.MIDDLE:
        yield "class token taken to be in the middle; one at the front has the same tensors."
    if config.class_token is ClassToken.NONE:
        yield "no class token: features are averaged over the tokens; other poolings have the same tensors."
    if config.halves_sum:
        yield "the sum of both directions is taken to be halved; the weights do not show it."
    if config.directions is Directions.FORWARD:
        yield "blocks run forward one after the other; paired directions have the same tensors."
    if config.rope:
        yield "rotary embedding is applied to the residual too; the weights do not show it."


def differing_fields(config: VimConfig, other: VimConfig) -> str:
    """'embed_dim (64, not 192), depth (...)': fields of `config` that differ from `other`; empty if none "
    "do."""
    return ", ".join(
        f"{field.name} ({_plain(mine)}, not {_plain(theirs)})"
        for field in dataclasses.fields(VimConfig)
        if (mine := getattr(config, field.name)) != (theirs := getattr(other, field.name))
    )


def _plain(value: Any) -> Any:
    return getattr(value, "value", value)


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _first(shapes: Shapes, ending: str) -> str:
    return next((key for key in shapes if key.endswith(ending) and _LAYER.match(key)), f"layers.0{ending}")


def _dims(shapes: Shapes, name: str, rank: int, source: str) -> tuple[int, ...]:
    shape = shapes.get(name)
    if shape is None:
        some = ", ".join(sorted(shapes)[:5]) or "none"
        raise CheckpointError(
            f"{source} holds no Vision Mamba classifier: the tensor {name} is missing among {len(shapes)} "
            f"tensors ({some}, ...). Expected the names of the reference implementation; give another "
            "checkpoint."
        )
    if len(shape) != rank or 0 in shape:
        raise CheckpointError(
            f"{source}: tensor {name} has shape {tuple(shape)}; expected {rank} dimensions, none of them "
            "zero. The file is damaged or belongs to another kind of model; give another checkpoint."
        )
    return tuple(shape)
