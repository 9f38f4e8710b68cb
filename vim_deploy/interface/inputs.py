"""What `Model.predict` takes, as inputs of the pipeline; consumed lazily."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any, Protocol, TypeAlias

import numpy as np
from PIL import Image

from vim_deploy.data.arrays import image_of
from vim_deploy.data.decode import Limits, decode_pillow
from vim_deploy.data.discover import Discovery, Item
from vim_deploy.data.loading import Input
from vim_deploy.data.memory import (
    EncodedImage,
    ImageSource,
    InvalidImage,
    PillowImage,
    PixelImage,
    RemoteImage,
)
from vim_deploy.data.remote import check_fsspec
from vim_deploy.data.shards import is_shard
from vim_deploy.errors import ImageError, InputError
from vim_deploy.files import is_folder
from vim_deploy.storage import is_url


class Tensor(Protocol):
    """What is used of a `torch.Tensor`; PyTorch is not imported."""

    def detach(self) -> Any: ...

    def cpu(self) -> Any: ...


Array: TypeAlias = "np.ndarray[Any, Any]"
ImageLike: TypeAlias = (
    "str | os.PathLike[str] | Image.Image | Array | Tensor | bytes | bytearray | memoryview | IO[bytes]"
)
Source: TypeAlias = "ImageLike | Iterable[ImageLike]"

_EXPECTED = (
    "expected a path, URL, Pillow image, numpy array, torch tensor, bytes or binary file, or a list or "
    "generator of these"
)


def inputs_of(source: Source, limits: Limits) -> Iterator[Input]:
    """The inputs that a source stands for. An element is taken from an iterable when its input is requested.

    `limits` apply to images in memory; the loader applies its own to files.

    An image that is invalid becomes an input that cannot be decoded. Raises InputError at once for a source
    of another type, and when it is reached for an element of another type.
    """
    if _is_image(source):
        images = _single(source, "the source", limits)
        # Images in memory are read at once, folders are not.
        return images if isinstance(source, (str, os.PathLike)) else iter(list(images))
    if isinstance(source, Mapping) or not isinstance(source, Iterable):
        raise _unsupported("the source", source)
    return _each(source, limits)


def is_single_image(source: Source) -> bool:
    """Whether the source is one image, and neither a folder, a glob nor an iterable."""
    return _is_image(source) and not isinstance(source, (str, os.PathLike))


def single_image(source: ImageLike, limits: Limits) -> Input:
    """The input for one image. Raises InputError for anything else."""
    given = list(_single(source, "the image", limits)) if _is_image(source) else []
    if len(given) != 1:
        raise InputError(f"expected one image, not {_described(source)}; call preprocess for each image.")
    return given[0]


def array_of(values: Array | Tensor) -> Array:
    """A numpy array, or a tensor as one: it shares the memory of a CPU tensor. Raises InputError."""
    if isinstance(values, np.ndarray):
        return values
    if _is_tensor(values):
        tensor = values.detach().cpu()
        return _numpy(tensor)
    raise InputError(f"expected a numpy array or a torch tensor, not {_described(values)}.")


def _each(source: Iterable[Any], limits: Limits) -> Iterator[Input]:
    for number, element in enumerate(source):
        yield from _single(element, f"element {number} of the source", limits)


def _is_image(source: Any) -> bool:
    if isinstance(source, np.ndarray) or _is_tensor(source):
        return bool(source.ndim != 4)  # a batch is an iterable of images
    kinds = (str, os.PathLike, Image.Image, bytes, bytearray, memoryview)
    return isinstance(source, kinds) or hasattr(source, "read")


def _is_tensor(source: Any) -> bool:
    torch = sys.modules.get("torch")  # a tensor exists only if it was imported
    return torch is not None and isinstance(source, torch.Tensor)


def _single(given: Any, where: str, limits: Limits) -> Iterator[Input]:
    if isinstance(given, os.PathLike):
        yield from _paths(os.fsdecode(given))
    elif isinstance(given, str) and is_url(given):
        check_fsspec(given)
        yield RemoteImage(given)
    elif isinstance(given, str):
        yield from _paths(given)
    elif not _is_image(given):
        raise _unsupported(where, given)
    else:
        yield _in_memory(given, where, limits)


def _paths(path: str) -> Iterator[Input]:
    """A file, or the images in a folder, a shard or of a glob, as for `vim-infer`."""
    if is_folder(path) or is_shard(path):
        empty = True
        for item in Discovery([path]):
            empty = False
            yield item
        if empty:
            raise ImageError(f"no images found in {path!r}; give folders or files of images.")
    elif glob.has_magic(path) and not os.path.lexists(path):
        try:
            yield from Discovery([path])
        except ImageError as error:
            yield InvalidImage(str(error).rstrip("."), path)
    else:
        yield Item(path)


def _in_memory(given: Any, where: str, limits: Limits) -> ImageSource:
    """Whatever the caller may change or close before it is decoded is copied or decoded here."""
    try:
        if isinstance(given, Image.Image):
            # Images opened from a file are decoded later, unless they are loaded.
            lazy = getattr(given, "fp", None) is not None
            return PixelImage(decode_pillow(given, limits)) if lazy else PillowImage(given)
        if isinstance(given, np.ndarray):
            return PixelImage(image_of(given, limits.depth))
        if _is_tensor(given):
            return PixelImage(image_of(_channels_last(given), limits.depth))
    except ImageError as error:
        return InvalidImage(str(error))
    if isinstance(given, (bytes, bytearray, memoryview)):
        return EncodedImage(bytes(given))
    return _from_file(given, where)


def _from_file(file: Any, where: str) -> ImageSource:
    name = getattr(file, "name", None)
    name = name if isinstance(name, str) else None
    try:
        content = file.read()
    except (OSError, ValueError) as error:  # ValueError: it is closed
        return InvalidImage(f"cannot be read: {error}", name)
    if not isinstance(content, bytes):
        raise InputError(f"{where} is a file that is open as text; open it with mode 'rb'.")
    return EncodedImage(content, name)


def _channels_last(tensor: Any) -> Array:
    """(channels, height, width) or (height, width) as an array with channels last."""
    if tensor.ndim == 3 and tensor.shape[0] not in (1, 3, 4):
        shape = tuple(tensor.shape)
        advice = "; use tensor.permute(2, 0, 1)" if shape[2] in (1, 3, 4) else ""
        raise ImageError(
            f"the tensor has shape {shape}; expected (channels, height, width) with 1, 3 or 4 channels, or "
            f"(height, width){advice}"
        )
    values = _numpy(tensor.detach().cpu())
    return values.transpose(1, 2, 0) if values.ndim == 3 else values


def _numpy(tensor: Any) -> Array:
    # numpy has no bfloat16.
    values: Array = (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
    return values


def _described(given: object) -> str:
    name = type(given).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _unsupported(where: str, given: object) -> InputError:
    return InputError(f"{where} is {_described(given)}; {_EXPECTED}.")
