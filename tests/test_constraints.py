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


def test_the_lock_has_a_hash_of_every_version():
    pinned = constraints.pins(constraints.FILE.read_text())
    assert constraints.lock_differences(pinned, constraints.LOCK.read_text()) == []


def test_a_lock_without_a_package_a_hash_or_the_version_is_refused():
    pinned = {"numpy": "2.4.6", "ml-dtypes": "0.6.0", "tqdm": "4.70.1", "torch": "2.13.0"}
    lock = "numpy==2.4.7 \\\n    --hash=sha256:00\nml_dtypes==0.6.0 ; sys_platform != 'win32'\n"
    assert constraints.lock_differences(pinned, lock) == [
        "requirements.lock has numpy 2.4.7, constraints.txt has 2.4.6",
        "requirements.lock has tqdm missing, constraints.txt has 4.70.1",
        "requirements.lock has no hash of ml_dtypes",
    ]


def test_differences_name_the_package():
    pinned = constraints.pins(TEXT)
    assert constraints.differences(pinned, {"numpy": "2.4.6", "ml-dtypes": "0.6.0"}) == []
    assert constraints.differences(pinned, {"numpy": "2.4.7", "tqdm": "4.70.1"}) == [
        "numpy 2.4.7 is installed, and constraints.txt has 2.4.6",
        "tqdm 4.70.1 is installed, and constraints.txt does not pin it",
    ]
