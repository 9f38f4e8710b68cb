"""Files with text that a user gives: what is wrong with one that cannot be read."""

from __future__ import annotations

import pytest

from vim_deploy.errors import ConfigError
from vim_deploy.text_files import read_json, read_text


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    (tmp_path / "x.txt").write_bytes(b"\xef\xbb\xbfcat\n")
    assert read_text(tmp_path / "x.txt") == "cat\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"x\.json cannot be read: No such file or directory\.$"),
        (b"\xff", r"x\.json is not UTF-8 text: .*invalid start byte"),
        (b"{", r"x\.json is not valid JSON: .*; correct the file\.$"),
    ],
)
def test_the_problem_of_a_file_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_json(tmp_path / "x.json")
