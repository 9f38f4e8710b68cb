"""The rule for output files: inputs, links, other kinds of files, --force."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vim_deploy.errors import OutputError
from vim_deploy.output_files import (
    FileKind,
    OutputFile,
    check_output_files,
    containing,
    input_paths,
    starting,
)

TABLE = FileKind("a table", starting(b"index,class\n", b"number,class\n"))


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("weights").write_text("the user's weights")
    Path("earlier.csv").write_text("index,class\n0,red\n")
    Path("empty").touch()


def check(name: str, *inputs: str, force: bool = False, others: tuple[str, ...] = ()) -> None:
    outputs = [OutputFile(f"--{name}", Path(name), TABLE) for name in others]
    check_output_files([*outputs, OutputFile("-o", Path(name), TABLE)], map(Path, inputs), force)


@pytest.mark.parametrize("name", ["new.csv", "earlier.csv", "empty"])
def test_new_and_empty_files_and_earlier_results_are_accepted(name):
    check(name, "weights", "missing")


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("kind", ["same", "symbolic link", "hard link", "other spelling"])
def test_inputs_are_never_replaced(kind, force):
    name = {"same": "weights", "other spelling": f"../{Path.cwd().name}/weights"}.get(kind, "link")
    if kind == "symbolic link":
        Path("link").symlink_to("weights")
    if kind == "hard link":
        os.link("weights", "link")
    with pytest.raises(OutputError, match="is an input of this run"):
        check(name, "earlier.csv", "weights", force=force)


def test_files_in_input_folders_are_never_replaced():
    Path("folder/sub").mkdir(parents=True)
    os.link("weights", "folder/sub/other")
    with pytest.raises(OutputError, match=r"exists and is not a table; choose another name, or .* --force"):
        check("weights", "folder")
    with pytest.raises(OutputError, match="is an input of this run"):
        check("weights", "folder", force=True)


def test_other_files_are_replaced_only_by_force():
    with pytest.raises(OutputError, match="-o weights exists and is not a table"):
        check("weights", "earlier.csv")
    check("weights", "earlier.csv", force=True)


def test_two_outputs_of_one_path_are_refused():
    with pytest.raises(OutputError, match=r"-o new\.csv is also the path of --\./new\.csv"):
        check("new.csv", others=("./new.csv",))
    os.link("earlier.csv", "link.csv")
    with pytest.raises(OutputError, match=r"-o link\.csv is also the path of --earlier\.csv"):
        check("link.csv", others=("earlier.csv",))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none/x.csv", "the folder .* does not exist"),
        (".", "not a regular file"),
        ("/dev/null", "not a regular file"),
        ("x" * 300, "cannot be written: File name too long"),
    ],
)
def test_paths_that_cannot_be_written_are_refused(name, message):
    with pytest.raises(OutputError, match=message):
        check(name, force=True)


def test_markers_are_found_at_both_ends_of_a_file():
    matches = containing(b"marker")
    for content, expected in ((b"..marker", True), (b"marker" + bytes(1 << 18), True), (b"mark", False),
                              (bytes(1 << 18) + b"marker..", True)):  # fmt: skip
        Path("x").write_bytes(content)
        assert matches(Path("x")) is expected


def test_input_paths_expand_globs():
    Path("[x].csv").touch()
    assert input_paths(["[x].csv", "e*", "hf://owner/repo"]) == [
        Path("[x].csv"),
        *map(Path, input_paths(["e*"])),
    ]
    assert {path.name for path in input_paths(["e*"])} == {"earlier.csv", "empty"}
