"""Arrays in files: .npz with one array per name, and .npy for networks with one input."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO, Protocol

import numpy as np

from vim_deploy.data.discover import Item
from vim_deploy.data.loading import Input, Loaded
from vim_deploy.errors import EngineError, InputError
from vim_deploy.files import open_regular

SUFFIXES = (".npz", ".npy")
_MAX_BYTES = 1 << 33  # of all arrays of a file, which may be compressed


class ArraySpec(Protocol):
    """An input of a network."""

    @property
    def name(self) -> str: ...

    def check(self, array: np.ndarray) -> None:
        """Raises EngineError unless the array has the input's type and shape."""


def is_array_file(path: str, name: str) -> bool:
    """Whether a file is taken from a folder."""
    return name.lower().endswith(SUFFIXES)


def read_arrays(path: str, inputs: Sequence[ArraySpec]) -> dict[str, np.ndarray]:
    """The arrays of a file, in the order of `inputs`. Objects in it are not executed or unpickled.

    Raises InputError for a file that cannot be read or that has other names, types or shapes.
    """
    try:
        with open_regular(path) as file:
            found = _read(file, inputs[0].name)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"not a readable .npz or .npy file ({error})") from None
    except MemoryError:
        raise InputError("not enough memory to read the arrays") from None
    names = [spec.name for spec in inputs]
    if set(found) != set(names):
        raise InputError(f"has the arrays {', '.join(found) or 'none'}; the model takes {', '.join(names)}")
    try:
        for spec in inputs:
            spec.check(found[spec.name])
    except EngineError as error:
        raise InputError(str(error).removesuffix(".")) from None
    return {name: found[name] for name in names}


def _read(file: BinaryIO, name: str) -> dict[str, np.ndarray]:
    loaded = np.load(file, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return {name: loaded}
    with loaded:
        size = sum(entry.file_size for entry in loaded.zip.infolist())
        if size > _MAX_BYTES:
            raise ValueError(f"{size} bytes of arrays, at most {_MAX_BYTES} are read")
        return {key: loaded[key] for key in loaded.files}


def encoded_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The content of an .npz file."""
    content = io.BytesIO()
    # Not numpy.savez, whose own arguments could have the names of outputs.
    with zipfile.ZipFile(content, "w") as archive:
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(values), allow_pickle=False)
    return content.getvalue()


class ArraysLoader:
    """Reads files in the calling thread; see `vim_deploy.data.loading.Loader`."""

    def __init__(self, inputs: Sequence[ArraySpec]) -> None:
        self._inputs = inputs

    def load_many(self, inputs: Sequence[Input]) -> Iterator[Loaded]:
        return map(self._load, inputs)

    def _load(self, given: Input) -> Loaded:
        assert isinstance(given, Item)
        try:
            return Loaded(given, arrays=read_arrays(given.path, self._inputs))
        except InputError as error:
            return Loaded(given, reason=str(error))

    def close(self) -> None:
        pass
