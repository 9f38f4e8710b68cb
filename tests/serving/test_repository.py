"""The model repositories that vim-build --triton writes."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import commands
import numpy as np
import pytest
from small_detector import color_detector
from small_exports import CLASSES, IMAGE_SIZE, small_export
from small_onnx import COLORS, color_model, save
from small_segmenter import color_segmenter

from vim_deploy.cli.build import main
from vim_deploy.engines.open import open_engine
from vim_deploy.serving import SERVER_BACKENDS

onnxruntime = pytest.importorskip("onnxruntime")
LIBRARY = "libvim_deploy_ort.so"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("small.onnx").write_bytes(small_export("fp32"))
    return tmp_path


run = partial(commands.invoke, main)


def built(*arguments: object) -> str:
    """The output of a build that succeeded."""
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stderr


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


IMAGE_MODEL = {"config.pbtxt", "labels.txt", "1/model.py", "1/network.json", "vim-build.json"}


@pytest.mark.parametrize(
    ("server_backend", "own"),
    [("python", {"1/model.py", "1/model.engine"}), ("onnxruntime", {"1/model.onnx", LIBRARY})],
)
def test_a_repository_has_a_model_for_tensors_and_one_for_images(place, server_backend, own):
    output = built("small.onnx", "--triton", "models", "--triton-backend", server_backend)
    assert "models: small and small_image in" in output
    common = {"config.pbtxt", "labels.txt", "README.md", "vim-build.json"}
    assert files(place / "models" / "small") == common | own
    assert files(place / "models" / "small_image") == IMAGE_MODEL
    assert (place / "models" / "small" / "labels.txt").read_text() == "".join(f"{name}\n" for name in CLASSES)


def test_the_python_backend_gets_the_engine_of_vim_build(place):
    built("small.onnx", "--triton", "models", "--name", "vim")
    with open_engine(place / "models" / "vim" / "1" / "model.engine") as engine:
        assert engine.manifest.build_info["fused"]
        assert engine.manifest.self_check["max_relative_diff"] < 1e-4


def test_onnxruntime_opens_the_model_as_the_server_does(place):
    """The steps of the backend: the options in the configuration, libraries by path, then the file."""
    built("small.onnx", "--triton", "models", "--triton-backend", "onnxruntime", "--threads", 1)
    folder = place / "models" / "small"
    config = (folder / "config.pbtxt").read_text()
    assert 'backend: "onnxruntime"' in config
    (library,) = re.findall(r'op_library_filename: \["(.*)"\]', config)
    assert library == str(folder / LIBRARY)
    (model,) = re.findall('default_model_filename: "(.*)"', config)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = 1
    options.register_custom_ops_library(library)
    session = onnxruntime.InferenceSession(
        str(folder / "1" / model), options, providers=["CPUExecutionProvider"]
    )
    assert (folder / "1" / model).read_bytes() == (place / "small.onnx").read_bytes()
    pixels = np.random.default_rng(1).standard_normal((3, 3, *IMAGE_SIZE), np.float32)
    with open_engine(place / "small.onnx") as engine:
        expected = engine.run(pixels)["logits"]
    np.testing.assert_allclose(session.run(None, {"pixels": pixels})[0], expected, rtol=0, atol=1e-5)


def test_the_library_is_named_by_its_path_on_the_server(place):
    arguments = ("small.onnx", "--triton", "models", "--triton-backend", "onnxruntime")
    built(*arguments, "--served-from", "/models")
    folder = place / "models" / "small"
    assert f'op_library_filename: ["/models/small/{LIBRARY}"]' in (folder / "config.pbtxt").read_text()
    assert "tritonserver --model-repository=/models\n" in (folder / "README.md").read_text()


def test_the_function_body_needs_no_library(place):
    built("small.onnx", "--triton", "models", "--triton-backend", "onnxruntime", "--no-library")
    assert LIBRARY not in files(place / "models" / "small")
    assert "model_operations" not in (place / "models" / "small" / "config.pbtxt").read_text()


def test_outputs_follow_from_the_task(place):
    save(color_segmenter(), place / "segmenter.onnx")
    save(color_detector(), place / "detector.onnx")
    for name in ("segmenter", "detector"):
        built(f"{name}.onnx", "--triton", "models")
    configs = {
        name: (place / "models" / name / "config.pbtxt").read_text()
        for name in ("segmenter", "segmenter_image", "detector", "detector_image")
    }
    assert re.findall(r'name: "(\w+)"\n  data_type: (\w+)\n  dims: (.*)', configs["segmenter_image"]) == [
        ("image", "TYPE_STRING", "[1]"),
        ("labels", "TYPE_UINT8", "[-1, -1]"),
    ]
    assert re.findall(r'name: "(\w+)"\n  data_type: (\w+)\n  dims: (.*)', configs["detector_image"]) == [
        ("image", "TYPE_STRING", "[1]"),
        ("boxes", "TYPE_FP64", "[-1, 4]"),
        ("scores", "TYPE_FP64", "[-1]"),
        ("classes", "TYPE_STRING", "[-1]"),
        ("indices", "TYPE_INT64", "[-1]"),
        ("masks", "TYPE_FP32", "[-1, -1, -1]"),
    ]
    # A detector takes one image per run, so the server does not add an axis or form batches.
    assert "max_batch_size: 0" in configs["detector"]
    assert "dims: [1, 3, 32, 32]" in configs["detector"]
    assert "dynamic_batching" not in configs["detector"]
    assert "max_batch_size: 32" in configs["segmenter"]
    assert "dynamic_batching" in configs["segmenter"]


def test_a_fixed_batch_size_is_part_of_the_shape(place):
    Path("four.onnx").write_bytes(small_export("fp32", batch=4))
    built("four.onnx", "--triton", "models")
    config = (place / "models" / "four" / "config.pbtxt").read_text()
    assert "max_batch_size: 0" in config
    assert "dims: [4, 3, 16, 32]" in config
    network = json.loads((place / "models" / "four_image" / "1" / "network.json").read_bytes())
    assert network["batches"] == [4, 4]


def test_building_again_replaces_only_unchanged_files(place):
    folder = place / "models" / "small"
    built("small.onnx", "--triton", "models", "--triton-backend", "onnxruntime")
    built("small.onnx", "--triton", "models")
    assert files(folder) & {LIBRARY, "1/model.onnx"} == set()  # those of the other backend are deleted
    config = folder / "config.pbtxt"
    edited = config.read_text().replace("count: 1", "count: 3")
    config.write_text(edited)
    result = run("small.onnx", "--triton", "models")
    assert result.exit_code == 2
    assert "config.pbtxt exists and is not an unchanged file of vim-build --triton" in result.stderr
    assert config.read_text() == edited
    built("small.onnx", "--triton", "models", "--force")
    assert "count: 1" in config.read_text()


def test_files_of_others_are_kept(place):
    folder = place / "models" / "small"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.py").write_text("mine")
    (folder / "notes.txt").write_text("mine")
    result = run("small.onnx", "--triton", "models")
    assert result.exit_code == 2
    assert "model.py exists and is not an unchanged file" in result.stderr
    assert files(place / "models") == {"small/1/model.py", "small/notes.txt"}
    built("small.onnx", "--triton", "models", "--force")
    assert (folder / "notes.txt").read_text() == "mine"


def test_an_interrupted_build_is_continued(place):
    """The record names the files before they are written."""
    built("small.onnx", "--triton", "models")
    record = place / "models" / "small" / "vim-build.json"
    values = json.loads(record.read_text())
    values["files"]["labels.txt"].append("0" * 64)
    record.write_text(json.dumps(values))
    built("small.onnx", "--triton", "models")
    assert all(len(hashes) == 1 for hashes in json.loads(record.read_text())["files"].values())


def test_a_record_cannot_name_files_outside_of_the_folder(place):
    built("small.onnx", "--triton", "models")
    outside = place / "models" / "outside.txt"
    outside.write_text("mine")
    record = place / "models" / "small" / "vim-build.json"
    values = json.loads(record.read_text())
    from vim_deploy.files import sha256_of_file

    for name in ("../outside.txt", str(outside)):
        values["files"][name] = [sha256_of_file(outside)]
    record.write_text(json.dumps(values))
    built("small.onnx", "--triton", "models")
    assert outside.read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Give either -o / --output or --triton"),
        (("-o", "x.engine", "--triton", "models"), "Give either -o / --output or --triton"),
        (("-o", "x.engine", "--name", "small"), "only valid with --triton"),
        (("--triton", "models", "--name", "../small"), "the model's name is '../small'"),
        (("--triton", "models", "--name", ""), "the model's name is ''"),
        (("--triton", "models", "--triton-backend", "tensorrt"), "needs --backend tensorrt, not onnxruntime"),
        (
            ("--triton", "models", "--triton-backend", "onnxruntime", "--cpu-precision", "bf16"),
            "use --triton-backend python",
        ),
        (("--triton", "small.onnx"), "small.onnx is not a folder"),
        (("--triton", "none/models"), "does not exist; create it first"),
    ],
)
def test_user_errors_exit_2_without_traceback(place, arguments, message):
    result = run("small.onnx", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr.replace("\n", " ")
    assert "Traceback" not in result.output
    assert files(place) == {"small.onnx"}


def test_json_is_the_manifest_of_the_engine(place):
    result = run("small.onnx", "--triton", "models", "--json", "--quiet")
    assert json.loads(result.stdout)["source"]["name"] == "small.onnx"


def test_models_of_one_repository_do_not_disturb_each_other(place):
    save(color_model(), place / "colors.onnx")
    built("small.onnx", "--triton", "models")
    built("colors.onnx", "--triton", "models")
    assert {path.name for path in (place / "models").iterdir()} == {
        "small", "small_image", "colors", "colors_image",
    }  # fmt: skip
    assert (place / "models" / "colors" / "labels.txt").read_text().split() == list(COLORS)


def test_every_backend_can_be_chosen():
    from vim_deploy.serving.artifacts import ARTIFACTS

    assert tuple(ARTIFACTS) == SERVER_BACKENDS
