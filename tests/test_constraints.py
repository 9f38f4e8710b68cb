"""constraints.txt pins everything that is installed."""

from __future__ import annotations

import sys

import constraints
import pytest

TEXT = "# a comment\nnumpy==2.4.6\nml_dtypes==0.6.0\n"


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the versions are those for Python 3.11")
def test_all_installed_packages_are_pinned():
    assert (
        constraints.differences(constraints.pins(constraints.FILE.read_text()), constraints.installed()) == []
    )


def test_differences_name_the_package():
    pinned = constraints.pins(TEXT)
    assert constraints.differences(pinned, {"numpy": "2.4.6", "ml-dtypes": "0.6.0"}) == []
    assert constraints.differences(pinned, {"numpy": "2.4.7", "tqdm": "4.70.1"}) == [
        "numpy 2.4.7 is installed, and constraints.txt has 2.4.6",
        "tqdm 4.70.1 is installed, and constraints.txt does not pin it",
    ]
