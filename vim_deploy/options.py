"""Options that are declared once: dataclass fields that are also command-line options. No numpy."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field
from pathlib import Path
from typing import Any, Literal

import click
from click.types import BoolParamType, FloatParamType, IntParamType

from vim_deploy.errors import VimDeployError
from vim_deploy.output_files import FileKind, OutputFile
from vim_deploy.storage import StoragePath, is_url


class TextType(click.ParamType):
    """A type that is written as text. `expected`: what a value is, for errors."""

    expected: str


class RunPath(click.Path):
    """A path, or the URL of a file or folder in storage, as Path or StoragePath."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(path_type=Path, **settings)

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:
        if isinstance(value, StoragePath) or not (isinstance(value, str) and is_url(value)):
            return value if isinstance(value, StoragePath) else super().convert(value, param, ctx)
        try:
            return StoragePath(value)
        except VimDeployError as error:
            self.fail(str(error), param, ctx)


class ImageSize(click.ParamType):
    """`N` or `HEIGHTxWIDTH` in pixels, as (height, width)."""

    name = "size"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        sides = value.lower().split("x") if isinstance(value, str) else [str(side) for side in value]
        if len(sides) not in (1, 2) or not all(side.isdecimal() and int(side) > 0 for side in sides):
            self.fail(
                f"{value!r} is not a valid size; expected N or HEIGHTxWIDTH, such as 224 or 96x64.",
                param,
                ctx,
            )
        return int(sides[0]), int(sides[-1])


def option(
    default: Any = None,
    *,
    flag: str | None = None,
    recorded: bool = True,
    for_files: bool = False,
    pictures: bool = False,
    writes: FileKind | Literal["folder"] | None = None,
    **settings: Any,
) -> Any:
    """A dataclass field that is also a command-line option; `settings` are those of click.Option.

    `flag` None: `--NAME`. A Boolean that is true by default has a flag of the form "--name/--no-name".
    `recorded` False: the value does not change the result, and is left out of `to_record` and `to_words`.
    `for_files`: the option concerns the files of a run, like every path, and does not exist in Python.
    `pictures`: the option only changes pictures of predictions.
    `writes`: the value is the path of a file of this kind, or of a folder, that the run writes to. Other
    paths are inputs.
    """
    metadata = {
        "flag": flag,
        "recorded": recorded,
        "for_files": for_files,
        "pictures": pictures,
        "writes": writes,
        "settings": settings,
    }
    return field(default=default, metadata=metadata)


def flag_of(name: str) -> str:
    """The flag of a field that declares no other one."""
    return f"--{name.replace('_', '-')}"


def _flag(item: Field[Any]) -> str:
    return item.metadata.get("flag") or flag_of(item.name)


def click_option(item: Field[Any]) -> click.Option:
    """The command-line option of a field made with `option`; its parameter has the field's name."""
    settings = {
        "default": item.default,
        "is_flag": True if _type(item) is click.BOOL else None,
        **item.metadata["settings"],
    }
    return click.Option([_flag(item), item.name], **settings)


@dataclass(frozen=True)
class RunPaths:
    """The paths among the values of options: files that the run writes, folders that it writes to with the
    flags that name them, and inputs."""

    outputs: tuple[OutputFile, ...] = ()
    folders: tuple[tuple[str, Path], ...] = ()
    inputs: tuple[Path, ...] = ()


def paths_of(fields: Iterable[Field[Any]], values: Mapping[str, Any]) -> RunPaths:
    """The paths among `values`, which are given by field name."""
    outputs: list[OutputFile] = []
    folders: list[tuple[str, Any]] = []
    inputs: list[Any] = []
    for item in fields:
        path: Any = values.get(item.name)
        if not isinstance(path, (Path, StoragePath)):
            continue
        writes = item.metadata.get("writes")
        if writes is None:
            inputs.append(path)
        elif isinstance(writes, FileKind):
            outputs.append(OutputFile(_flag(item), path, writes))  # type: ignore[arg-type]
        else:
            folders.append((_flag(item), path))
    return RunPaths(tuple(outputs), tuple(folders), tuple(inputs))


def check_values(options: Any, error: type[VimDeployError]) -> None:
    """Raises `error` for a value that the command line would not accept."""
    for item in dataclasses.fields(options):
        value, kind = getattr(options, item.name), _type(item)
        if kind is None or (value is None and item.default is None):
            continue
        try:
            found = kind.convert(value, None, None)
            # The command line converts text; here the type has to be right.
            valid = found == value and (
                isinstance(value, (str, Path, StoragePath)) or type(found) is type(value)
            )
        except (click.UsageError, AttributeError, TypeError, ValueError):  # for values that are not text
            valid = False
        if not valid:
            raise error(f"{item.name} is {value!r:.100}; expected {_expected(kind)}.")


def converted(item: Field[Any], value: Any, error: type[VimDeployError]) -> Any:
    """A value given in Python, as the field's type; text is read only where the type is written as text.

    Raises `error` for a value that the command line would not accept.
    """
    kind = _type(item)
    if kind is None or (value is None and item.default is None):
        return value
    is_number = isinstance(kind, (IntParamType, FloatParamType, BoolParamType))
    try:
        found = kind.convert(value, None, None)
        readable = isinstance(value, str) and not is_number
        valid = readable or (found == value and isinstance(found, bool) == isinstance(value, bool))
    except (click.UsageError, AttributeError, TypeError, ValueError):  # for values that are not text
        valid = False
    if not valid:
        raise error(f"{item.name} is {value!r:.100}; expected {_expected(kind)}.")
    return found


def to_record(options: Any) -> dict[str, Any]:
    """The recorded values by name, as JSON types."""
    values = {item.name: getattr(options, item.name) for item in _recorded(options)}
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}


def from_record(kind: type[Any], record: Mapping[str, Any]) -> Any:
    """Reads `to_record`. Raises TypeError for names that `kind` does not have."""
    paths = {item.name for item in dataclasses.fields(kind) if isinstance(_type(item), click.Path)}
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
    for name in paths & values.keys():
        if isinstance(value := values[name], str):
            values[name] = Path(value)
    return kind(**values)


def to_words(options: Any) -> list[str]:
    """The command-line words that give the recorded values; defaults are left out."""
    words = []
    for item in _recorded(options):
        value = getattr(options, item.name)
        on, _, off = _flag(item).partition("/")
        if value == item.default:
            continue
        if isinstance(value, bool):
            words.append(on if value else off)
        else:
            words += [on, "x".join(map(str, value)) if isinstance(value, tuple) else str(value)]
    return words


def _recorded(options: Any) -> list[Field[Any]]:
    return [item for item in dataclasses.fields(options) if item.metadata.get("recorded")]


def _type(item: Field[Any]) -> click.ParamType | None:
    kind: click.ParamType | None = item.metadata.get("settings", {}).get("type")
    return click.BOOL if kind is None and isinstance(item.default, bool) else kind


def _expected(kind: click.ParamType) -> str:
    if isinstance(kind, click.Choice):
        return (
            f"one of {', '.join(map(str, kind.choices))}" if len(kind.choices) > 1 else str(kind.choices[0])
        )
    if isinstance(kind, (click.IntRange, click.FloatRange)):
        return f"{kind.min} or more" if kind.max is None else f"{kind.min} to {kind.max}"
    if isinstance(kind, TextType):
        return kind.expected
    names = {
        "boolean": "true or false",
        "path": "a path",
        "size": "two numbers of 1 or more",
        "integer": "an integer",
    }
    return names.get(kind.name, kind.name)
