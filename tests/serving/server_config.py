"""The configuration of a model, read by the protobuf classes of Triton's client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

text_format = pytest.importorskip("google.protobuf.text_format")
CLIENT = 'tritonclient is not installed; run "make test-scale"'


def read_config(folder: Path) -> Any:
    """The parsed config.pbtxt. An unknown field is an error."""
    messages = pytest.importorskip("tritonclient.grpc.model_config_pb2", reason=CLIENT)
    return text_format.Parse((folder / "config.pbtxt").read_text(), messages.ModelConfig())
