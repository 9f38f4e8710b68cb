"""`load`: engines, ONNX files and checkpoints; pickling, forked processes, and the model's own attributes."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_segmenter import golden_segmenter
from PIL import Image
from small_detector import color_detector
from small_onnx import COLORS, color_model, save
from small_segmenter import color_segmenter

from vim_deploy import EngineError, Model, build, load
from vim_deploy.errors import CheckpointError, ConfigError
from vim_deploy.model import create_model, fill_synthetic, save_checkpoint

ROOT = Path(__file__).resolve().parents[2]
PIXELS = np.zeros((1, 3, 8, 8), np.float32)


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("VIM_DEPLOY_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    build(save(color_model(), Path("colors.onnx")), "colors.engine")
    return tmp_path


@pytest.fixture
def model() -> Iterator[Model[Any]]:
    with load("colors.engine", threads=1) as opened:
        yield opened


def checkpoint(path: str = "small.safetensors", **changes: Any) -> Path:
    small = create_model(
        "vim_tiny",
        **{
            "embed_dim": 16,
            "depth": 1,
            "image_size": (16, 16),
            "patch_size": 8,
            "stride": 8,
            "num_classes": 3,
            **changes,
        },
    )
    fill_synthetic(small, seed=1)
    save_checkpoint(small, path)
    return Path(path)


def test_the_model_describes_itself(model):
    assert (model.task, model.class_names) == ("classify", COLORS)
    assert repr(model) == (
        "Model('colors.engine', classify, 3 classes, input 3x8x8, batches of 1 or more, "
        "onnxruntime on cpu, fp32)"
    )
    model.close()
    assert repr(model).endswith("closed)")


def test_the_task_is_checked():
    load("colors.engine", task="classify").close()
    with pytest.raises(EngineError, match=r"colors\.engine is for the task classify, not segment"):
        load("colors.engine", task="segment")


def test_options_of_an_export_are_only_for_checkpoints():
    with pytest.raises(EngineError, match=r"colors.onnx is not a checkpoint.* omit class_names, precision"):
        load("colors.onnx", class_names=["a"], precision="fp16")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"score_threshold": 0.5},
            "'score_threshold' is not an option of the task classify, which has top_k",
        ),
        ({"topk": 5}, "'topk' is not an option"),
        ({"top_k": "many"}, "top_k is 'many'; expected 1 or more"),
        ({"top_k": 1.5}, "top_k is 1.5; expected 1 or more"),
        ({"top_k": True}, "top_k is True"),
        ({"top_k": 0}, "top_k is 0; expected 1 or more"),
    ],
)
def test_invalid_options_of_tasks(model, options, message):
    with pytest.raises(EngineError, match=message):
        model.predict(Image.new("RGB", (4, 4)), stream=True, **options)


def test_options_of_segmenters_and_detectors():
    build(save(color_segmenter(), Path("segment.onnx")), "segment.engine")
    build(save(color_detector(), Path("detect.onnx")), "detect.engine")
    image = Image.new("RGB", (40, 24), "red")
    with load("segment.engine") as segmenter:
        (first,) = segmenter.predict(image, scale="64x32", tile=True, max_memory="1G", stride=8)
        (second,) = segmenter.predict(image, scale=(64, 32), max_memory=1 << 30, stride=8)
        assert first == second
        with pytest.raises(EngineError, match="'maps' is an option of the command vim-infer for files"):
            segmenter.predict(image, maps=Path("maps"))
        with pytest.raises(EngineError, match="'ignore' is an option of the command"):
            segmenter.predict(image, ignore=3)
        for scale in (5, (5,), (5, -1), "wide"):
            with pytest.raises(EngineError, match=r"scale is .*; expected LONGxSHORT in pixels"):
                segmenter.predict(image, scale=scale)
        for memory in (0, -1, "much", True):
            with pytest.raises(EngineError, match=r"max_memory is .*; expected a number of bytes"):
                segmenter.predict(image, max_memory=memory)
        with pytest.raises(EngineError, match="a segmenter, which is given windows of an image; use predict"):
            segmenter.preprocess(image)
    with load("detect.engine") as detector:
        (found,) = detector.predict(image, score_threshold=0.5)
        assert found.labels == ("red",)
        with pytest.raises(EngineError, match="score_threshold is 'high'; expected 0 to 1"):
            detector.predict(image, score_threshold="high")
        pixels = detector.preprocess(image)
        assert pixels.shape == (1, 3, 32, 32)
        assert detector.run(pixels)["classes"].tolist() == [0]


def test_a_pickled_model_is_opened_from_its_file(model, inside, monkeypatch):
    (inside / "other").mkdir()
    monkeypatch.chdir("other")
    copy = pickle.loads(pickle.dumps(model))
    assert copy.path == str(inside / "colors.engine")
    assert copy.runner.threads == model.runner.threads == 1
    assert repr(copy) == repr(model)
    np.testing.assert_array_equal(copy.run(PIXELS)["logits"], model.run(PIXELS)["logits"])


def test_a_model_whose_file_changed_is_not_unpickled(model):
    pickled = pickle.dumps(model)
    build(save(color_model(class_names=("r", "g", "b")), Path("colors.onnx")), "colors.engine")
    with pytest.raises(EngineError, match=r"colors\.engine has changed since the model was pickled"):
        pickle.loads(pickled)


def test_a_closed_model_is_not_pickled(model):
    model.close()
    with pytest.raises(EngineError, match="is closed"):
        pickle.dumps(model)


def test_a_model_may_be_called_from_several_threads(model):
    expected = list(COLORS * 10)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda shade: top1(model, shade), expected)) == expected


def top1(model: Model[Any], shade: str) -> str:
    name: str = model.predict(Image.new("RGB", (4, 4), shade))[0].top1.name
    return name


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_model_works_in_other_processes(model, method):
    assert top1(model, "red") == "red"  # its threads run before the fork
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        futures = [pool.submit(top1, model, shade) for shade in COLORS * 2]
        assert [future.result(timeout=120) for future in futures] == [*COLORS, *COLORS]


def forked_run(model: Model[Any], queue: Any) -> None:
    queue.put(model.run(np.ones((4, 3, 8, 8), np.float32))["logits"])


def test_a_forked_process_inherits_a_model_that_works():
    """The process inherits the model itself, and opens its engine again: the threads are not inherited."""
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    with load("colors.engine", threads=4) as model:
        expected = model.run(np.ones((4, 3, 8, 8), np.float32))["logits"]
        process = context.Process(target=forked_run, args=(model, queue))
        process.start()
        np.testing.assert_array_equal(queue.get(timeout=120), expected)
        process.join(60)
        assert process.exitcode == 0
        np.testing.assert_array_equal(model.run(np.ones((4, 3, 8, 8), np.float32))["logits"], expected)


def test_a_checkpoint_is_exported_once(caplog):
    caplog.set_level(logging.INFO, "vim_deploy")
    path = checkpoint()
    with load(path, class_names=["a", "b", "c"]) as model:
        assert (model.task, model.class_names) == ("classify", ("a", "b", "c"))
        assert model.metadata.parity is not None
        assert model.metadata.checkpoint["source"] == "small.safetensors"
        expected = model.run(model.preprocess(Image.new("RGB", (20, 20), "red")))["logits"]
    (entry,) = Path("cache/exports").iterdir()
    written = entry.stat().st_ino
    caplog.clear()
    with load(path, class_names=["a", "b", "c"]) as model:
        found = model.run(model.preprocess(Image.new("RGB", (20, 20), "red")))["logits"]
    np.testing.assert_array_equal(found, expected)
    assert entry.stat().st_ino == written  # the same file
    assert not caplog.records
    load(path, task="features", features="tokens").close()
    checkpoint(num_classes=4)
    with load(path) as model:
        assert len(model.class_names) == 4
    assert len(list(Path("cache/exports").iterdir())) == 3


def test_a_cached_checkpoint_needs_no_pytorch():
    path = checkpoint()
    load(path).close()
    program = (
        "import sys; sys.modules['torch'] = None\n"
        f"import vim_deploy; model = vim_deploy.load({str(path)!r}); print(model)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "small.safetensors" in done.stdout


def test_the_task_of_a_checkpoint_is_found():
    path = Path("segmenter.safetensors")
    save_checkpoint(golden_segmenter(), path)
    with load(path) as model:
        assert model.task == "segment"
    with pytest.raises(CheckpointError, match="contains the weights of a segmenter"):
        load(path, task="classify")


def test_checkpoints_that_cannot_be_read():
    with pytest.raises(CheckpointError, match=r"none\.pth cannot be read: No such file"):
        load("none.pth")
    Path("bad.pth").write_bytes(b"text")
    with pytest.raises(CheckpointError, match=r"bad\.pth"):
        load("bad.pth")
    with pytest.raises(ConfigError, match="'output' is not an option of load"):
        load(checkpoint(), output="x.onnx")
    with pytest.raises(CheckpointError, match="not a valid hub name"):
        load("hf://nothing")


def test_a_checkpoint_on_the_hub(monkeypatch, inside):
    """The hub's client is replaced; the rest is the usual way from a name to a model."""
    huggingface_hub = pytest.importorskip("huggingface_hub", reason="hf:// needs huggingface_hub")
    place = inside / "snapshots" / "0123abc"
    place.mkdir(parents=True)
    checkpoint(str(place / "model.safetensors"))
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda repo, file, revision=None: str(place / file)
    )
    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda repo, revision=None: ["model.safetensors"])
    with load("hf://owner/small") as model:
        assert model.metadata.checkpoint["source"] == "hf://owner/small@0123abc/model.safetensors"
        assert repr(model).startswith("Model('hf://owner/small', classify, 3 classes")
        copy = pickle.loads(pickle.dumps(model))
        assert repr(copy) == repr(model)
