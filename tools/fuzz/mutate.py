"""Mutations of the bytes of any file."""

from __future__ import annotations

import random
from collections.abc import Callable

_EXTREMES = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\x01")


def mutate(data: bytes, generator: random.Random, other: bytes = b"") -> bytes:
    """One to four mutations; some insert pieces of `other`."""
    for _ in range(generator.choice((1, 1, 1, 2, 4))):
        if data:
            data = generator.choice(_MUTATIONS)(data, generator, other)
    return data


def _place(data: bytes, generator: random.Random) -> int:
    # Headers are most sensitive, and only a small part of a file.
    limit = len(data) if generator.random() < 0.5 else min(len(data), 200)
    return generator.randrange(limit)


def _flip_bit(data: bytes, generator: random.Random, other: bytes) -> bytes:
    place = _place(data, generator)
    return data[:place] + bytes([data[place] ^ (1 << generator.randrange(8))]) + data[place + 1 :]


def _extreme(data: bytes, generator: random.Random, other: bytes) -> bytes:
    place, width = _place(data, generator), generator.choice((1, 2, 4, 8))
    return data[:place] + generator.choice(_EXTREMES) * width + data[place + width :]


def _noise(data: bytes, generator: random.Random, other: bytes) -> bytes:
    place, width = _place(data, generator), generator.choice((1, 4, 16, 64))
    return data[:place] + generator.randbytes(width) + data[place + width :]


def _cut(data: bytes, generator: random.Random, other: bytes) -> bytes:
    return data[: _place(data, generator)]


def _remove(data: bytes, generator: random.Random, other: bytes) -> bytes:
    place = _place(data, generator)
    return data[:place] + data[place + generator.choice((1, 2, 4, 16, 256)) :]


def _insert(data: bytes, generator: random.Random, other: bytes) -> bytes:
    place = _place(data, generator)
    return data[:place] + generator.randbytes(generator.choice((1, 2, 4, 16, 256))) + data[place:]


def _repeat(data: bytes, generator: random.Random, other: bytes) -> bytes:
    place, width = _place(data, generator), generator.choice((2, 8, 64, 512))
    return data[:place] + data[place : place + width] * generator.choice((2, 3, 50)) + data[place + width :]


def _borrow(data: bytes, generator: random.Random, other: bytes) -> bytes:
    if not other:
        return _noise(data, generator, other)
    place, start = _place(data, generator), generator.randrange(len(other))
    width = generator.choice((4, 32, 256, len(other)))
    return data[:place] + other[start : start + width] + data[place + width :]


_MUTATIONS: tuple[Callable[[bytes, random.Random, bytes], bytes], ...] = (
    _flip_bit,
    _flip_bit,
    _extreme,
    _noise,
    _cut,
    _remove,
    _insert,
    _repeat,
    _borrow,
)
