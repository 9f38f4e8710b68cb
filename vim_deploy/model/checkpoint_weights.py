"""The contents of a checkpoint to a checked float32 state dict."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import torch

from vim_deploy.errors import CheckpointError
from vim_deploy.text import listed, plural

StateDict = dict[str, torch.Tensor]

_PREFIXES = ("module.", "_orig_mod.", "model.")
_STATE_DICT_KEYS = {"model": ("model", "state_dict"), "model_ema": ("model_ema", "state_dict_ema")}
_NAMES_SHOWN = 10


def select_state_dict(content: Any, wanted: str, source: str) -> tuple[Mapping[str, Any], str | None]:
    """The requested state dict, and its key in the file (None for a bare state dict).

    `wanted` is "model" (also stored as "state_dict", or bare) or "model_ema" (also "state_dict_ema").
    """
    if wanted not in _STATE_DICT_KEYS:
        raise CheckpointError(f"checkpoint key is {wanted!r}; expected one of {', '.join(_STATE_DICT_KEYS)}.")
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{source} contains a {type(content).__name__}; expected a state dict (names to tensors) or a "
            "training checkpoint. Save the weights again with torch.save(model.state_dict(), 'weights.pth')."
        )
    present = [str(key) for key, value in content.items() if _is_state_dict(value)]
    for key in _STATE_DICT_KEYS[wanted]:
        if key in present:
            return content[key], key
    if wanted == "model" and _is_state_dict(content):
        return content, None
    if _is_state_dict(content):
        present = ["model (the file is a bare state dict)"]
    keys = ", ".join(sorted(map(str, content))[:_NAMES_SHOWN]) or "nothing"
    raise CheckpointError(
        f"{source} has no weights with the key {wanted!r}. Its state dicts: {', '.join(present) or 'none'}; "
        f"all keys: {keys}. Choose an existing key, or give another checkpoint."
    )


def _is_state_dict(value: Any) -> bool:
    return isinstance(value, Mapping) and any(isinstance(item, torch.Tensor) for item in value.values())


def training_hints(content: Any) -> dict[str, Any]:
    """`model_name` and `input_size` from the arguments stored in a training checkpoint, if any."""
    arguments = content.get("args") if isinstance(content, Mapping) else None
    if isinstance(arguments, argparse.Namespace):
        arguments = vars(arguments)
    if not isinstance(arguments, Mapping):
        return {}
    name, size = arguments.get("model"), arguments.get("input_size")
    return {
        "model_name": name if isinstance(name, str) else None,
        "input_size": size if isinstance(size, int) else None,
    }


def clean(values: Mapping[str, Any], source: str) -> tuple[StateDict, list[str]]:
    """A float32 copy without prefixes of wrappers, and a note for every change.

    Raises CheckpointError for values other than dense floating-point tensors, and for NaN and infinity.
    """
    names, notes = _strip_prefixes(list(values))
    unfit = {name: reason for name, key in names.items() if (reason := _unfit(values[key]))}
    if unfit:
        raise CheckpointError(
            f"{source} contains values that are not weights: "
            f"{listed([f'{name} ({why})' for name, why in unfit.items()], _NAMES_SHOWN)}. Expected dense "
            "floating-point tensors; give the checkpoint before quantization or conversion."
        )
    _check_total(source, [values[key] for key in names.values()])
    kinds = sorted({str(values[key].dtype).removeprefix("torch.") for key in names.values()} - {"float32"})
    if kinds:
        count = sum(values[key].dtype != torch.float32 for key in names.values())
        notes.append(f"{count} of {len(names)} tensors converted from {', '.join(kinds)} to float32.")
    state = {name: values[key].detach().to(torch.float32, copy=True) for name, key in names.items()}
    _check_finite(state, source)
    return state, notes


def _strip_prefixes(keys: list[Any]) -> tuple[dict[str, Any], list[str]]:
    """Names without prefixes to keys in the file; a prefix is removed if all names have it."""
    names = {str(key): key for key in keys}
    notes = []
    while prefix := next((p for p in _PREFIXES if names and all(name.startswith(p) for name in names)), None):
        names = {name[len(prefix) :]: key for name, key in names.items()}
        notes.append(f"prefix {prefix!r} removed from all tensor names.")
    return names, notes


def _unfit(value: Any) -> str | None:
    if not isinstance(value, torch.Tensor):
        return type(value).__name__
    if value.device.type != "cpu":
        return f"on device {value.device.type}, without data"
    if value.layout is not torch.strided:
        return str(value.layout).removeprefix("torch.")
    return None if value.is_floating_point() else str(value.dtype).removeprefix("torch.")


def _check_total(source: str, tensors: list[torch.Tensor]) -> None:
    """A tensor with strides of zero can be any size without data, and a copy of it would need the memory."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage() for tensor in tensors}
    stored = sum(storage.nbytes() for storage in storages.values())
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if total > stored:
        raise CheckpointError(
            f"{source}: the tensors have {total} bytes, but the file stores only {stored} for them: they are "
            "expanded or share memory. Save contiguous copies of the weights."
        )


def _check_finite(state: StateDict, source: str) -> None:
    bad = {
        name: f"{int(tensor.isnan().sum())} NaN, {int(tensor.isinf().sum())} infinite of {tensor.numel()}"
        for name, tensor in state.items()
        if not bool(tensor.isfinite().all())
    }
    if bad:
        raise CheckpointError(
            f"{source}: {len(bad)} of {plural(len(state), 'tensor')} with values that are not finite: "
            f"{listed([f'{name} ({counts})' for name, counts in bad.items()], _NAMES_SHOWN)}. Expected "
            "finite weights; the training diverged or the file is damaged. Give an earlier checkpoint, or "
            "try the other checkpoint key (model, model_ema)."
        )


def check_fit(state: StateDict, expected: Mapping[str, tuple[int, ...]], source: str, described: str) -> None:
    """Raises CheckpointError unless names and shapes are the expected ones; `described` names the model."""
    missing = [name for name in expected if name not in state]
    unexpected = [name for name in state if name not in expected]
    wrong = [
        f"{name} (has {tuple(state[name].shape)}, expected {tuple(shape)})"
        for name, shape in expected.items()
        if name in state and tuple(state[name].shape) != tuple(shape)
    ]
    faults = (("missing", missing), ("unexpected", unexpected), ("of another shape", wrong))
    if not any(names for _, names in faults):
        return
    what = "; ".join(
        f"{len(names)} {fault}: {listed(names, _NAMES_SHOWN)}" for fault, names in faults if names
    )
    raise CheckpointError(
        f"{source} does not fit {described}. {what}. Nothing was loaded. Give the configuration that the "
        "weights were trained with, or a complete checkpoint of this model."
    )
