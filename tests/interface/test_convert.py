"""`vim_deploy.export` and `vim_deploy.build`: the same files as those of the commands, and errors."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from small_onnx import color_model, save

import vim_deploy
from vim_deploy import (
    ConfigError,
    EngineError,
    ExportError,
    ImageError,
    MissingDependencyError,
    OutputError,
)
from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.metadata import ModelMetadata

ROOT = Path(__file__).resolve().parents[2]
CONFIG = {"embed_dim": 16, "depth": 2, "image_size": [16, 16], "patch_size": 8, "stride": 8, "num_classes": 3}


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("VIM_DEPLOY_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("small.json").write_text(json.dumps(CONFIG))
    return tmp_path


def metadata_of(path: str) -> ModelMetadata:
    model = onnx.load(path)
    return ModelMetadata.from_props({item.key: item.value for item in model.metadata_props}, path)


def test_a_model_is_exported_and_built():
    result = vim_deploy.export(
        "small.json",
        output="small.onnx",
        image_size=(16, 24),
        class_names=["a", "b", "c"],
        preprocessing={**Preprocessing((16, 24)).to_dict(), "crop_ratio": 1.0},
        batch_size=2,
    )
    assert result.path == Path("small.onnx")
    assert any("synthetic weights" in note for note in result.notes)
    written = metadata_of("small.onnx")
    assert written == result.metadata
    assert written.class_names == ("a", "b", "c")
    assert (written.preprocessing.image_size, written.preprocessing.crop_ratio) == ((16, 24), 1.0)
    assert written.parity is not None and written.parity["images"] == "random"
    manifest = vim_deploy.build("small.onnx", "small.engine", threads=1, optimization="basic")
    assert manifest.source.name == "small.onnx"
    with vim_deploy.load("small.engine") as model:
        assert model.batch == 2 and model.manifest.options.threads == 1
        assert model.manifest == manifest


def test_options_of_tasks_and_files():
    Path("names.json").write_text('["x", "y", "z"]')
    vim_deploy.export(
        Path("small.json"), output=Path("a.onnx"), class_names="names.json", check=False, seed=4
    )
    vim_deploy.export("small.json", output="b.onnx", task="features", features="tokens", check=False, seed=4)
    assert metadata_of("a.onnx").class_names == ("x", "y", "z")
    assert metadata_of("a.onnx").checkpoint["seed"] == 4
    assert metadata_of("a.onnx").parity is None
    with vim_deploy.load("b.onnx", task="features") as model:
        assert model.output.shape[1:] == (5, 16)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"precision": "int4"}, ConfigError, "precision is 'int4'; expected one of fp32"),
        ({"batch_size": 0}, ConfigError, "batch_size is 0; expected 1 or more"),
        ({"image_size": 0}, ConfigError, "image_size is"),
        ({"position_rule": "other"}, ConfigError, "position_rule is 'other'; expected one of geometric"),
        ({"checkpoint_key": "ema"}, ConfigError, "checkpoint_key is 'ema'; expected one of model, model_ema"),
        ({"task": "classification"}, EngineError, "unknown task 'classification'"),
        ({"features": "tokens"}, EngineError, "features"),
        ({"class_names": ["one"]}, ExportError, "1 class name for a model with 3 classes"),
        ({"check": True, "check_images": "none"}, ImageError, "input 'none' does not exist"),
        ({"output": "missing/x.onnx"}, OutputError, r"output missing/x.onnx cannot be written: the folder"),
        ({"output": "small.json"}, OutputError, r"output small\.json is an input of this run"),
        ({"output": "names.txt"}, OutputError, r"names\.txt exists and is not an ONNX file"),
    ],
)
def test_invalid_exports(options, error, message):
    Path("names.txt").write_text("mine")
    with pytest.raises(error, match=message):
        vim_deploy.export("small.json", **{"output": "x.onnx", "check": False, **options})
    assert Path("names.txt").read_text() == "mine" and not Path("x.onnx").exists()


def test_invalid_builds():
    save(color_model(), Path("colors.onnx"))
    with pytest.raises(EngineError, match="'thread' is not an option of the backend onnxruntime, which has"):
        vim_deploy.build("colors.onnx", "x.engine", thread=3)
    with pytest.raises(EngineError, match="unknown backend 'openvino'"):
        vim_deploy.build("colors.onnx", "x.engine", backend="openvino")
    with pytest.raises(EngineError, match="threads is 0"):
        vim_deploy.build("colors.onnx", "x.engine", threads=0)
    with pytest.raises(EngineError, match="calibrate is 3; expected a path"):
        vim_deploy.build("colors.onnx", "x.engine", calibrate=3)
    with pytest.raises(EngineError, match="--calibrate is for --cpu-precision int8"):
        vim_deploy.build("colors.onnx", "x.engine", calibrate="photos")  # a path may be text
    with pytest.raises(EngineError, match="device is 'tpu'; expected one of cpu, cuda"):
        vim_deploy.build("colors.onnx", "x.engine", device="tpu")
    Path("mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="exists and is not"):
        vim_deploy.build("colors.onnx", "mine.txt")
    vim_deploy.build("colors.onnx", "mine.txt", force=True)
    vim_deploy.load("mine.txt").close()


def test_the_function_and_the_package_have_one_name():
    """Importing a module of the package `export` replaces the attribute; it can still be called."""
    importlib.import_module("vim_deploy.export.exporter")
    assert sys.modules["vim_deploy.export"] is vim_deploy.export
    vim_deploy.export("small.json", output="again.onnx", check=False)
    program = (
        "from vim_deploy import export; before = export\n"
        "import vim_deploy, vim_deploy.export.description\n"
        "for function in (before, vim_deploy.export):\n"
        "    try: function('small.json', output='none/x.onnx')\n"
        "    except vim_deploy.OutputError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}
    )
    assert done.stdout.count("cannot be written") == 2, done.stderr


def test_exports_without_pytorch_say_how_to_install_it(monkeypatch):
    monkeypatch.setattr(vim_deploy, "export", vim_deploy.export)  # the import below replaces it
    for name in [name for name in sys.modules if name.startswith("vim_deploy.export")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError, match=r"vim-deploy\[torch\]"):
        vim_deploy.export("small.json", output="x.onnx")
