"""Rows of classifiers, which reports keep and actors of a cluster send."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
from small_engines import save_and_build
from small_onnx import color_model

from vim_deploy.data.discover import Item
from vim_deploy.data.loading import Loaded
from vim_deploy.engines.open import open_engine
from vim_deploy.tasks.open import open_task


def test_rows_do_not_have_the_probabilities_of_all_classes(tmp_path: Path):
    save_and_build(color_model(), tmp_path / "colors.onnx", tmp_path / "colors.engine")
    with open_engine(tmp_path / "colors.engine") as engine:
        task = open_task(engine, {}, ())
        shape = (3, *engine.metadata.preprocessing.image_size)
        pixels = np.full(shape, 0.5, np.float32)
        (prediction,) = task.predict([Loaded(Item("a.png"), size=(4, 3), pixels=pixels)], 1)
        row = task.row(prediction)
    assert prediction.result.probabilities.shape == (3,)
    assert row.result.probabilities is None and row.result.top == prediction.result.top
    assert len(pickle.dumps(row)) < 2000
