"""The Python code in README.md runs, block by block in one program, as a user would paste it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from small_detector import color_detector, with_rectangles
from small_onnx import save
from small_segmenter import color_segmenter

import vim_deploy
from vim_deploy.model import create_model, fill_synthetic

README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.fixture
def files(tmp_path, monkeypatch) -> Path:
    """The files that the page names: synthetic weights of the right shapes, and small pictures."""
    monkeypatch.setenv("VIM_DEPLOY_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    model = create_model("vim_tiny")
    fill_synthetic(model, seed=0)
    torch.save({"model": model.state_dict()}, "vim_t_midclstok_76p1acc.pth")
    vim_deploy.build(save(color_segmenter(), Path("segmenter.onnx")), "segmenter.engine")
    vim_deploy.build(save(color_detector(), Path("detector.onnx")), "detector.engine")
    with_rectangles(Path("street.jpg"), (64, 48), {0: (8, 8, 32, 32), 1: (36, 10, 60, 40)})
    Image.new("RGB", (300, 200), "orange").save("cat.jpg")
    Path("photos").mkdir()
    Image.new("RGB", (250, 260), "teal").save("photos/sea.png")
    Path("photos/torn.png").write_bytes(b"not a picture")
    return tmp_path


@pytest.mark.slow
def test_the_python_page_runs(files, capsys):
    text = README.read_text(encoding="utf-8")
    page = text[text.index("\n## Python\n") : text.index("\n## Limits\n")]
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    names: dict[str, object] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"README.md, block {number}", "exec"), names)
    printed = capsys.readouterr().out
    assert "Model('vim_tiny.engine', classify, 1000 classes, input 3x224x224" in printed
    assert "photos/torn.png not an image" in printed
    assert "(1, 1000) 1000" in printed
    assert "(48, 64)" in printed and "(2, 48, 64)" in printed
    with Image.open("cat-classes.png") as picture:
        assert picture.width == 300 and picture.height > 200
