"""The command vim-export: files, messages and errors."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import commands
import numpy as np
import onnx
import pytest
from PIL import Image

import vim_deploy
from vim_deploy.cli.export import main
from vim_deploy.cli.infer import main as infer
from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.metadata import ModelMetadata
from vim_deploy.model import create_model, save_checkpoint
from vim_deploy.model.synthetic import fill_synthetic

pytest.importorskip("onnxruntime", reason="vim-export compares the file with onnxruntime")

SMALL = {"embed_dim": 32, "depth": 1, "image_size": [32, 48], "num_classes": 5}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    model = create_model("vim_tiny", **SMALL)
    fill_synthetic(model, seed=3)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_checkpoint(model, path)
    return path


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "small.json"
    path.write_text(json.dumps(SMALL))
    return path


run = partial(commands.invoke, main)


def metadata_of(path: Path) -> ModelMetadata:
    props = {item.key: item.value for item in onnx.load(str(path)).metadata_props}
    return ModelMetadata.from_props(props, str(path))


def test_exported_file_describes_the_checkpoint(checkpoint, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("ant\nbee\ncat\ndog\nelk\n")
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(3):
        pixels = np.random.default_rng(index).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{index}.png")
    output = tmp_path / "small.onnx"
    result = run(
        "auto", "--checkpoint", checkpoint, "--class-names", names, "--check-images", photos,
        "-o", output, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    metadata = metadata_of(output)
    assert json.loads(result.stdout)["metadata"] == json.loads(json.dumps(metadata.to_dict()))
    assert metadata.class_names == ("ant", "bee", "cat", "dog", "elk")
    assert metadata.checkpoint["source"] == "small.safetensors"
    assert len(metadata.checkpoint["sha256"]) == 64
    assert metadata.preprocessing.image_size == (32, 48)
    assert metadata.parity["images"] == "real"
    for way in ("library", "function_body"):
        assert metadata.parity[way]["images"] == 3
        assert 0 < metadata.parity[way]["relative"] < 2e-5
    assert "equal to the eager model on 3 real images" in result.stderr
    assert [path.name for path in tmp_path.glob("*.partial")] == []


def test_synthetic_weights_are_reported(config, tmp_path):
    result = run(config, "--seed", 7, "-o", tmp_path / "g.onnx")
    assert result.exit_code == 0, result.stderr
    assert metadata_of(tmp_path / "g.onnx").checkpoint == {
        "source": "synthetic", "sha256": None, "key": None, "seed": 7,
    }  # fmt: skip
    assert "predictions are meaningless" in result.stderr


def test_no_check_is_reported(config, tmp_path):
    result = run(config, "--no-check", "-o", tmp_path / "u.onnx")
    assert result.exit_code == 0, result.stderr
    assert metadata_of(tmp_path / "u.onnx").parity is None
    assert "NOT compared" in result.stderr


def test_other_image_size_resizes_the_position_embedding(checkpoint, tmp_path):
    result = run("auto", "--checkpoint", checkpoint, "--image-size", "64x48", "-o", tmp_path / "r.onnx")
    assert result.exit_code == 0, result.stderr
    assert metadata_of(tmp_path / "r.onnx").config["image_size"] == [64, 48]
    assert "position embedding" in result.stderr


def test_a_file_that_disagrees_is_deleted(config, tmp_path, monkeypatch):
    import vim_deploy.export.exporter as export_run

    def broken(task, **options):
        graph = to_onnx(task, **options)
        for node in graph.graph.node:
            for attribute in node.attribute:
                if attribute.name == "reverse":
                    attribute.i = 0
        return graph

    to_onnx = export_run.to_onnx
    monkeypatch.setattr(export_run, "to_onnx", broken)
    result = run(config, "-o", tmp_path / "b.onnx")
    assert result.exit_code == 2
    assert "disagrees with the eager model" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["small.json"]


def preprocessing_files(folder):
    """A file for another image size, one that lacks a field, and one with an unknown field."""
    values = Preprocessing((64, 48)).to_dict()
    contents = {
        "wide": values,
        "short": {name: value for name, value in values.items() if name != "crop_ratio"},
        "long": {**values, "crop_pct": 0.9},
    }
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps({"preprocessing": content}))
    return {name: folder / f"{name}.json" for name in contents}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["vim_huge"], "unknown model 'vim_huge'; did you mean vim_base? Models of this task are vim_tiny, "),
        (["vim-tiny"], "unknown model 'vim-tiny'; did you mean vim_tiny?"),
        (["upernet-vim-tiny"], "did you mean upernet_vim_tiny?"),
        (["{checkpoint}"], "is not the name of a model but of a checkpoint; give 'auto' as the model"),
        (["hf://a/b"], "with --checkpoint hf://a/b"),
        (["{config}", "--features", "pooled"], "--features: only for models of the task features"),
        (["{config}", "--preprocessing", "{wide}"], "for images of 64x48, but the model takes 32x48"),
        (["{config}", "--preprocessing", "{short}"], "short.json: preprocessing lacks crop_ratio; expected"),
        (["{config}", "--preprocessing", "{long}"], "preprocessing has unknown fields crop_pct; expected"),
        (["auto"], "needs --checkpoint"),
        (["vim_tiny", "--checkpoint", "nowhere.pth"], "nowhere.pth does not exist"),
        (
            ["vim_tiny", "--checkpoint", "{checkpoint}"],
            "is not a vim_tiny: its tensors are those of a custom model, which differs in embed_dim (32, not "
            "192)",
        ),
        (
            ["auto", "--checkpoint", "{checkpoint}", "--num-classes", "7"],
            "has 5 classes, but 7 were requested",
        ),
        (["{config}", "--class-names", "{config}"], "has no class names"),
        (["{config}", "--image-size", "8"], "smaller than patch_size 16"),
        (["{config}", "--image-size", "1x2x3"], "is not a valid size"),
        (["{config}", "--check-images", "{empty}"], "no images found in"),
        (["{config}", "--check-images", "{config}"], "small.json: not an image"),
        (["broken.json"], "cannot read broken.json"),
        (
            ["{config}", "--task", "segment"],
            "small.json is not a valid segmenter configuration: unknown segmenter fields",
        ),
        (["{config}", "--task", "detect"], "small.json is not a valid detector configuration"),
        (["{config}", "-o", "{empty}/no/such/folder/x.onnx"], "does not exist; create it first"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_user_errors_exit_with_2_and_say_what_to_do(arguments, message, checkpoint, config, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    places = {"checkpoint": checkpoint, "config": config, "empty": empty, **preprocessing_files(tmp_path)}
    result = run("-o", tmp_path / "x.onnx", *(text.format(**places) for text in arguments))
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "x.onnx").exists()


def test_an_image_size_on_the_command_line_replaces_that_of_the_preprocessing(config, tmp_path):
    wide = preprocessing_files(tmp_path)["wide"]
    output = tmp_path / "x.onnx"
    result = run(config, "--image-size", "32x64", "--preprocessing", wide, "--no-check", "-o", output)
    assert result.exit_code == 0, result.stderr
    assert metadata_of(output).preprocessing.image_size == (32, 64)
    assert "note: the preprocessing's image_size 64x48 is replaced by 32x64" in result.stderr


def test_unused_pixels_are_reported(config, tmp_path):
    result = run(config, "--image-size", "33x48", "--no-check", "-o", tmp_path / "x.onnx")
    assert "does not use the last 1 row and 0 columns of pixels; --image-size 32x48" in result.stderr
    result = run(config, "--image-size", "32x64", "--no-check", "-o", tmp_path / "x.onnx")
    assert result.exit_code == 0 and "does not use" not in result.stderr


def test_an_output_that_cannot_be_written_is_found_before_the_model_is_opened(config, monkeypatch):
    # In /proc, the permissions allow root to create files, but the file system does not.
    import vim_deploy.export.exporter as export_run

    monkeypatch.setattr(export_run, "open_export_model", None)
    result = run(config, "-o", "/proc/x.onnx")
    assert result.exit_code == 2
    assert "-o /proc/x.onnx cannot be written" in result.stderr


def test_a_file_name_may_have_the_maximum_length(config, tmp_path):
    output = tmp_path / f"{'n' * 250}.onnx"
    assert run(config, "--no-check", "-o", output).exit_code == 0
    assert [path.name for path in tmp_path.glob("n*")] == [output.name]


def thousand_classes(folder):
    path = folder / "thousand.json"
    path.write_text(json.dumps({**SMALL, "num_classes": 1000}))
    return path


def test_1000_classes_get_the_names_of_imagenet(tmp_path):
    output = tmp_path / "x.onnx"
    result = run(thousand_classes(tmp_path), "--no-check", "-o", output)
    assert result.exit_code == 0, result.stderr
    assert "note: 1000 classes without names are assumed to be those of ImageNet-1k" in result.stderr
    metadata = metadata_of(output)
    assert metadata.class_names[:2] == ("tench", "goldfish")
    assert metadata.class_names_source == "assumed: ImageNet-1k"
    image = tmp_path / "image.png"
    Image.new("RGB", (60, 40), "teal").save(image)
    inferred = commands.invoke(infer, output, image)
    assert inferred.exit_code == 0 and "class names are assumed: ImageNet-1k" in inferred.stderr


def test_given_names_replace_those_of_imagenet(tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"name {index}" for index in range(1000)))
    result = run(thousand_classes(tmp_path), "--class-names", names, "--no-check", "-o", tmp_path / "x.onnx")
    assert result.exit_code == 0 and "assumed" not in result.stderr
    metadata = metadata_of(tmp_path / "x.onnx")
    assert (metadata.class_names[999], metadata.class_names_source) == ("name 999", "given")


def test_features_of_a_model_with_1000_classes_have_no_names(tmp_path):
    output = tmp_path / "x.onnx"
    result = run(thousand_classes(tmp_path), "--task", "features", "--no-check", "-o", output)
    assert result.exit_code == 0 and "assumed" not in result.stderr
    assert (metadata_of(output).class_names, metadata_of(output).class_names_source) == (None, None)


def test_class_names_must_fit_the_head(config, tmp_path):
    names = tmp_path / "names.json"
    names.write_text('["one", "two"]')
    result = run(config, "--class-names", names, "-o", tmp_path / "x.onnx")
    assert result.exit_code == 2
    assert "2 class names for a model with 5 classes" in result.stderr


def test_help_needs_no_framework():
    code = (
        "import sys; from vim_deploy.cli.export import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "loaded = {'torch', 'onnx', 'numpy', 'onnxruntime'} & sys.modules.keys()\n"
        "sys.exit(f'{loaded} imported for --help' if loaded else 0)"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[2]
    )


def test_without_pytorch_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(vim_deploy, "export", vim_deploy.export)  # the import below replaces it
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("vim_deploy.export")]:
        monkeypatch.delitem(sys.modules, name)
    result = run("vim_tiny", "-o", tmp_path / "x.onnx")
    assert result.exit_code == 2
    assert (
        'the package torch is not installed; run `pip install "vim-deploy[torch]" --extra-index-url'
        in result.stderr
    )
