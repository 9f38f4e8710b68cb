"""Labels from folders and tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from vim_deploy.data.labels import Labels, by_table, class_indices, folder_classes, read_table
from vim_deploy.errors import ImageError
from vim_deploy.imagenet import IMAGENET_NAMES

NAMES = ("cat", "dog", "sea slug, nudibranch")


@pytest.fixture
def tree(tmp_path):
    for name in ("cat", "dog", ".hidden"):
        (tmp_path / name).mkdir()
    return tmp_path


def table(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_bytes(text.encode())
    return path


def read(folder: Path, text: str) -> dict[str, int]:
    return read_table(table(folder, text), NAMES, class_indices(NAMES))


def test_auto_labels_require_that_every_folder_matches(tree):
    assert folder_classes([tree], Labels.AUTO, ("dog", "cat")) == {"dog": 0, "cat": 1}
    assert folder_classes([tree], Labels.AUTO, ("dog", "mouse")) == {}
    assert folder_classes([tree / "cat"], Labels.AUTO, ("dog", "cat")) == {}
    assert folder_classes([tree], Labels.NONE, ("dog", "cat")) == {}


def test_folder_labels_name_the_unknown_folder(tree):
    with pytest.raises(ImageError, match="first: 'cat'"):
        folder_classes([tree], Labels.FOLDER, ("dog", "mouse"))


def test_a_name_of_two_classes_is_ambiguous(tree):
    assert folder_classes([tree], Labels.AUTO, ("cat", "dog", "cat")) == {}


def test_folders_that_cannot_be_looked_up_have_no_classes(tree):
    (tree / "loop").symlink_to("loop")
    assert folder_classes([tree / ("x" * 300), tree / "loop" / "a"], Labels.AUTO, ("dog",)) == {}


def test_sorted_labels(tree):
    assert folder_classes([tree], Labels.SORTED, ("first", "second")) == {"cat": 0, "dog": 1}
    with pytest.raises(ImageError, match="3 classes; the inputs have 2"):
        folder_classes([tree], Labels.SORTED, ("1", "2", "3"))


def test_synsets_are_folders_of_imagenet(tmp_path):
    (tmp_path / "n02123045").mkdir()
    assert folder_classes([tmp_path], Labels.AUTO, IMAGENET_NAMES)["n02123045"] == 281
    assert folder_classes([tmp_path], Labels.AUTO, ("tabby", "cat")) == {}


@pytest.mark.parametrize(
    "text",
    [
        'a.jpg,cat\nb/c.jpg,"sea slug, nudibranch"\n',
        'path,class\na.jpg,cat\nb/c.jpg,"sea slug, nudibranch"\n',
        "\ufeffImageId,PredictionString\r\na.jpg,cat 1 2 3 4\r\nb/c.jpg,2\r\n",
        "a.jpg 0\n\nb/c.jpg\tsea slug, nudibranch\n".replace("\tsea slug, nudibranch", " 2"),
    ],
)
def test_tables(tmp_path, text):
    assert read(tmp_path, text) == {"a.jpg": 0, "b/c.jpg": 2}


def test_images_are_found_by_the_end_of_their_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    label_of = by_table({"a.jpg": 0, "b/a.jpg": 1, "val_1": 2, str(tmp_path / "c" / "x.png"): 1})
    expected = {
        "a.jpg": 0,
        "./z/a.jpg": 0,
        "b/a.jpg": 1,
        "/data/b/a.jpg": 1,
        "y/../b/a.jpg": 1,
        "q/val_1.JPEG": 2,
        "c/x.png": 1,
        "x.png": None,
        "val_2.JPEG": None,
        "a.png": None,
    }
    assert {path: label_of(path) for path in expected} == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg,cat\nb.jpg,mouse\n", "line 2: 'b.jpg,mouse' has no known class; expected IMAGE,CLASS"),
        ("a.jpg,mouse\n", "line 1: 'a.jpg,mouse' has no known class"),
        ("a.jpg,3\n", "line 1"),
        ("a.jpg\n", "line 1"),
        (",cat\n", "line 1"),
        ("a.jpg,cat\n./a.jpg,dog\n", "line 2: './a.jpg' has another class in an earlier line"),
    ],
)
def test_invalid_lines_are_named(tmp_path, text, message):
    with pytest.raises(ImageError, match=message):
        read(tmp_path, text)
