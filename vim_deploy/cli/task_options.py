"""The options of vim-infer that belong to one kind of model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vim_deploy.cli.common import with_options

if TYPE_CHECKING:
    from vim_deploy.tasks.segment.options import SegmentOptions

_FEATURES = ("arrays", "arrays_format")
_SEGMENT = (
    "maps", "overlays", "areas", "truth", "truth_values", "ignored", "scale", "stride", "tile", "max_memory",
)  # fmt: skip
_DETECT = ("overlays", "coco", "annotations", "score_threshold")

_OPTIONS = (
    click.option(
        "--arrays",
        type=click.Path(path_type=Path, file_okay=False),
        help="Features: folder for one file per image, in place of numbers in the rows.",
    ),
    click.option(
        "--arrays-format",
        type=click.Choice(("npy", "safetensors")),
        default="npy",
        show_default=True,
        help="Features: format of these files.",
    ),
    click.option(
        "--maps",
        type=click.Path(path_type=Path, file_okay=False),
        help="Segmenters: folder for label maps (PNG).",
    ),
    click.option(
        "--overlays",
        type=click.Path(path_type=Path, file_okay=False),
        help="Segmenters, detectors: folder for pictures of what was found over the images.",
    ),
    click.option(
        "--areas",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Segmenters: CSV table of the area of each class over all images; with --truth its IoU.",
    ),
    click.option(
        "--truth",
        type=click.Path(path_type=Path, file_okay=False),
        help="Segmenters: folder with the true label maps, named like the images; gives mIoU and pixel "
        "accuracy.",
    ),
    click.option(
        "--truth-values",
        type=click.Choice(("plain", "from-one")),
        help="What true label maps hold. plain: class numbers from 0. from-one: from 1, and 0 is not "
        "labelled.  [default: from-one for the classes of ADE20K, else plain]",
    ),
    click.option(
        "--ignore",
        "ignored",
        type=int,
        default=255,
        show_default=True,
        help="True value that is not labelled.",
    ),
    click.option(
        "--scale",
        help="Segmenters: LONGxSHORT that images are scaled to fit, or none.  [default: the network's size "
        "as the short side, four times that as the long one]",
    ),
    click.option(
        "--stride",
        type=click.IntRange(min=1),
        help="Segmenters: from window to window.  [default: 2/3 of one]",
    ),
    click.option(
        "--tile",
        is_flag=True,
        help="Segmenters: keep one image's windows row by row, for images of any height.",
    ),
    click.option(
        "--max-memory",
        default="4G",
        show_default=True,
        metavar="BYTES[K|M|G]",
        help="Segmenters: an image that needs more, by estimate, is a failure.",
    ),
    click.option(
        "--coco",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Detectors: file for the results in COCO's format, with masks.",
    ),
    click.option(
        "--annotations",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Detectors: COCO's annotations of the images; gives the average precision of boxes and masks.",
    ),
    click.option(
        "--score-threshold",
        type=click.FloatRange(min=0, max=1),
        help="Detectors: objects must have more.  [default: the file's]",
    ),
)


# `take_task_options` takes their values.
task_options = with_options(_OPTIONS)


def take_task_options(given: dict[str, Any]) -> dict[str, Any]:
    """What InferenceOptions has for the tasks; their values are no longer in `given`. Raises ConfigError."""
    from vim_deploy.tasks.detect.options import DetectOptions
    from vim_deploy.tasks.features.files import FeatureOptions

    of_tasks = {name: given.pop(name) for name in dict.fromkeys((*_FEATURES, *_SEGMENT, *_DETECT))}
    return {
        "features": FeatureOptions(of_tasks["arrays"], of_tasks["arrays_format"]),
        "segment": _segment_options(**{name: of_tasks[name] for name in _SEGMENT}),
        "detect": DetectOptions(**{name: of_tasks[name] for name in _DETECT}),
    }


def _segment_options(
    *, scale: str | None, max_memory: str, truth_values: str | None, **same: Any
) -> SegmentOptions:
    from vim_deploy.errors import ConfigError
    from vim_deploy.tasks.segment.ground_truth import Values
    from vim_deploy.tasks.segment.memory import bytes_of
    from vim_deploy.tasks.segment.options import SegmentOptions, scale_of

    memory = bytes_of(max_memory)
    if memory is None:
        raise ConfigError(f"--max-memory is {max_memory!r}; expected a number of bytes, like 4G or 512M.")
    return SegmentOptions(
        scale=None if scale is None else scale_of(scale),
        memory=memory,
        truth_values=Values(truth_values) if truth_values else None,
        **same,
    )
