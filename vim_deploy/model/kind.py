"""Which kind of model a checkpoint's tensor names belong to; needs no PyTorch."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from vim_deploy.errors import CheckpointError


class Kind(str, Enum):
    """What a checkpoint can be asked for; the value is how messages call it."""

    CLASSIFIER = "classifier"
    SEGMENTER = "segmenter"
    DETECTOR = "detector"

    @property
    def tasks(self) -> str:
        """What to give vim-export as --task."""
        return _TASKS[self]


_TASKS = {Kind.CLASSIFIER: "classify or features", Kind.SEGMENTER: "segment", Kind.DETECTOR: "detect"}
# The first whose mark occurs in a name; a wrapper's prefix may stand before it.
_MARKS = (
    (Kind.SEGMENTER, ("decode_head.", "auxiliary_head.")),
    (Kind.DETECTOR, ("roi_heads.", "proposal_generator.", "backbone.net.", "backbone.simfp_")),
    (Kind.CLASSIFIER, ("patch_embed.proj.weight",)),
)


def kind_of(names: Iterable[str]) -> Kind | None:
    """Told from tensor names alone; None for what is no Vision Mamba."""
    names = list(names)
    for kind, marks in _MARKS:
        if any(mark in name for name in names for mark in marks):
            return kind
    return None


def refuse_other_kind(names: Iterable[str], wanted: Kind, source: str) -> None:
    """Raises CheckpointError where `source` holds a model of another kind; names of no kind pass."""
    found = kind_of(names)
    if found not in (None, wanted):
        raise CheckpointError(
            f"{source} holds the weights of a {found.value}, and a {wanted.value} was asked for. Export it "
            f"with --task {found.tasks} and a model of that kind, or give the checkpoint of a {wanted.value}."
        )
