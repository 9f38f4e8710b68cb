"""The files of a run, their order and their labels."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from vim_deploy.data.discover import MAX_PATH_BYTES, Discovery
from vim_deploy.data.labels import by_folder
from vim_deploy.errors import ImageError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.PNG", "cat/2.webp", "cat/10.webp", "dog/x.gif", ".hidden/c.jpg", ".d.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"not looked into")
    (tmp_path / "notes.txt").write_text("text")
    Image.new("RGB", (2, 2)).save(tmp_path / "dog" / "nameless", format="PNG")
    return tmp_path


def found(*inputs: str | Path, classes: dict[str, int] | None = None) -> list[tuple[str, int | None]]:
    return [(Path(item.path).name, item.label) for item in Discovery(inputs, by_folder(classes or {}))]


def names(*inputs: str | Path) -> list[str]:
    return [name for name, _ in found(*inputs)]


def test_folder_is_searched_in_sorted_order(tree):
    discovery = Discovery([tree])
    assert [Path(item.path).relative_to(tree).as_posix() for item in discovery] == [
        "a.PNG",
        "b.jpg",
        "cat/10.webp",
        "cat/2.webp",
        "dog/nameless",
        "dog/x.gif",
    ]
    assert discovery.other_files == 1
    assert [item.path for item in discovery] == [item.path for item in Discovery([str(tree)])]


def test_files_are_used_independently_of_their_names(tree):
    assert names(tree / "notes.txt", tree / ".d.jpg", tree / "notes.txt") == [
        "notes.txt",
        ".d.jpg",
        "notes.txt",
    ]


def test_globs(tree):
    assert names(str(tree / "*.jpg")) == ["b.jpg"]
    assert names(str(tree / "**" / "*.webp")) == ["10.webp", "2.webp"]
    assert names(str(tree / "[cd]*")) == ["10.webp", "2.webp", "nameless", "x.gif"]


def test_an_existing_name_is_not_a_glob(tmp_path):
    for name in ("[1].jpg", "1.jpg"):
        (tmp_path / name).write_bytes(b"")
    assert names(tmp_path / "[1].jpg") == ["[1].jpg"]


@pytest.mark.parametrize(
    ("given", "message"), [("missing.jpg", "does not exist"), ("*.xyz", "matches no file")]
)
def test_missing_inputs_are_reported_first(tree, given, message):
    with pytest.raises(ImageError, match=message):
        next(iter(Discovery([tree, str(tree / given)])))


def test_link_cycles_are_skipped_and_reported(tree):
    (tree / "cat" / "up").symlink_to(tree)
    (tree / "more").symlink_to(tree / "dog")
    discovery = Discovery([tree])
    assert [Path(item.path).name for item in discovery][-2:] == [
        "nameless",
        "x.gif",
    ]  # through the link `more`
    assert len(discovery.notes) == 1
    assert "leads to a folder above it" in discovery.notes[0]


def test_broken_links_and_pipes_with_image_names_are_items(tmp_path):
    (tmp_path / "broken.jpg").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe")
    assert names(tmp_path) == ["broken.jpg", "pipe.png"]


def test_labels_are_the_folders_names(tree):
    assert found(tree, classes={"dog": 0, "cat": 1}) == [
        ("a.PNG", None),
        ("b.jpg", None),
        ("10.webp", 1),
        ("2.webp", 1),
        ("nameless", 0),
        ("x.gif", 0),
    ]


def test_paths_that_cannot_be_looked_up_are_items(tree, monkeypatch):
    (tree / "loop").symlink_to("loop")
    paths = [str(tree / ("x" * 300)), str(tree / "loop" / "a.jpg")]
    assert [item.path for item in Discovery(paths)] == paths
    listing = tree / "list"
    listing.write_text("\n".join(paths))
    with listing.open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert [item.path for item in Discovery(["-"])] == paths


def test_folders_may_be_nested_more_deeply_than_python_calls(tmp_path):
    depth = sys.getrecursionlimit() + 500
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(depth):
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(os.open("x.png", os.O_CREAT, dir_fd=here))
    finally:
        os.close(here)
    assert [item.path for item in Discovery([tmp_path])] == [f"{tmp_path}/{'d/' * depth}x.png"]
    with pytest.raises(ImageError, match="nested too deeply"):
        list(Discovery([f"{tmp_path}/**/*.png"]))
    # pytest cannot remove them.
    subprocess.run(["rm", "-r", tmp_path / "d"], check=True)


@pytest.mark.parametrize("end", [b"\n", b"\0"])
def test_the_length_of_a_listed_path_is_bounded(tmp_path, monkeypatch, end):
    listing = tmp_path / "list"
    listing.write_bytes(b"x" * 1_000_000 + end + b"y.png" + end + b"z" * 1_000_000)
    with listing.open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        found = [item.path for item in Discovery(["-"], null_separated=end == b"\0")]
    assert found == ["x" * MAX_PATH_BYTES, "y.png", "z" * MAX_PATH_BYTES]


@pytest.mark.parametrize("kind", ["closed", "folder"])
def test_unreadable_standard_input_is_an_error(tmp_path, monkeypatch, kind):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    stdin = None if kind == "closed" else SimpleNamespace(fileno=lambda: descriptor)
    monkeypatch.setattr(sys, "stdin", stdin)
    with pytest.raises(ImageError, match=r"standard input is closed|cannot be read: Is a directory"):
        list(Discovery(["-"]))
    os.close(descriptor)
