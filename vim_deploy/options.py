"""Options that are declared once, as dataclass fields that are also command-line options."""

from __future__ import annotations

import dataclasses
from dataclasses import Field, field
from pathlib import Path
from typing import Any

import click

from vim_deploy.errors import VimDeployError


class ImageSize(click.ParamType):
    """`N` or `HEIGHTxWIDTH` in pixels, as (height, width)."""

    name = "size"

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> tuple[int, int]:
        sides = value.lower().split("x") if isinstance(value, str) else [str(side) for side in value]
        if len(sides) not in (1, 2) or not all(side.isdecimal() and int(side) > 0 for side in sides):
            self.fail(
                f"{value!r} is not a valid size; expected N or HEIGHTxWIDTH, like 224 or 96x64.",
                parameter,
                context,
            )
        return int(sides[0]), int(sides[-1])


def option(
    default: Any,
    flag: str,
    *,
    help: str,
    type: click.ParamType = click.BOOL,
    metavar: str | None = None,
    recorded: bool = True,
) -> Any:
    """A dataclass field that is set by `flag` on the command line.

    A Boolean that is true by default has a flag of the form "--name/--no-name". With `recorded` False the
    value is left out of `to_record` and `to_words`: it does not change the result.
    """
    declaration = {"flag": flag, "help": help, "type": type, "metavar": metavar, "recorded": recorded}
    return field(default=default, metadata=declaration)


def click_option(item: Field[Any]) -> click.Option:
    """The command-line option of a field made with `option`; its parameter has the field's name."""
    declared, default = item.metadata, item.default
    text = "" if default is None or isinstance(default, bool) else f"  [default: {default}]"
    return click.Option(
        [declared["flag"], item.name],
        type=declared["type"],
        is_flag=True if declared["type"] is click.BOOL else None,
        default=default,
        metavar=declared["metavar"],
        help=declared["help"] + text,
        show_default=False,
    )


def check_values(options: Any, error: type[VimDeployError]) -> None:
    """Raises `error` for a value that the command line would not accept."""
    for item in dataclasses.fields(options):
        value, kind = getattr(options, item.name), item.metadata.get("type")
        if kind is None or (value is None and item.default is None):
            continue
        try:
            found = kind.convert(value, None, None)
            # The command line converts text; a caller has to give the right type.
            valid = found == value and (isinstance(value, (str, Path)) or type(found) is type(value))
        except (click.UsageError, AttributeError, TypeError, ValueError):  # of values that are not text
            valid = False
        if not valid:
            raise error(f"{item.name} is {value!r:.100}; expected {_expected(kind)}.")


def to_record(options: Any) -> dict[str, Any]:
    """The recorded values by name, as JSON types."""
    return {item.name: getattr(options, item.name) for item in _recorded(options)}


def from_record(kind: type[Any], record: dict[str, Any]) -> Any:
    """Reads `to_record`. Raises TypeError for names that `kind` does not have or requires."""
    return kind(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
    )


def to_words(options: Any) -> list[str]:
    """The command-line words that give the recorded values; defaults are left out."""
    words = []
    for item in _recorded(options):
        value, (on, _, off) = getattr(options, item.name), item.metadata["flag"].partition("/")
        if value == item.default:
            continue
        if isinstance(value, bool):
            words.append(on if value else off)
        else:
            words += [on, "x".join(map(str, value)) if isinstance(value, tuple) else str(value)]
    return words


def _recorded(options: Any) -> list[Field[Any]]:
    return [item for item in dataclasses.fields(options) if item.metadata.get("recorded")]


def _expected(kind: click.ParamType) -> str:
    if isinstance(kind, click.Choice):
        return f"one of {', '.join(map(str, kind.choices))}" if len(kind.choices) > 1 else kind.choices[0]
    if isinstance(kind, click.IntRange):
        return f"{kind.min} or more" if kind.max is None else f"{kind.min} to {kind.max}"
    return {"boolean": "true or false", "size": "two numbers of 1 or more"}.get(kind.name, kind.name)
