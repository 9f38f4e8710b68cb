"""The options of vim-export and vim-validate that select a model."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from vim_deploy.cli.common import Decorated, complete_files, with_options
from vim_deploy.families.family import AUTO, ModelSource
from vim_deploy.families.registry import families
from vim_deploy.options import ImageSize


def complete_models(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Shell completion of MODEL: the named models, "auto", and files."""
    names = [AUTO, *(name for family in families() for name in family.presets)]
    found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return found or complete_files(ctx, param, incomplete)


model_argument = click.argument("model", shell_complete=complete_models)


def model_options(image_size: str) -> Callable[[Decorated], Decorated]:
    """A decorator that adds them; `image_size` describes the default of --image-size."""
    options = [
        click.option(
            "--checkpoint",
            shell_complete=complete_files,
            help="Weights: a .pth or .safetensors file, or hf://owner/repo[/file].",
        ),
        click.option(
            "--checkpoint-key",
            type=click.Choice(("model", "model_ema")),
            default="model",
            help="Which weights of a training checkpoint to use.",
        ),
        click.option(
            "--image-size", type=ImageSize(), help=f"Input size, N or HEIGHTxWIDTH.  [default: {image_size}]"
        ),
        click.option(
            "--position-rule",
            type=click.Choice(("geometric", "reference")),
            default="geometric",
            help="How to resize the position embedding: keep the class token in its place, or follow the "
            "reference's fine-tuning.",
        ),
        click.option(
            "--num-classes",
            type=click.IntRange(min=0),
            help="Number of classes: checked for a checkpoint, chosen for synthetic weights.",
        ),
        click.option(
            "--average-directions/--no-average-directions",
            default=None,
            help="Average the outputs of the two scan directions, or sum them; the weights do not show "
            "which.  [default: from the configuration, else average]",
        ),
        click.option("--seed", type=int, default=0, help="Seed of synthetic weights."),
        click.option(
            "--factory",
            metavar="PACKAGE.MODULE:FUNCTION",
            help="Instead of MODEL: a Python function that returns the network (torch.nn.Module). It is "
            "imported and executed.",
        ),
        click.option(
            "--factory-args",
            multiple=True,
            metavar="NAME=VALUE",
            callback=_factory_args,
            help="Keyword argument of the factory, a Python literal or text; repeatable.",
        ),
    ]
    return with_options(options)


def _factory_args(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    pairs = [text.partition("=") for text in values]
    if wrong := next(
        (text for text, (name, sign, _) in zip(values, pairs, strict=True) if not (name and sign)), None
    ):
        raise click.BadParameter(f"{wrong!r}; expected NAME=VALUE.")
    return tuple((name, value) for name, _, value in pairs)


def model_source(name: str, options: Mapping[str, Any]) -> ModelSource:
    """The model called `name` with the values of `model_options`."""
    names = [item.name for item in fields(ModelSource) if item.name != "name"]
    return ModelSource(name, **{key: options[key] for key in names})


def model_files(name: str, options: Mapping[str, Any]) -> list[Path]:
    """The local files that the model called `name` is read from."""
    return [Path(text) for text in (name, options["checkpoint"] or "") if os.path.lexists(text)]


def model_names() -> str:
    """A paragraph of help with the named models of each kind."""
    lines = (f"  {family.kind}: {', '.join(family.presets)}" for family in families() if family.presets)
    return "\b\nNamed models:\n" + "\n".join(lines)
