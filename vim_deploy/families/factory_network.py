"""Networks that a user's function builds, with the interface that tasks need."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vim_deploy.errors import CheckpointError, ConfigError, ExportError
from vim_deploy.families.family import FACTORY, ModelSource
from vim_deploy.families.open import OpenedModel
from vim_deploy.integrations.mamba_ssm import install
from vim_deploy.model.checkpoint_read import read_checkpoint
from vim_deploy.model.checkpoint_weights import check_fit, clean, select_state_dict
from vim_deploy.model.loading import locate

_DEFAULT_CONFIGS = ("default_cfg", "pretrained_cfg")


@dataclass(frozen=True)
class NetworkConfig:
    """What the metadata says about a network: the name of its factory or class, and its arguments."""

    name: str
    image_size: tuple[int, int]
    num_classes: int
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def adjusted(self, **changes: Any) -> NetworkConfig:
        known = {key: value for key, value in changes.items() if value is not None and hasattr(self, key)}
        return replace(self, **known)

    def to_dict(self) -> dict[str, Any]:
        return {
            "family": FACTORY,
            "name": self.name,
            "arguments": {key: repr(value) for key, value in self.arguments.items()},
            "image_size": list(self.image_size),
            "num_classes": self.num_classes,
        }


class ImageNetwork(nn.Module):
    """A network for images, (batch, channels, height, width), with what tasks ask of a model.

    `root`: where the user's network is; names in exported graphs are relative to it.
    """

    root = "network"

    def __init__(self, network: nn.Module, channels: int, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.network = network
        self.channels, self.image_size = channels, image_size
        self.num_classes = 0

    def forward(self, pixels: Tensor) -> Tensor:
        return _tensor(self.network(pixels), self.network)

    def forward_features(self, pixels: Tensor) -> Tensor:
        """What the network's own `forward_features` returns, or the network if it has none."""
        own = getattr(self.network, "forward_features", self.network)
        return _tensor(own(pixels), self.network)

    def pool(self, features: Tensor) -> Tensor:
        """(batch, embed): the mean over tokens, or over the positions of a feature map."""
        return features.mean({3: (1,), 4: (2, 3)}[features.dim()]) if features.dim() > 2 else features

    def feature_map(self, features: Tensor) -> Tensor:
        if features.dim() != 4:
            raise ExportError(
                f"the network's features have shape {tuple(features.shape)}; --features map needs (batch, "
                "embed, height, width). Use --features pooled or tokens."
            )
        return features

    def cast_weights(self, dtype: torch.dtype) -> None:
        raise ExportError(
            "only Vim's own models can be exported in reduced precision; use --precision fp32. vim-build can "
            "build the file with --precision fp16 for TensorRT, or --cpu-precision bf16."
        )


def build_network(source: ModelSource) -> tuple[nn.Module, dict[str, Any], list[str]]:
    """Call the factory, and load the checkpoint into the network: the network, its origin, and notes.

    Raises ConfigError or CheckpointError.
    """
    if source.factory is None:
        raise ConfigError("the model 'factory' needs --factory package.module:function.")
    arguments = _arguments(source)
    notes = _provide_missing()
    network = _call(source.factory, arguments)
    origin: dict[str, Any] = {"source": "factory", "sha256": None, "key": None, "seed": None}
    if source.checkpoint is not None:
        origin, loaded = load_weights(network, source)
        notes += loaded
    else:
        notes.append("no --checkpoint: the weights are those that the factory returned.")
    return network, origin, notes


def open_factory(source: ModelSource) -> OpenedModel:
    """The network of a factory, for images. Raises ConfigError or CheckpointError."""
    network, origin, notes = build_network(source)
    assert source.factory is not None
    return open_network(
        network,
        name=source.factory,
        image_size=source.image_size,
        arguments=_arguments(source),
        origin=origin,
        notes=tuple(notes),
    )


def open_network(
    network: nn.Module,
    *,
    name: str,
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
    arguments: Mapping[str, Any] | None = None,
    origin: Mapping[str, Any],
    notes: tuple[str, ...] = (),
) -> OpenedModel:
    """A network for images. Size, preprocessing and channels may come from a timm-style `default_cfg`."""
    known = _default_config(network)
    size = image_size or (known or {}).get("image_size")
    if size is None:
        raise ConfigError(f"{name} does not say for which image size it is; give --image-size.")
    channels = channels or (known or {}).get("channels", 3)
    model = ImageNetwork(network, channels, tuple(size)).eval()
    model.num_classes = _classes(model)
    if known is not None:
        known["image_size"] = tuple(size)
    config = NetworkConfig(name, model.image_size, model.num_classes, arguments or {})
    return OpenedModel(model, config, dict(origin), notes, None, known)


def load_weights(network: nn.Module, source: ModelSource) -> tuple[dict[str, Any], list[str]]:
    """Load a checkpoint into the network, strictly. Returns its origin for the metadata, and notes."""
    assert source.checkpoint is not None
    path, name = locate(source.checkpoint)
    raw = read_checkpoint(path)
    values, key = select_state_dict(raw.content, source.checkpoint_key, name)
    # Integers are counters and indices, not weights: the network keeps its own.
    state, notes = clean({key: value for key, value in values.items() if not _is_integer(value)}, name)
    own = {
        key: tuple(tensor.shape) for key, tensor in network.state_dict().items() if not _is_integer(tensor)
    }
    check_fit(state, own, name, f"the network of {source.factory}")
    network.load_state_dict(state, strict=False)
    return {"source": name, "sha256": raw.sha256, "key": key, "seed": None}, notes


def _arguments(source: ModelSource) -> dict[str, Any]:
    return {key: _literal(text) for key, text in source.factory_args}


def _is_integer(value: Any) -> bool:
    return isinstance(value, Tensor) and not value.is_floating_point() and not value.is_complex()


def _provide_missing() -> list[str]:
    """Provide mamba_ssm and causal_conv1d if they are not installed; returns a note if they were not."""
    if importlib.util.find_spec("mamba_ssm") is not None:
        return []
    install()
    return ["mamba_ssm is not installed: networks that import it get vim_deploy's functions."]


def _call(target: str, arguments: Mapping[str, Any]) -> nn.Module:
    """The network that the user's function returns. Its own errors are not caught: they are the user's."""
    module_name, colon, function_name = target.partition(":")
    if not (colon and module_name and function_name):
        raise ConfigError(f"--factory is {target!r}; expected package.module:function.")
    here = str(Path.cwd())
    if here not in sys.path:  # like `python -m`
        sys.path.insert(0, here)
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--factory {target}: {error}. Install the package, or run the command in the folder that has it."
        ) from None
    except AttributeError:
        raise ConfigError(f"--factory {target}: {module_name} has no {function_name}.") from None
    with contextlib.suppress(ValueError):  # some functions of other languages have no signature
        try:
            inspect.signature(function).bind(**arguments)
        except TypeError as error:
            raise ConfigError(f"--factory-args do not fit {target}: {error}.") from None
    network = function(**arguments)
    if not isinstance(network, nn.Module):
        raise ConfigError(f"{target} returned a {type(network).__name__}; expected a torch.nn.Module.")
    return network


def _literal(text: str) -> Any:
    """A Python literal, or the text itself."""
    with contextlib.suppress(ValueError, SyntaxError):
        return ast.literal_eval(text)
    return text


def _default_config(network: nn.Module) -> dict[str, Any] | None:
    """The fields of Preprocessing, and the image size, from a timm-style configuration; None without one."""
    for name in _DEFAULT_CONFIGS:
        found = getattr(network, name, None)
        if found is None:
            continue
        values = found if isinstance(found, Mapping) else vars(found)
        size, mean, std = (values.get(key) for key in ("input_size", "mean", "std"))
        if size is None or mean is None or std is None:
            continue
        return {
            "image_size": tuple(size[1:]),
            "channels": size[0],
            "mean": tuple(mean),
            "std": tuple(std),
            "crop_ratio": float(values.get("crop_pct") or 0.875),
        }
    return None


def _classes(model: ImageNetwork) -> int:
    """The size of the last axis of the outputs (batch, classes); 0 for outputs of another form."""
    try:
        with torch.inference_mode():
            found = model(torch.zeros(1, model.channels, *model.image_size))
    except (RuntimeError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"the network fails for an image of {model.channels} x {model.image_size}: {error}"
        ) from error
    return found.shape[1] if found.dim() == 2 else 0


def _tensor(found: Any, network: nn.Module) -> Tensor:
    if isinstance(found, Mapping) and isinstance(found.get("logits"), Tensor):
        found = found["logits"]
    if not isinstance(found, Tensor):
        raise ExportError(
            f"{type(network).__name__} returns a {type(found).__name__}; this task expects one tensor, or an "
            "object with `logits`. Use --task raw for networks with several outputs."
        )
    return found
