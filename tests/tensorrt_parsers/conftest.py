"""The recorders that the tests use: one for each TensorRT in TENSORRT_ROOTS, or for that in TENSORRT_ROOT.

Tests are skipped where there is no TensorRT, and where the plugin library for its version is not built;
tools/tensorrt_parsers/README.md says how to get both.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tensorrt_parsers.installation import NotAvailableError, Recorder, build_recorder, find_installation

from vim_deploy.errors import OperatorLibraryError
from vim_deploy.ops.library import tensorrt_library

ROOTS = os.environ.get("TENSORRT_ROOTS", os.environ.get("TENSORRT_ROOT", "")).split(os.pathsep)


@pytest.fixture(scope="session", params=ROOTS, ids=lambda root: Path(root).name or "no TENSORRT_ROOT")
def recorder(request: pytest.FixtureRequest) -> Recorder:
    try:
        return build_recorder(find_installation(request.param))
    except NotAvailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def plugins(recorder: Recorder) -> tuple[Path, ...]:
    try:
        return (tensorrt_library(recorder.installation.major),)
    except OperatorLibraryError as error:
        pytest.skip(str(error))
