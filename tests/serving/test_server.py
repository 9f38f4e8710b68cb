"""The real Triton Inference Server of nvidia-pytriton serves repositories that vim-build writes."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import triton_server
from changed_engine import changed_engine
from PIL import Image
from small_detector import color_detector, with_rectangles
from small_exports import IMAGE_SIZE, small_export
from small_networks import language_model
from small_onnx import save
from small_segmenter import color_segmenter, striped

import vim_deploy
from vim_deploy.integrations.mamba_ssm import install

WITHOUT = 'the server is not installed; run "make test-scale"'
http = pytest.importorskip("tritonclient.http", reason=WITHOUT)
grpc = pytest.importorskip("tritonclient.grpc", reason=WITHOUT)
if importlib.util.find_spec("pytriton") is None:  # it is not imported: only its server is used
    pytest.skip(WITHOUT, allow_module_level=True)
pytest.importorskip("onnxruntime")
torch = pytest.importorskip("torch")
ROOT = Path(__file__).resolve().parents[2]
MODELS = {name: f"{name}.onnx" for name in ("small", "segmenter", "detector", "language")}


@dataclass
class Served:
    """A server, its clients by protocol, and the folder with the ONNX files and images."""

    server: triton_server.TritonServer
    folder: Path
    clients: dict[str, tuple[Any, Any]]

    def ask(self, protocol: str, model: str, name: str, values: np.ndarray, **options: Any) -> Any:
        module, client = self.clients[protocol]
        kind = "BYTES" if values.dtype == object else "FP32"
        given = module.InferInput(name, list(values.shape), kind)
        given.set_data_from_numpy(values)
        return client.infer(model, [given], **options)

    def classify(self, *images: bytes, protocol: str = "http", model: str = "small_image") -> Any:
        return self.ask(protocol, model, "image", np.array([[image] for image in images], object))

    def statistics(self, model: str) -> tuple[int, int]:
        """(images, runs) of a model since the start."""
        _, client = self.clients["http"]
        (found,) = client.get_inference_statistics(model)["model_stats"]
        return found["inference_count"], found["execution_count"]


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("serving")
    (folder / "small.onnx").write_bytes(small_export("fp32"))
    save(color_segmenter(), folder / "segmenter.onnx")
    save(color_detector(), folder / "detector.onnx")
    striped(folder / "striped.png")
    with_rectangles(folder / "rectangles.png", (64, 48), {0: (4, 4, 20, 20), 2: (30, 30, 40, 40)})
    examples = {"tokens": torch.randint(0, 11, (2, 6)), "mask": torch.ones(2, 6)}
    with install():
        vim_deploy.export_module(
            language_model(),
            examples,
            folder / "language.onnx",
            output_names=["logits", "state"],
            dynamic_axes={name: {0: "batch", 1: "length"} for name in examples},
        )
    for file in MODELS.values():
        command = [sys.executable, "-m", "vim_deploy", "build", file, "--triton", "models"]
        subprocess.run(command, cwd=folder, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    with (
        triton_server.running(folder / "models") as server,
        http.InferenceServerClient(server.http, concurrency=16) as over_http,
        grpc.InferenceServerClient(server.grpc) as over_grpc,
    ):
        yield Served(server, folder, {"http": (http, over_http), "grpc": (grpc, over_grpc)})


def pixels(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 3, *IMAGE_SIZE), np.float32)


def encoded(seed: int = 0, size: tuple[int, int] = (40, 30), format: str = "PNG") -> bytes:
    values = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).save(file, format)
    return file.getvalue()


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_tensors_give_the_outputs_of_the_engine(served, protocol):
    given = pixels(3)
    with vim_deploy.load(served.folder / "models" / "small" / "1" / "model.engine") as engine:
        expected = engine.run(given)["logits"]
    found = served.ask(protocol, "small", "pixels", given).as_numpy("logits")
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_images_give_the_classes_of_predict(served, protocol):
    images = [encoded(1), encoded(2, (20, 70), "JPEG")]
    found = served.classify(*images, protocol=protocol)
    with vim_deploy.load(served.folder / "small.onnx") as model:
        results = model.predict(images)
    for number, result in enumerate(results):
        top = result.value.top
        assert [name.decode() for name in found.as_numpy("classes")[number]] == [item.name for item in top]
        assert found.as_numpy("indices")[number].tolist() == [item.index for item in top]
        np.testing.assert_allclose(
            found.as_numpy("probabilities")[number], [item.probability for item in top], rtol=1e-5
        )


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_images_give_label_maps_and_boxes(served, protocol):
    image = (served.folder / "striped.png").read_bytes()
    found = served.classify(image, protocol=protocol, model="segmenter_image")
    with vim_deploy.load(served.folder / "segmenter.onnx") as model:
        (expected,) = model.predict(image)
    np.testing.assert_array_equal(found.as_numpy("labels")[0], expected.labels)

    image = (served.folder / "rectangles.png").read_bytes()
    found = served.classify(image, protocol=protocol, model="detector_image")
    with vim_deploy.load(served.folder / "detector.onnx") as model:
        (expected,) = model.predict(image)
    assert len(expected.objects) == 2
    np.testing.assert_array_equal(found.as_numpy("boxes")[0], expected.boxes)
    np.testing.assert_array_equal(found.as_numpy("scores")[0], expected.scores)
    np.testing.assert_array_equal(found.as_numpy("masks")[0], expected.value.masks)
    assert [name.decode() for name in found.as_numpy("classes")[0]] == list(expected.labels)


def test_an_image_without_objects_has_empty_outputs(served):
    black = io.BytesIO()
    Image.new("RGB", (20, 10)).save(black, "PNG")
    found = served.classify(black.getvalue(), model="detector_image")
    assert found.as_numpy("boxes").shape == (1, 0, 4)
    assert found.as_numpy("classes").shape == (1, 0)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_named_arrays_of_any_size(served, protocol):
    given = {"tokens": np.random.default_rng(0).integers(0, 11, (3, 7)), "mask": np.ones((3, 7), np.float32)}
    module, client = served.clients[protocol]
    inputs = []
    for (name, values), kind in zip(given.items(), ("INT64", "FP32"), strict=True):
        inputs.append(module.InferInput(name, list(values.shape), kind))
        inputs[-1].set_data_from_numpy(values)
    found = client.infer("language", inputs)
    with vim_deploy.load(served.folder / "models" / "language" / "1" / "model.engine") as model:
        expected = model.run(**given)
    for name, values in expected.items():
        np.testing.assert_array_equal(found.as_numpy(name), values)
    assert not (served.folder / "models" / "language_image").exists()


def test_label_files_name_the_classes(served):
    module, client = served.clients["http"]
    given = module.InferInput("pixels", [1, 3, *IMAGE_SIZE], "FP32")
    given.set_data_from_numpy(pixels(1))
    logits = client.infer("small", [given]).as_numpy("logits")[0]
    best = client.infer("small", [given], outputs=[module.InferRequestedOutput("logits", class_count=1)])
    _, index, name = best.as_numpy("logits")[0][0].decode().split(":")
    assert (int(index), name) == (logits.argmax(), "abcde"[logits.argmax()])


def test_concurrent_clients_are_batched(served):
    """Requests that wait while the model runs become one run; every client gets its own result."""
    count = 64
    given = [pixels(1, seed) for seed in range(count)]
    with vim_deploy.load(served.folder / "small.onnx") as model:
        expected = [model.run(values)["logits"] for values in given]
    images_before, runs_before = served.statistics("small")

    def ask(values: np.ndarray) -> np.ndarray:
        with grpc.InferenceServerClient(served.server.grpc) as client:
            tensor = grpc.InferInput("pixels", [1, 3, *IMAGE_SIZE], "FP32")
            tensor.set_data_from_numpy(values)
            return client.infer("small", [tensor]).as_numpy("logits")

    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(ask, given))
    images, runs = served.statistics("small")
    assert images - images_before == count
    assert runs - runs_before < count
    for own, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other, own, rtol=0, atol=1e-5)


def test_images_of_several_clients_reach_the_network_together(served):
    images_before, runs_before = served.statistics("small")
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda seed: served.classify(encoded(seed), protocol="grpc"), range(48)))
    images, runs = served.statistics("small")
    assert images - images_before == 48
    assert runs - runs_before < 48


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([b"no image"], "image 0: "),
        ([b""], "image 0: "),
        ([encoded()[:200]], "image 0: damaged file"),
        ([encoded(), b"no image"], "image 1: "),
    ],
    ids=["text", "empty", "truncated", "one of two"],
)
def test_a_bad_image_is_an_error_and_the_server_lives(served, protocol, images, message):
    with pytest.raises(Exception, match=message):
        served.classify(*images, protocol=protocol)
    assert served.classify(encoded(), protocol=protocol).as_numpy("classes").shape == (1, 5)


def test_images_of_different_sizes_need_requests_of_their_own(served):
    with pytest.raises(Exception, match="send each image as a request of its own"):
        served.classify(encoded(size=(40, 30)), encoded(size=(30, 40)), model="segmenter_image")


@pytest.mark.parametrize(
    ("shape", "message"),
    [((1, 3, 5, 5), "unexpected shape"), ((33, 3, *IMAGE_SIZE), "batch-size must be <= 32")],
)
def test_wrong_tensors_are_refused(served, shape, message):
    with pytest.raises(Exception, match=message):
        served.ask("http", "small", "pixels", np.zeros(shape, np.float32))
    assert served.ask("http", "small", "pixels", pixels(1)).as_numpy("logits").shape == (1, 5)


@pytest.mark.parametrize(
    "content",
    [struct.pack("<I", 1000) + b"abc", struct.pack("<I", 0xFFFFFFFF) + b"abc", b"ab", b"", b"\0" * 4],
    ids=["short", "huge", "half a length", "nothing", "an empty image"],
)
def test_malformed_requests_are_errors(served, content):
    """Lengths inside of the binary data that are wrong."""
    tensor = {"name": "image", "shape": [1, 1], "datatype": "BYTES",
              "parameters": {"binary_data_size": len(content)}}  # fmt: skip
    head = json.dumps({"inputs": [tensor]}).encode()
    request = urllib.request.Request(
        f"http://{served.server.http}/v2/models/small_image/infer",
        head + content,
        {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"},
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=60)
    assert 400 <= caught.value.code <= 500
    assert served.classify(encoded()).as_numpy("classes").shape == (1, 5)


def test_a_decoder_that_is_killed_costs_one_request_at_most(served):
    """Kill the decoder processes of the model for images; the following requests are served again."""
    model = served.folder / "models" / "small_image"
    killed = [number for number in processes_with(model) if b"decoder_process" in command_of(number)]
    for number in killed:
        os.kill(number, signal.SIGKILL)
    assert killed
    for seed in range(8):
        assert served.classify(encoded(seed)).as_numpy("classes").shape == (1, 5)


@pytest.mark.parametrize("protocol", [[], ["--grpc"]], ids=["http", "grpc"])
def test_the_example_client_prints_results_and_errors(served, tmp_path, protocol):
    (tmp_path / "good.png").write_bytes(encoded())
    many = [f"{seed}.png" for seed in range(100)]
    for seed, name in enumerate(many):
        (tmp_path / name).write_bytes(encoded(seed))
    (tmp_path / "bad.png").write_bytes(b"no image")
    url = served.server.grpc if protocol else served.server.http
    command = [sys.executable, str(ROOT / "examples" / "triton_client.py"), "small_image"]
    result = subprocess.run(
        [*command, "good.png", "bad.png", "none.png", *many, "--url", url, *protocol],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    good, bad, missing, *others = map(json.loads, result.stdout.splitlines())
    assert [found["path"] for found in others if "classes" in found] == many, result.stderr
    assert result.returncode == 1
    assert good["path"] == "good.png" and len(good["classes"]) == 5
    assert bad["error"].startswith("image 0: ")
    assert missing["error"] == "No such file or directory"


def test_metrics_count_requests(served):
    served.classify(encoded())
    deadline = time.monotonic() + 30
    counted = 0.0
    while counted < 1 and time.monotonic() < deadline:
        text = urllib.request.urlopen(served.server.metrics, timeout=30).read().decode()
        counted = sum(
            map(float, re.findall(r'nv_inference_request_success{model="small_image".*} (\d+)', text))
        )
    assert counted >= 1


def test_the_server_reports_the_model_as_configured(served):
    _, client = served.clients["http"]
    config = client.get_model_config("small")
    assert config["max_batch_size"] == 32
    assert config["backend"] == "python"
    assert config["model_warmup"][0]["name"] == "zeros"
    names = [output["name"] for output in client.get_model_metadata("small_image")["outputs"]]
    assert names == ["classes", "indices", "probabilities"]


def test_an_engine_of_another_machine_is_not_loaded(served, tmp_path):
    """The log has the message that names the field."""
    shutil.copytree(served.folder / "models" / "small", tmp_path / "models" / "small")
    engine = tmp_path / "models" / "small" / "1" / "model.engine"
    changed_engine(engine, environment={"onnxruntime": "1.0"})
    with (
        pytest.raises(triton_server.ServerError, match=r"onnxruntime is 1\.0 in the engine"),
        triton_server.running(tmp_path / "models"),
    ):
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_server_and_its_processes_end(served, tmp_path, number):
    """Whatever ends the process that started it."""
    shutil.copytree(served.folder / "models" / "small", tmp_path / "models" / "small")
    ports = triton_server.free_ports()
    listen = [
        word for name in ("http", "grpc", "metrics") for word in (f"--{name}-port", str(getattr(ports, name)))
    ]
    command = [sys.executable, str(ROOT / "tools" / "triton_server.py"), "models", *listen]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == (
            f"ready: HTTP 127.0.0.1:{ports.http}, gRPC 127.0.0.1:{ports.grpc}, "
            f"metrics http://127.0.0.1:{ports.metrics}/metrics\n"
        )
        assert len(processes_with(tmp_path)) == 3  # the script, the server, the model
        process.send_signal(number)
    deadline = time.monotonic() + 60
    while processes_with(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert processes_with(tmp_path) == []


def processes_with(folder: Path) -> list[int]:
    """Processes that work in a folder, or have it in their command line."""
    found = []
    for status in Path("/proc").glob("[0-9]*"):
        number = int(status.name)
        with contextlib.suppress(OSError):
            if str(folder).encode() in command_of(number) or (status / "cwd").readlink() == folder:
                found.append(number)
    return found


def command_of(number: int) -> bytes:
    """The command line of a process. Raises OSError if it has ended."""
    return Path(f"/proc/{number}/cmdline").read_bytes()
