"""Running TensorRT engines: checks before TensorRT is used, CUDA graphs, threads, other environments.

All except the last two tests use fakes of TensorRT, the driver and pycuda (tests/fake_*.py).
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_gpu import FakeGpu
from PIL import Image
from small_exports import small_export
from test_tensorrt_build import Environment, pixels

from vim_deploy import load
from vim_deploy.engines.tensorrt import driver as tensorrt_driver
from vim_deploy.engines.tensorrt import runner as tensorrt_runner
from vim_deploy.engines.tensorrt.driver import gpu
from vim_deploy.engines.tensorrt.options import TensorrtOptions
from vim_deploy.engines.tensorrt.runner import TensorrtRunner
from vim_deploy.engines.tensors import TensorSpec
from vim_deploy.errors import EngineError, MissingDependencyError

pytest.importorskip("onnxruntime", reason="the fake's engines are run by onnxruntime")


@pytest.fixture
def place(tmp_path, monkeypatch):
    made = Environment(tmp_path, monkeypatch)
    made.install(10)
    return made


class Doubling:
    """A fake engine: y is twice x. Counts its computations."""

    def __init__(self, device: FakeGpu) -> None:
        self.gpu, self.computed, self.fails = device, 0, False

    def create_execution_context(self) -> Any:
        return DoublingContext(self)


class DoublingContext:
    def __init__(self, engine: Doubling) -> None:
        self.engine, self.addresses, self.shape = engine, {}, ()

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shape

    def execute_async_v3(self, stream: int) -> bool:
        shape = self.shape

        def work() -> None:
            self.engine.computed += 1
            self.engine.gpu.write(self.addresses["y"], 2 * self.engine.gpu.read(self.addresses["x"], shape))

        self.engine.gpu.enqueue(stream, work)
        return not self.engine.fails


@pytest.fixture
def device(monkeypatch):
    made = FakeGpu()
    monkeypatch.setattr(tensorrt_driver, "_driver", made.driver)
    monkeypatch.setattr(tensorrt_runner, "_pycuda", made.pycuda_driver)
    return made


def doubling(device: FakeGpu, contexts: int = 2) -> tuple[TensorrtRunner, Doubling]:
    engine = Doubling(device)
    spec = [TensorSpec(name, "float32", (None, 4)) for name in ("x", "y")]
    return TensorrtRunner(engine, spec[0], (spec[1],), (1, 4), (8, 4), contexts), engine


def numbers(batch: int, start: int = 0) -> np.ndarray:
    return np.arange(start, start + 4 * batch, dtype=np.float32).reshape(batch, 4)


def test_repeated_shapes_run_as_a_graph_with_the_right_results(device):
    runner, engine = doubling(device, contexts=1)
    launches = []
    # The second run with a shape captures a graph, another shape drops it.
    for start, batch in enumerate((3, 3, 3, 5, 5, 3)):
        x = numbers(batch, start)
        assert np.array_equal(runner.run(x)["y"], 2 * x)
        launches.append(device.launches)
    assert launches == [0, 1, 2, 2, 3, 3]
    assert engine.computed == 6


def test_a_failed_capture_is_a_warning(device, caplog):
    device.capture_status = 900
    runner, _ = doubling(device, contexts=1)
    for _ in range(3):
        assert np.array_equal(runner.run(numbers(2))["y"], 2 * numbers(2))
    assert [record.getMessage() for record in caplog.records] == [
        "running batches without a CUDA graph, which is slightly slower: the NVIDIA driver failed at "
        "capturing (error 900)."
    ]


def test_results_are_not_overwritten_by_the_next_batch(device):
    runner, _ = doubling(device, contexts=1)
    first = runner.run(numbers(2))["y"]
    runner.run(numbers(2, 100))
    assert np.array_equal(first, 2 * numbers(2))


def test_computing_is_timed_without_copies(device):
    runner, engine = doubling(device, contexts=1)
    assert len(runner.computing_seconds((3, 4), 5)) == 5
    assert (engine.computed, device.launches) == (7, 6)
    assert np.array_equal(runner.run(numbers(3))["y"], 2 * numbers(3))
    with pytest.raises(EngineError, match="a batch of 9"):
        runner.computing_seconds((9, 4), 1)


def test_threads_share_the_contexts(device):
    runner, _ = doubling(device)
    wrong = []

    def work(seed: int) -> None:
        for round_number in range(20):
            x = numbers(1 + seed % 4, 100 * seed + round_number)
            if not np.array_equal(runner.run(x)["y"], 2 * x):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert device.current == 0


@pytest.mark.parametrize("batch", [0, 9])
def test_a_batch_outside_the_profile_names_the_options(device, batch):
    runner, _ = doubling(device)
    with pytest.raises(
        EngineError, match=f"a batch of {batch} images?; the engine was built for 1 to 8.*--max-ba"
    ):
        runner.run(numbers(batch))


def test_a_failing_engine_is_an_error_and_the_next_batch_has_a_context(device):
    runner, engine = doubling(device, contexts=1)
    engine.fails = True
    with pytest.raises(EngineError, match="TensorRT failed to run"):
        runner.run(numbers(1))
    engine.fails = False
    assert np.array_equal(runner.run(numbers(1))["y"], 2 * numbers(1))


def test_a_failing_new_shape_does_not_affect_the_previous_one(device):
    runner, engine = doubling(device, contexts=1)
    for _ in range(2):
        runner.run(numbers(2))
    engine.fails = True
    with pytest.raises(EngineError, match="TensorRT failed to run"):
        runner.run(numbers(5))
    engine.fails = False
    for start in (0, 100, 200):
        found = runner.run(numbers(2, start))["y"]
        assert found.shape == (2, 4) and np.array_equal(found, 2 * numbers(2, start))


def test_a_closed_engine_has_released_its_memory(device):
    runner, _ = doubling(device)
    runner.run(numbers(1))
    runner.close()
    runner.close()
    assert sum(memory.size for memory in device.memory.values()) == 0
    assert (device.streams, device.current) == ({}, 0)
    with pytest.raises(EngineError, match="closed; open it again"):
        runner.run(numbers(1))


def test_streams_do_not_wait_for_the_default_stream(device):
    """Work of other code on the legacy default stream would end the capture of a graph on a blocking one."""
    runner, _ = doubling(device, contexts=2)
    assert list(device.streams.values()) == [1, 1]
    runner.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [({"count": 0}, "finds none"), ({"init_status": 100}, r"does not start \(error 100\)")],
)
def test_a_missing_gpu_is_reported_before_tensorrt_is_used(place, change, message):
    engine = place.build("fp32")
    vars(place.gpu).update(change)
    calls = len(place.recorder.calls)
    for attempt in (lambda: load(engine), lambda: place.build("fp32")):
        with pytest.raises(EngineError, match=f"no GPU: the NVIDIA driver {message}"):
            attempt()
    assert len(place.recorder.calls) == calls


def test_cuda_that_does_not_start_is_an_error_in_building_and_opening(place):
    """A driver that answers may be too old for TensorRT, whose Runtime then terminates the process."""
    engine = place.build("fp32")
    place.recorder.cuda_error = "CUDA initialization failure with error: 35"
    for attempt in (lambda: load(engine), lambda: place.build("fp32")):
        with pytest.raises(EngineError, match=r"TensorRT 10\.13\.0 does not start: CUDA .* error: 35"):
            attempt()


def _other_version(place):
    sys.modules["tensorrt"].__version__ = "10.3.0"


def _other_gpu(place):
    place.gpu.name = "Another GPU"


def _other_plugin(place):
    (place.folder / "libvim_deploy_trt_fake.so").write_bytes(b"another plugin")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_other_version, r"tensorrt is 10\.13\.0 in the engine and 10\.3\.0 here"),
        (_other_gpu, "gpu is Fake GPU, compute capability 9.0 in the engine and Another GPU"),
        (_other_plugin, "plugin_sha256 is"),
    ],
)
def test_an_engine_that_does_not_fit_names_the_field_and_the_command(place, change, message):
    engine = place.build("fp16")
    change(place)
    with pytest.raises(EngineError, match=message + r".*vim-build fp16\.onnx .*--backend tensorrt"):
        load(engine)


def test_hardware_compatible_engines_open_only_on_later_gpus(place):
    engine = place.build("fp16", hardware="ampere_plus")
    place.gpu.name, place.gpu.capability = "Another GPU", (12, 0)
    load(engine).close()
    place.gpu.capability = (7, 5)
    with pytest.raises(EngineError, match=r"gpu is compute capability 8\.0 or later in the engine and"):
        load(engine)


def test_a_missing_plugin_is_named_when_an_engine_is_opened(place, monkeypatch):
    engine = place.build("fp16")
    monkeypatch.setenv("VIM_DEPLOY_TRT_LIBRARY", str(place.folder / "absent.so"))
    with pytest.raises(Exception, match=r"absent\.so: no such file"):
        load(engine)


def test_the_engine_equals_its_file(place):
    import onnxruntime

    engine = load(place.build("fp32", max_batch=8))
    x = pixels(5, seed=7)
    session = onnxruntime.InferenceSession(small_export("fp32"), providers=["CPUExecutionProvider"])
    expected = session.run(None, {"pixels": x})[0]
    assert np.abs(engine.run(x)["logits"] - expected).max() <= 1e-5 * np.abs(expected).max()
    with pytest.raises(EngineError, match="expects float32"):
        engine.run(x.astype(np.float64))


@pytest.mark.parametrize(
    ("profile", "size", "message"),
    [
        ({"max_batch": 3}, 3, "batches of 3 images: the engine runs batches of 1 to 3"),
        ({"min_batch": 9, "opt_batch": 9, "max_batch": 12}, 9, "batches of 9 images"),
        ({}, 8, ""),
    ],
)
def test_batches_fit_the_profile(place, caplog, profile, size, message):
    caplog.set_level(logging.INFO, logger="vim_deploy")
    images = [Image.new("RGB", (20, 20), (index, 0, 0)) for index in range(10)]
    with load(place.build("fp32", **profile)) as engine:
        sizes = []
        original = engine.run
        engine.run = lambda pixels: sizes.append(len(pixels)) or original(pixels)
        rows = engine.predict(images)
        single = [engine.predict(image)[0] for image in images[-1:]]
    assert all(row.ok for row in rows) and len(rows) == 10
    # The last images, in a padded batch, have the same results.
    assert rows[-1].top1.index == single[0].top1.index
    assert rows[-1].top1.probability == pytest.approx(single[0].top1.probability, rel=1e-6)
    assert max(sizes) == size and min(sizes) >= profile.get("min_batch", 1)
    assert message in caplog.text and bool(message) == ("the engine runs" in caplog.text)


def test_a_batch_size_outside_the_profile_is_refused(place):
    with (
        load(place.build("fp32", max_batch=3)) as engine,
        pytest.raises(EngineError, match=r"batch_size is 4; the engine runs batches of 1 to 3.*--max-batch"),
    ):
        engine.predict(Image.new("RGB", (20, 20)), batch_size=4)


def test_validation_uses_batches_within_the_profile(place):
    from vim_deploy.validation.artifacts import RunMode, Target, open_artifact

    x = pixels(7)
    expected = None
    for profile in ({}, {"max_batch": 2}, {"min_batch": 5, "opt_batch": 5, "max_batch": 5}):
        with open_artifact(Target(place.build("fp32", **profile), RunMode.ENGINE)) as artifact:
            found = artifact.run(x)
        assert found.shape == (7, 5)
        expected = found if expected is None else expected
        # ONNX Runtime, which runs the fake, sums in another order for other batch sizes.
        assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()


def test_options_of_the_other_backend_are_refused(place):
    engine = place.build("fp32")
    with pytest.raises(EngineError, match="has no threads"):
        load(engine, threads=2)
    with pytest.raises(EngineError, match="device is 'cpu'; expected cuda"):
        TensorrtOptions("cpu")
    for options in ({"threads": 2}, {"use_library": False}):
        with pytest.raises(TypeError, match="unexpected keyword argument"):
            TensorrtOptions(**options)


def test_unsupported_versions_are_refused(place):
    for version in ("8.5.3.1", "9.1.0", "12.0.0"):
        sys.modules["tensorrt"].__version__ = version
        with pytest.raises(
            MissingDependencyError, match=f"TensorRT {version} is installed; expected 8.6, 10 or"
        ):
            place.build("fp32")


def _without(module: str, model: Path) -> subprocess.CompletedProcess[str]:
    """vim-build for TensorRT in a new process in which `module` is not installed."""
    code = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from vim_deploy.cli.build import main\n"
        f"main([{str(model)!r}, '-o', {str(model.with_suffix('.engine'))!r}, '--backend', 'tensorrt'])"
    )
    root = Path(__file__).resolve().parents[3]
    return subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)


def test_without_tensorrt_the_command_says_what_to_install(tmp_path):
    model = tmp_path / "model.onnx"
    model.write_bytes(small_export("fp32"))
    result = _without("tensorrt", model)
    assert (result.returncode, result.stdout) == (2, "")
    assert 'pip install "vim-deploy[tensorrt]"' in result.stderr
    assert "Traceback" not in result.stderr


def test_the_driver_of_this_machine():
    """Without a fake: an error that names the reason, or a GPU."""
    try:
        found = gpu()
    except EngineError as error:
        assert str(error).startswith("no GPU: the NVIDIA driver ")
    else:
        assert found.name
