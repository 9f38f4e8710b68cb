"""The examples of the Python interface: an HTTP service, a DataLoader and a video."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from small_onnx import COLORS, color_model, save

import vim_deploy

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    vim_deploy.build(save(color_model(), Path("colors.onnx")), "colors.engine")
    Path("images").mkdir()
    for index in range(12):
        Image.new("RGB", (20, 30), COLORS[index % 3]).save(f"images/{index:02d}.png")
    Path("images/05.png").write_text("torn")
    return tmp_path


EXPECTED = [None if index == 5 else COLORS[index % 3] for index in range(12)]


def run(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / program), *arguments],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_a_data_loader_reads_images_in_workers(start_method):
    module = importlib.import_module("data_loader")
    paths = sorted(map(str, Path("images").iterdir()))
    found = list(module.classify("colors.engine", paths, workers=2, start_method=start_method))
    assert found == list(zip(paths, EXPECTED, strict=True))


def test_the_data_loader_is_a_program():
    lines = run("data_loader.py", "colors.engine", "images/00.png", "images/05.png").splitlines()
    assert lines[-2:] == ["images/00.png: red", "images/05.png: None"]


def test_the_frames_of_a_video_are_classified():
    shades = ["red"] * 20 + ["blue"] * 15 + ["red"] * 5
    first, *rest = [Image.new("RGB", (24, 16), shade) for shade in shades]
    for index, frame in enumerate([first, *rest]):
        frame.putpixel((index % 24, 0), (1, 2, 3))  # otherwise equal frames become one
    first.save("clip.gif", save_all=True, append_images=rest, duration=40)
    assert run("video_frames.py", "colors.engine", "clip.gif").splitlines() == [
        "frame 0: red",
        "frame 20: blue",
        "frame 35: red",
    ]


def test_the_service_answers_uploads(monkeypatch):
    for package in ("fastapi", "python_multipart"):
        pytest.importorskip(package, reason=f"the service needs {package} (extra: examples)")
    from fastapi.testclient import TestClient

    monkeypatch.setenv("VIM_ENGINE", "colors.engine")
    service = importlib.import_module("serve_http")
    image = Path("images/01.png").read_bytes()
    with TestClient(service.app) as client:
        described = client.get("/").json()
        assert (described["task"], described["classes"]) == ("classify", 3)
        answer = client.post("/predict", files={"image": ("a.png", image)})
        assert answer.status_code == 200
        with vim_deploy.load("colors.engine") as model:
            assert answer.json() == model.predict(image)[0].to_dict()
        torn = client.post("/predict", files={"image": ("a.png", b"torn")})
        assert torn.status_code == 422 and "not an image" in torn.json()["detail"]
        monkeypatch.setattr(service, "MAX_BYTES", 100)
        large = client.post("/predict", files={"image": ("a.png", bytes(101))})
        assert large.status_code == 413
