"""Predictions drawn on their images, for the rows that a report may show."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from PIL import Image

from vim_deploy.data.decode import Limits
from vim_deploy.data.original import OriginalImages
from vim_deploy.errors import ImageError
from vim_deploy.prediction import Prediction
from vim_deploy.report.pictures import Pictures, data_url
from vim_deploy.report.sample import WITH_DRAWINGS, Sample, Shown
from vim_deploy.results import Row
from vim_deploy.results.columns import Columns

Draw: TypeAlias = Callable[[Image.Image, Prediction], Image.Image]

SIDE = 640


class Drawings:
    """Draws predictions where they are computed, because rows do not contain label maps.

    `draw` draws one on its image; None: nothing is drawn. A run may have several of these, each for a part of
    its rows: a row that is in the sample of the whole run is in the sample of each part that contains it.
    """

    def __init__(self, columns: Columns, limits: Limits, draw: Draw | None) -> None:
        self._columns, self._draw = columns, draw
        self._sample = Sample(WITH_DRAWINGS)
        self._originals = OriginalImages(limits, (SIDE, SIDE))

    def pictures(self, number: int, row: Row, prediction: Prediction) -> Pictures | None:
        """None for a row that the report does not show, and for an image that cannot be decoded again.

        `number` increases in the order of the run's rows; rows may come in any order, and twice.
        """
        if self._draw is None or prediction.path is None:
            return None
        if not self._sample.add(Shown(number, row, self._columns.mistake(row))):
            return None
        try:
            image = self._originals.read(prediction.path, prediction.given)
        except ImageError:
            return None
        return Pictures(data_url(image), data_url(self._draw(image, prediction)))

    def __enter__(self) -> Drawings:
        return self

    def __exit__(self, *error: object) -> None:
        self._originals.close()
