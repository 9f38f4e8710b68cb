"""Parsing a file and comparing the recorded network."""

from __future__ import annotations

from pathlib import Path

from tensorrt_parsers.compare import Parsed, differences, parse
from tensorrt_parsers.installation import Recorder


def checked(
    recorder: Recorder, plugins: tuple[Path, ...], data: bytes, folder: Path, fuse: bool = False
) -> tuple[Parsed, dict[str, float]]:
    """The parsed file, computed layer by layer and equal to ONNX Runtime on the file; and the differences."""
    parsed = parse(recorder, "model.onnx", data, plugins, folder, fuse)
    assert not parsed.recording.problems()
    found = differences(parsed)
    assert found and all(value <= parsed.precision.tolerance for value in found.values()), found
    return parsed, found
