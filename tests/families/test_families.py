"""Model families: registration of a new one, and finding models by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import run
from extending.toy_family import ToyConfig, ToyMamba

from vim_deploy import load
from vim_deploy.cli import export
from vim_deploy.errors import ConfigError
from vim_deploy.families.registry import FAMILIES, families, find_family
from vim_deploy.metadata import ModelMetadata
from vim_deploy.model import fill_synthetic, save_checkpoint

pytest.importorskip("onnxruntime", reason="vim-export compares the file with onnxruntime")


@pytest.fixture
def toy():
    FAMILIES.register("toy_mamba", "extending.toy_family:FAMILY")
    yield
    FAMILIES.unregister("toy_mamba")


def metadata_of(path: Path) -> ModelMetadata:
    props = {item.key: item.value for item in onnx.load(str(path)).metadata_props}
    return ModelMetadata.from_props(props, str(path))


@pytest.mark.parametrize(("task", "shape"), [("classify", (2, 3)), ("features", (2, 16))])
def test_a_registered_classifier_family_works_with_the_tasks_for_classifiers(toy, tmp_path, task, shape):
    path = tmp_path / "toy.onnx"
    run(export, "toy_tiny", "--task", task, "-o", path)
    assert metadata_of(path).variant == "toy_tiny"
    with load(path) as engine:
        (output,) = engine.run(np.zeros((2, 3, 32, 32), np.float32)).values()
    assert output.shape == shape


def test_a_registered_family_reads_its_checkpoints(toy, tmp_path):
    model = ToyMamba(ToyConfig(width=5))
    fill_synthetic(model)
    save_checkpoint(model, tmp_path / "toy.safetensors")
    run(export, "toy_mamba", "--checkpoint", tmp_path / "toy.safetensors", "-o", tmp_path / "toy.onnx")
    metadata = metadata_of(tmp_path / "toy.onnx")
    assert (metadata.variant, metadata.config["width"]) == ("custom", 5)


def test_models_are_found_by_name_and_kind():
    assert find_family("vim_tiny", ("detector",)).name == "vim"
    assert find_family("cascade_vim", ("classifier",)).name == "cascade_vim"
    assert find_family("auto", ("segmenter",)).name == "upernet_vim"
    assert [family.name for family in families(("detector",))] == ["cascade_vim"]
    with pytest.raises(ConfigError, match="no model family of kind pose"):
        find_family("auto", ("pose",))


def test_presets_are_recognized_by_their_configuration():
    for family in families():
        for name, config in family.presets.items():
            assert family.name_of(family.parse_config(config.to_dict())) == name
