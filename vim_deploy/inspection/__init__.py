"""What is in an engine, an exported ONNX file or a checkpoint, without running it."""

from __future__ import annotations

from vim_deploy.inspection.inspect import inspect
from vim_deploy.inspection.text import to_text

__all__ = ["inspect", "to_text"]
