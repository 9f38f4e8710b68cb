"""docs/licenses.md lists the licenses of all installed packages."""

from __future__ import annotations

import sys
from email.message import Message
from types import SimpleNamespace

import licenses
import pytest


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the packages are those for Python 3.11")
def test_the_file_is_current():
    assert licenses.FILE.read_text() == licenses.table()


@pytest.mark.parametrize(
    ("fields", "license"),
    [
        ({"License-Expression": "MIT", "License": "other"}, "MIT"),
        ({"License": "Apache 2.0"}, "Apache 2.0"),
        ({"License": "A whole\nlicense", "Classifier": "License :: OSI Approved :: BSD License"},
         "BSD License"),
        ({"License": "A whole\nlicense"}, "A whole"),
        ({}, "not stated"),
    ],
)  # fmt: skip
def test_the_license_is_the_shortest_statement(fields, license):
    metadata = Message()
    for name, value in fields.items():
        metadata[name] = value
    assert licenses.license_of(SimpleNamespace(metadata=metadata)) == license


def test_packages_are_those_of_an_extra_and_of_their_own_dependencies():
    needed = licenses.needed_by("cpu")
    assert {"onnxruntime", "numpy", "flatbuffers"} <= needed
    assert not needed & {"torch", "pytest", "vim-deploy"}


def test_only_the_extra_torch_and_the_tests_install_pytorch():
    """pip would choose the CUDA build, several GB, without asking."""
    assert {extra for extra in licenses.EXTRAS if "torch" in licenses.needed_by(extra)} == {"torch", "test"}
