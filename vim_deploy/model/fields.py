"""The fields of configurations, which may come from untrusted files. Imports no framework."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Any

from vim_deploy.errors import ConfigError

LARGEST = 1 << 16  # of sizes without a limit of their own
LARGEST_SIDE = 16384  # of an image, in pixels
MAX_CLASSES = 1_000_000
_LONGEST = 64  # lists of numbers


def check_fields(config: Any, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Raises ConfigError for Booleans and numbers of the wrong type, and for numbers out of range.

    The type of a field is that of its default; an integer is valid for a float too. `ranges`: the smallest
    and largest value of each number; by default 1 to LARGEST.
    """
    for item in dataclasses.fields(config):
        kind, value = type(item.default), getattr(config, item.name)
        if kind not in (bool, int, float):
            continue
        if type(value) is not kind and (kind, type(value)) != (float, int):
            raise ConfigError(f"{item.name} is {value!r:.100}; expected {_NAMES[kind]}.")
        low, high = ranges.get(item.name, (1, LARGEST))
        if kind is not bool and not low <= value <= high:
            raise ConfigError(f"{item.name} is {value!r:.100}; expected {low} to {high}.")


_NAMES = {bool: "true or false", int: "an integer", float: "a number"}


def positive_numbers(name: str, values: Any) -> tuple[float, ...]:
    """A list of numbers above 0 as floats. Raises ConfigError."""
    if (
        not isinstance(values, (tuple, list))
        or len(values) > _LONGEST
        or not all(type(value) in (int, float) and 0 < value <= LARGEST for value in values)
    ):
        raise ConfigError(
            f"{name} has {values!r:.100}; expected at most {_LONGEST} positive numbers up to {LARGEST}."
        )
    return tuple(float(value) for value in values)


def pair_of_sides(value: Any) -> tuple[int, int]:
    """(height, width) in pixels, from one number or two. Raises ConfigError."""
    sides = (value, value) if type(value) is int else value
    if (
        not isinstance(sides, (tuple, list))
        or len(sides) != 2
        or not all(type(side) is int and 1 <= side <= LARGEST_SIDE for side in sides)
    ):
        raise ConfigError(
            f"image_size is {value!r:.100}; expected one number or (height, width), each 1 to {LARGEST_SIDE}."
        )
    return sides[0], sides[1]


def plain_fields(config: Any) -> dict[str, Any]:
    """The fields of a dataclass, those of nested ones included, as plain JSON types."""
    fields: dict[str, Any] = _plain(dataclasses.asdict(config))
    return fields


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.value if isinstance(value, Enum) else value


def field_names(kind: Any) -> set[str]:
    """The names of a dataclass's fields."""
    return {field.name for field in dataclasses.fields(kind)}


def check_names(kind: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raises ConfigError for names that are not known; `kind` is what the fields belong to."""
    if unknown := sorted(set(given) - set(known)):
        raise ConfigError(f"unknown {kind} fields {unknown}; expected fields of {sorted(known)}.")


def differing_fields(config: Any, other: Any) -> str:
    """The fields of a configuration that differ from another, like "embed_dim (64, not 192), depth (...)"."""
    return ", ".join(_differences(config.to_dict(), other.to_dict()))


def _differences(found: dict[str, Any], expected: dict[str, Any]) -> Iterator[str]:
    for key, value in found.items():
        if isinstance(value, dict):
            yield from _differences(value, expected.get(key, {}))
        elif value != expected.get(key):
            yield f"{key} ({value}, not {expected.get(key)})"
