"""The facts about a model family. Importing this module imports no framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vim_deploy.errors import ConfigError
from vim_deploy.model.config import ModelConfig

AUTO = "auto"
FACTORY = "factory"  # the family of networks that a function of the user builds


@dataclass(frozen=True)
class ModelSource:
    """The model to open, and where its weights come from.

    `name` is a named model, a JSON file with a configuration, or the name of a family, which takes the
    configuration from the checkpoint; "auto" is the first family for the task. Without `checkpoint`, weights
    are generated from `seed`. `checkpoint_key` selects the weights of a training checkpoint, `position_rule`
    how position embeddings are resized. None leaves the other values as trained or configured. `factory`:
    "package.module:function" that returns the network, called with `factory_args`; `name` is then FACTORY.
    """

    name: str
    checkpoint: str | None = None
    checkpoint_key: Literal["model", "model_ema"] = "model"
    image_size: tuple[int, int] | None = None
    num_classes: int | None = None
    average_directions: bool | None = None
    position_rule: Literal["geometric", "reference"] = "geometric"
    seed: int = 0
    factory: str | None = None
    factory_args: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Family:
    """A model with its configuration, checkpoint reader and named variants.

    Fields that contain "module:name" are imported when a model is opened.

    `kind`: which tasks can use it, see TaskSpec.model_kinds. `model`: the class that builds a model from a
    configuration; its instances are `vim_deploy.export.task.Network`s. `load`: a function of a checkpoint's
    path or hub name and the keywords `config` and those of ModelSource from `checkpoint_key` to
    `position_rule`; it returns the model in evaluation mode and a LoadedCheckpoint. `parse_config` reads the
    object in a JSON file. `presets`: named configurations; `aliases`: other names of presets. `name_of`: the
    preset of a configuration, whatever its image size and number of classes, or "custom".
    `exported_config`: the part of a configuration that describes the exported model. `class_names`: those of
    `dataset`, used for models with as many classes and without names. `crop_ratio`: of the preprocessing.
    `notes_of`: what users should know about a configuration. `parts` and `probes` are functions for
    `vim-validate --layers`: from a model to its parts (see `vim_deploy.families.parts`), and from its ONNX
    graph to the names of their outputs by part; without them, modules are compared by name.
    """

    name: str
    kind: str
    model: str
    load: str
    parse_config: Callable[[dict[str, Any]], ModelConfig]
    presets: Mapping[str, Any]  # ModelConfig by name
    name_of: Callable[[Any], str]
    aliases: Mapping[str, str] = field(default_factory=dict)
    exported_config: Callable[[Any], ModelConfig] = lambda config: config
    class_names: tuple[str, ...] = ()
    dataset: str = ""
    crop_ratio: float = 0.875
    notes_of: Callable[[Any], tuple[str, ...]] = lambda config: ()
    parts: str | None = None
    probes: str | None = None
    open: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The family's own name, and those of its named models with their aliases."""
        return (self.name, *self.presets, *self.aliases)

    def knows(self, name: str) -> bool:
        """Whether `name` is one of `names`."""
        return name in self.names

    def preset(self, name: str) -> Any:
        """The configuration of a named model. Raises ConfigError for an unknown name."""
        short = self.aliases.get(name, name)
        if short not in self.presets:
            raise ConfigError(
                f"unknown {self.kind} {name!r}; expected one of {', '.join(self.presets)}, or a JSON file."
            )
        return self.presets[short]
