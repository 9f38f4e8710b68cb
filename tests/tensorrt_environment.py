"""Building and opening TensorRT engines with fakes of TensorRT and the GPU."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake_gpu import FakeGpu
from fake_tensorrt import fake
from fake_tensorrt_recorder import Recorder
from small_exports import IMAGE_SIZE, small_export

from vim_deploy.engines.build import build_engine
from vim_deploy.engines.tensorrt import api as tensorrt_api
from vim_deploy.engines.tensorrt import driver as tensorrt_driver
from vim_deploy.engines.tensorrt import runner as tensorrt_runner
from vim_deploy.engines.tensorrt.options import TensorrtOptions


class Environment:
    """A folder for exported files, and a fake of one TensorRT version."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch
        self.gpu, self.recorder = FakeGpu(), Recorder()
        library = folder / "libvim_deploy_trt_fake.so"
        library.write_bytes(b"the plugin")
        monkeypatch.setenv("VIM_DEPLOY_TRT_LIBRARY", str(library))
        exports = SimpleNamespace(
            getPluginCreators=None, getCreators=None, vim_deploy_cuda_version=lambda: 13000
        )
        monkeypatch.setattr(tensorrt_api, "_open", lambda path: exports)
        monkeypatch.setattr(tensorrt_driver, "_driver", self.gpu.driver)
        monkeypatch.setattr(tensorrt_runner, "_pycuda", self.gpu.pycuda_driver)

    def install(self, major: int, **options: Any) -> None:
        module = fake(major, self.gpu, self.recorder, **options)
        self.monkeypatch.setitem(sys.modules, "tensorrt", module)

    def build(self, precision: str = "fp16", batch: int | None = None, **options: Any) -> Path:
        model = self.folder / f"{precision}.onnx"
        model.write_bytes(small_export(precision, batch))
        return self.build_file(model, **options)

    def build_file(self, model: Path, **options: Any) -> Path:
        engine = self.folder / "built.engine"
        build_engine(model, engine, TensorrtOptions(**options))
        return engine


def pixels(batch: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((batch, 3, *IMAGE_SIZE), np.float32)
