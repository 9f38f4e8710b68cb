"""vim-infer from the command line."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import commands
import pytest
from PIL import Image
from small_engines import save_and_build
from small_onnx import COLORS, color_model, save

from vim_deploy.cli.infer import main
from vim_deploy.engines.build import build_engine

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch) -> Path:
    """A working folder with an engine and a labeled folder of 3 x 3 images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VIM_DEPLOY_CACHE", str(tmp_path / "cache"))
    save_and_build(color_model(), "colors.onnx", "colors.engine")
    for color in COLORS:
        Path("images", color).mkdir(parents=True)
        for index in range(3):
            Image.new("RGB", (10 + index, 9), color).save(Path("images", color, f"{index}.png"))
    return tmp_path


run = partial(commands.invoke, main)


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_on_stdout():
    result = run("colors.engine", "images")
    assert result.exit_code == 0, result.output
    found = rows(result.stdout)
    assert [row["path"] for row in found] == [
        f"images/{color}/{index}.png" for color in sorted(COLORS) for index in range(3)
    ]
    assert [row["top1"] for row in found] == [row["label"] for row in found] == sorted(COLORS * 3)
    assert found[1]["width"] == "11"
    assert float(found[0]["top1_probability"]) == pytest.approx(0.99991, abs=1e-4)
    assert set(found[0]) == {
        *("path", "status", "reason", "label", "rank", "width", "height", "flags"),
        *(f"top{place}{suffix}" for place in (1, 2, 3) for suffix in ("", "_probability")),
    }


def test_summary_with_accuracy():
    Image.new("RGB", (4, 4), "green").save("images/red/wrong.png")
    result = run("colors.engine", "images", "-o", "out.csv", "--json", "--quiet", "--batch-size", 4)
    assert result.exit_code == 0
    assert result.stderr == ""
    summary = json.loads(result.stdout)
    assert (summary["images"], summary["ok"], summary["failed"], summary["labeled"]) == (10, 10, 0, 10)
    assert summary["top1_accuracy"] == pytest.approx(0.9)
    assert summary["top5_accuracy"] == 1.0
    assert summary["images_per_second"] > 0


def test_failures_are_rows_and_exit_code_1():
    Path("images/red/bad.png").write_text("text")
    result = run("colors.engine", "images/red", "images/blue", "-o", "out.csv")
    assert result.exit_code == 1
    found = rows(Path("out.csv").read_text())
    assert [row["status"] for row in found] == ["ok"] * 3 + ["error"] + ["ok"] * 3
    assert "not an image" in found[3]["reason"]
    assert found[3]["top1"] == found[3]["width"] == ""
    assert "1 failed" in result.stderr


def test_formats_agree():
    parquet = pytest.importorskip("pyarrow.parquet")
    Path("images/red/bad.png").write_text("text")
    for name in ("out.csv", "out.jsonl", "out.parquet"):
        assert run("colors.engine", "images", "-o", name, "--top-k", 2).exit_code == 1
    as_csv = rows(Path("out.csv").read_text())
    as_json = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    as_parquet = parquet.read_table("out.parquet").to_pylist()
    assert len(as_csv) == len(as_json) == len(as_parquet) == 10
    for flat, nested, typed in zip(as_csv, as_json, as_parquet, strict=True):
        assert flat["path"] == nested["path"] == typed["path"]
        assert flat["status"] == nested["status"] == typed["status"]
        assert flat["label"] == nested["label"] == typed["label"]
        assert (flat["reason"] or None) == nested["reason"] == typed["reason"]
        if flat["status"] == "ok":
            assert int(flat["width"]) == nested["width"] == typed["width"]
            assert flat["top2"] == nested["top"][1]["class"] == typed["top2"]
            assert nested["top"][1]["probability"] == typed["top2_probability"]


def test_format_option_overrides_the_suffix():
    assert run("colors.engine", "images", "-o", "out.csv", "--format", "jsonl").exit_code == 0
    assert json.loads(Path("out.csv").read_text().splitlines()[0])["status"] == "ok"


def test_features():
    model = color_model(task="features", class_names=None)
    build_engine(save(model, Path("features.onnx")), "features.engine")
    assert run("features.engine", "images/red", "-o", "out.jsonl").exit_code == 0
    first = json.loads(Path("out.jsonl").read_text().splitlines()[0])
    assert first["features"] == pytest.approx([10, 0, 0], abs=1e-5)
    result = run("features.engine", "images/red")
    assert result.exit_code == 2
    assert "do not fit into CSV" in result.stderr
    assert run("features.engine", "images", "--labels", "folder", "-o", "out.jsonl").exit_code == 2
    parquet = pytest.importorskip("pyarrow.parquet")
    assert run("features.engine", "images/red", "-o", "out.parquet").exit_code == 0
    typed = parquet.read_table("out.parquet").to_pylist()
    assert typed[0]["features"] == pytest.approx([10, 0, 0], abs=1e-5)
    assert typed[0]["shape"] == [3]


def test_onnx_file_and_engine_give_the_same_rows():
    direct = run("colors.engine", "images")
    cached = run("colors.onnx", "images")
    assert cached.exit_code == 0
    assert cached.stdout == direct.stdout


def test_batch_size_and_workers_change_nothing():
    expected = run("colors.engine", "images").stdout
    for batch, workers in ((1, 1), (2, 3), (100, 2)):
        assert run("colors.engine", "images", "--batch-size", batch, "--workers", workers).stdout == expected


def test_labels_none_and_top_k():
    result = run("colors.engine", "images", "--labels", "none", "--top-k", 1)
    assert "accuracy" not in result.stderr
    assert {row["label"] for row in rows(result.stdout)} == {""}
    assert "top2" not in rows(result.stdout)[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("missing.engine", "images"), "cannot be read"),
        (("colors.engine", "missing"), "does not exist"),
        (("colors.engine", "images", "missing"), "does not exist"),
        (("colors.engine", "none"), "no images found in 'none' (0 other files)"),
        (("colors.engine",), "IMAGES"),
        (("colors.engine", "images", "-o", "out.xyz"), "does not end in one of"),
        (("colors.engine", "images", "-o", "no/out.csv"), "cannot be written"),
        (("colors.engine", "images", "-o", "images"), "--format"),
        (("colors.engine", "images", "-o", "images", "--format", "csv"), "is a folder"),
        (("colors.engine", "images", "--format", "parquet"), "standard output"),
        (("colors.engine", "images", "--json"), "give -o"),
        (("colors.engine", "images", "--device", "cuda"), "built for device cpu"),
        (("colors.engine", "images/red", "--labels", "sorted"), "one subfolder for each"),
        (("colors.engine", "images", "--source", "out.csv"), "source.sha256"),
        (("images/red/0.png", "images"), "neither an engine"),
    ],
)
def test_user_errors_exit_2_without_traceback(arguments, message):
    Path("none").mkdir()
    Path("out.csv").write_text("earlier results")
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert Path("out.csv").read_text() == "earlier results"
    assert not list(Path().glob("**/*.partial"))


def test_interrupted_run_keeps_its_rows_and_the_old_results(monkeypatch):
    earlier = "path,status,reason,earlier results\n"
    Path("out.csv").write_text(earlier)
    calls = []

    def stop(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments)

    from vim_deploy.tasks.classify.handler import ClassifyHandler

    original = ClassifyHandler.predict
    monkeypatch.setattr(ClassifyHandler, "predict", stop)
    result = run("colors.engine", "images", "-o", "out.csv", "--batch-size", 3)
    assert result.exit_code == 3
    assert Path("out.csv").read_text() == earlier
    assert len(rows(Path("out.csv.partial").read_text())) == 3
    assert "out.csv.partial" in result.stderr


def test_unusual_file_names():
    odd = [
        "new\nline.png",
        'quote",comma.png',
        "=1+1.png",
        b"latin\xe9.png".decode("utf-8", "surrogateescape"),
    ]
    Path("odd").mkdir()
    for name in odd:
        Path("odd/x.png").write_bytes(Path("images/red/0.png").read_bytes())
        Path("odd/x.png").rename(Path("odd", name))
    assert run("colors.engine", "odd", "-o", "out.csv").exit_code == 0
    assert run("colors.engine", "odd", "-o", "out.jsonl").exit_code == 0
    expected = sorted(name.replace("\udce9", "\\xe9").replace("\n", "\\x0a") for name in odd)
    assert sorted(row["path"][4:] for row in rows(Path("out.csv").read_text())) == expected
    lines = Path("out.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["path"][4:] for line in lines) == expected


def test_device_files_are_not_replaced(place):
    result = run("colors.engine", "images", "-o", "/dev/null", "--format", "csv")
    assert result.exit_code == 0, result.output
    assert Path("/dev/null").is_char_device()


def test_building_and_inference_without_torch(place):
    hook = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "safetensors", "onnxscript", "huggingface_hub"):
            raise ImportError(f"{name} must not be imported for inference")
sys.meta_path.insert(0, Refuse())
"""
    code = hook + (
        "from vim_deploy.cli import build, infer\n"
        "build.main(['colors.onnx', '-o', 'again.engine'], standalone_mode=False)\n"
        "infer.main(['again.engine', 'images'], standalone_mode=False)\n"
        "infer.main(['colors.onnx', 'images', '-o', 'x.csv'], standalone_mode=False)\n"
    )
    environment = {"PYTHONPATH": str(ROOT), "VIM_DEPLOY_CACHE": "cache", "PATH": ""}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    assert len(rows(result.stdout)) == 9


def test_closed_pipe_gives_no_traceback(place):
    code = "from vim_deploy.cli.infer import main; main()"
    command = [sys.executable, "-c", code, "colors.engine", *["images"] * 2000, "--quiet"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline().startswith("path,")
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(timeout=60) == 141
    assert "Traceback" not in errors
