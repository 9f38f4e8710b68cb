"""The digits example: the included weights and the training."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.model.checkpoint import load_model

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))

pytest.importorskip("sklearn", reason="the digits are part of scikit-learn (extra: examples)")

from digits_data import CLASS_NAMES, load_split  # noqa: E402
from write_digits import write_digits  # noqa: E402


def test_included_weights_reach_the_documented_accuracy(tmp_path):
    description = json.loads((EXAMPLES / "digits" / "digits.json").read_text())
    preprocessing = Preprocessing.from_dict(description["preprocessing"])
    model, loaded = load_model(EXAMPLES / "digits" / "digits.safetensors", num_classes=10)
    assert loaded.notes == ()
    count = write_digits(tmp_path)
    files = sorted(tmp_path.glob("*/*.png"))
    assert len(files) == count == description["held_out"]["images"]
    inputs = np.stack([preprocessing(Image.open(file)) for file in files])
    with torch.no_grad():
        predicted = model(torch.from_numpy(inputs)).argmax(dim=1)
    names = [description["class_names"][index] for index in predicted]
    reached = np.mean([name == file.parent.name for name, file in zip(names, files, strict=True)])
    assert reached == pytest.approx(description["held_out"]["accuracy"], abs=0.5 / count)
    assert reached >= 0.97


def test_included_weights_are_small():
    assert (EXAMPLES / "digits" / "digits.safetensors").stat().st_size < 1_000_000


def test_held_out_digits_are_not_in_the_training_set():
    training, held_out = load_split()
    assert not set(training.indices) & set(held_out.indices)
    assert len(training.indices) + len(held_out.indices) == 1797
    assert set(held_out.labels) == set(range(len(CLASS_NAMES)))
