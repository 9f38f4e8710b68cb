"""vim-inspect: engines, ONNX files and checkpoints, as text and as JSON, and files that are none of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import commands
import pytest
from changed_engine import changed_engine
from click.testing import Result
from small_engines import save_and_build
from small_onnx import COLORS, color_model, save

import vim_deploy
from vim_deploy.cli.inspect import main
from vim_deploy.files import sha256_of_file
from vim_deploy.metadata import PRODUCER

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits" / "digits.safetensors"
DETECTOR = DIGITS.parents[1] / "detector" / "detector.safetensors"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    save_and_build(color_model(), "colors.onnx", "colors.engine")


def inspect(*arguments: object) -> Result:
    return commands.invoke(main, *arguments)


def described(path: object) -> dict:
    result = inspect(path, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_an_engine():
    values = described("colors.engine")
    assert (values["kind"], values["path"]) == ("engine", "colors.engine")
    assert values["sha256"] == sha256_of_file("colors.engine")
    assert values["bytes"] == Path("colors.engine").stat().st_size
    assert (values["usable"], values["problem"]) == (True, None)
    model, manifest = values["model"], values["manifest"]
    assert (model["task"], model["class_names"], model["class_count"]) == ("classify", list(COLORS), 3)
    assert model["preprocessing"]["image_size"] == [8, 8]
    assert manifest["source"]["sha256"] == sha256_of_file("colors.onnx")
    assert set(manifest["environment"]) >= {"onnxruntime", "architecture"}
    assert manifest["self_check"]["max_abs_diff"] < 1e-4
    command = values["build_command"]
    assert command.startswith("vim-build colors.onnx -o colors.engine")
    text = inspect("colors.engine").stdout
    assert f"built with    {command}" in " ".join(text.split("\n")).replace(" " * 16, " ")
    assert "usable here   yes" in text
    assert "3 classes: red, green, blue" in text
    assert "not validated" in text
    assert max(map(len, text.splitlines())) <= 80


def test_an_engine_of_another_machine():
    other = changed_engine(Path("colors.engine"), environment={"instruction_set": "avx1024"})
    values = described(other)
    assert not values["usable"]
    assert "instruction_set is avx1024 in the engine" in values["problem"]
    assert "usable here   no: colors.engine cannot be used here" in inspect(other).stdout


def test_an_onnx_file():
    values = described("colors.onnx")
    assert values["kind"] == "onnx"
    assert values["graph"] == {
        "ir_version": 8,
        "opset": 17,
        "nodes": 2,
        "scans": 0,
        "inputs": [{"name": "pixels", "dtype": "float32", "shape": [None, 3, 8, 8]}],
        "outputs": [{"name": "logits", "dtype": "float32", "shape": [None, 3]}],
    }
    assert values["model"]["parity"] is None
    text = inspect("colors.onnx").stdout
    assert "NOT compared with the eager model" in text
    assert "pixels float32 (any, 3, 8, 8)" in text


def test_files_are_recognized_by_their_content():
    model = color_model()
    model.producer_name = PRODUCER
    save(model, Path("exported.onnx"))
    for name, kind in (("colors.engine", "engine"), ("exported.onnx", "onnx")):
        Path(name).rename("download")
        assert described("download")["kind"] == kind


def test_classes_without_names_are_counted():
    save(color_model(class_names=None), Path("numbers.onnx"))
    assert described("numbers.onnx")["model"]["class_count"] == 3
    assert "3 classes without names" in inspect("numbers.onnx").stdout


def test_a_network_that_takes_no_images():
    torch = pytest.importorskip("torch", reason="export_module needs PyTorch")
    vim_deploy.export_module(torch.nn.Tanh(), {"values": torch.zeros(2, 3)}, Path("raw.onnx"))
    vim_deploy.build("raw.onnx", "raw.engine")
    for name in ("raw.onnx", "raw.engine"):
        assert described(name)["model"]["task"] == "raw"
        text = inspect(name).stdout
        assert "values float32" in text and "preprocessing" not in text


@pytest.mark.parametrize(
    ("path", "family", "kind"), [(DIGITS, "vim", "classifier"), (DETECTOR, "cascade_vim", "detector")]
)
def test_a_checkpoint(path, family, kind):
    pytest.importorskip("torch", reason="reading checkpoints needs PyTorch")
    values = described(path)
    model = values["model"]
    assert (values["kind"], model["family"], model["kind"]) == ("checkpoint", family, kind)
    assert (model["class_count"], model["class_names"]) == (10, None)
    assert values["sha256"] == sha256_of_file(path)
    assert model["parameters"] > 50_000
    assert f"{kind} of the family {family}" in inspect(path).stdout


def test_a_checkpoint_without_pytorch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        f"from vim_deploy.cli.inspect import main; main([{str(DIGITS)!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "is read as a checkpoint, which needs torch" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.engine", None, "cannot be read: No such file or directory"),
        ("empty", b"", "is empty; give an engine"),
        ("text.txt", b"a text", "text.txt"),
        ("text.onnx", b"a text", "text.onnx"),
        ("damaged.engine", b"PK\x03\x04 and more", "is not an engine made by vim-build, or is truncated"),
        (".", None, "is a folder; give an engine"),
    ],
)
def test_other_files_are_user_errors(name, content, message):
    if content is not None:
        Path(name).write_bytes(content)
    result = inspect(name)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert result.stdout == ""
