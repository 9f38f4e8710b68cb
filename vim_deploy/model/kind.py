"""Recognition of the kind of model that a checkpoint contains, without PyTorch."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from vim_deploy.errors import CheckpointError


class Kind(str, Enum):
    """The kinds of model; the value is used in messages and by model families."""

    CLASSIFIER = "classifier"
    SEGMENTER = "segmenter"
    DETECTOR = "detector"


# The first kind with a marker in any tensor name. Markers are searched for anywhere in the name, because
# wrappers add prefixes.
_MARKERS = (
    (Kind.SEGMENTER, ("decode_head.", "auxiliary_head.")),
    (Kind.DETECTOR, ("roi_heads.", "proposal_generator.", "backbone.net.", "backbone.simfp_")),
    (Kind.CLASSIFIER, ("patch_embed.proj.weight",)),
)


class OtherKindError(CheckpointError):
    """A checkpoint of another kind of model than requested."""

    def __init__(self, source: str, found: Kind, expected: Kind) -> None:
        super().__init__(
            f"{source} contains the weights of a {found.value}; expected those of a {expected.value}. Give "
            f"the checkpoint of a {expected.value}."
        )
        self.found = found


def kind_of(names: Iterable[str]) -> Kind | None:
    """The kind of model with these tensor names, None for other tensors."""
    names = list(names)
    for kind, markers in _MARKERS:
        if any(marker in name for name in names for marker in markers):
            return kind
    return None


def check_kind(names: Iterable[str], expected: Kind, source: str) -> None:
    """Raises OtherKindError for tensor names of another kind; unknown names are accepted."""
    found = kind_of(names)
    if found not in (None, expected):
        raise OtherKindError(source, found, expected)
