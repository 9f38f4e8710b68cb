"""The command vim-build."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

import commands
import pytest
from small_onnx import color_model, save, scan_model

from vim_deploy.cli.build import main

run = partial(commands.invoke, main)


def test_builds_an_engine(tmp_path):
    model = save(scan_model(), tmp_path / "scan.onnx")
    result = run(model, "-o", tmp_path / "scan.engine")
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "operator library" in result.stderr
    assert (tmp_path / "scan.engine").is_file()


def test_json_is_the_manifest(tmp_path):
    model = save(scan_model(), tmp_path / "scan.onnx")
    result = run(
        model,
        "-o",
        tmp_path / "x",
        "--json",
        "--quiet",
        "--threads",
        1,
        "--optimization",
        "basic",
        "--no-library",
    )
    manifest = json.loads(result.stdout)
    assert result.stderr == ""
    assert manifest["backend"] == "onnxruntime"
    assert manifest["options"] == {
        "device": "cpu",
        "threads": 1,
        "optimization": "basic",
        "use_library": False,
        "fuse": True,
        "cpu_precision": "fp32",
        "calibrate": None,
    }
    assert manifest["operator"] == {"implementation": "function"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("missing.onnx", "-o", "x.engine"), "cannot be read"),
        (("model.onnx",), "--output"),
        (("model.onnx", "-o", "none/x.engine"), "does not exist"),
        (("model.onnx", "-o", "model.onnx"), "is an input of this run"),
        (("model.onnx", "-o", "x.engine", "--threads", "0"), "--threads"),
        (("model.onnx", "-o", "x.engine", "--backend", "abacus"), "abacus"),
        (("text.onnx", "-o", "x.engine"), "no metadata|is not an ONNX file"),
        (
            ("model.engine", "-o", "x.engine"),
            "is a zip file, such as an engine or a checkpoint;",
        ),
    ],
)
def test_user_errors_exit_2_without_traceback(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    save(color_model(), Path("model.onnx"))
    Path("text.onnx").write_text("some text")
    with zipfile.ZipFile("model.engine", "w") as archive:
        archive.writestr("manifest.json", "{}")
    result = run(*arguments)
    assert result.exit_code == 2
    assert any(part in result.stderr for part in message.split("|"))
    assert "Traceback" not in result.output
    assert not Path("x.engine").exists()


@pytest.mark.parametrize("command", ["build", "infer"])
def test_help_imports_nothing_heavy(command):
    code = (
        f"import sys; from vim_deploy.cli.{command} import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'numpy', 'PIL', 'rich', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2], capture_output=True
    )
