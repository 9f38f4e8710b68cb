"""The classes of ImageNet-1k: synsets and names, in the order of a classifier's outputs.

`imagenet.txt` states the source and the licenses.
"""

from __future__ import annotations

from importlib.resources import files

DATASET = "ImageNet-1k"


def _read() -> tuple[tuple[str, str], ...]:
    lines = files("vim_deploy").joinpath("imagenet.txt").read_text("utf-8").splitlines()
    pairs = (line.partition("\t") for line in lines if not line.startswith("#"))
    return tuple((synset, name) for synset, _, name in pairs)


_CLASSES = _read()
SYNSETS: tuple[str, ...] = tuple(synset for synset, _ in _CLASSES)
IMAGENET_NAMES: tuple[str, ...] = tuple(name for _, name in _CLASSES)
