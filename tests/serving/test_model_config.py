"""config.pbtxt, read by the protobuf classes of Triton's client."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import fake_onnxruntime
import pytest
from small_exports import CLASSES, small_export
from small_onnx import save
from small_segmenter import color_segmenter
from tensorrt_environment import Environment

from vim_deploy.engines.onnxruntime.options import OnnxruntimeOptions
from vim_deploy.engines.spec import BuildOptions
from vim_deploy.engines.tensorrt.options import TensorrtOptions
from vim_deploy.errors import EngineError
from vim_deploy.serving.config import Symbol, config_text
from vim_deploy.serving.repository import write_repository

pytest.importorskip("onnxruntime")
MODELS = "tritonclient.grpc.model_config_pb2"


def read_config(folder: Path) -> Any:
    """The parsed config.pbtxt. An unknown field is an error."""
    messages = pytest.importorskip(MODELS, reason='tritonclient is not installed; run "make test-scale"')
    from google.protobuf import text_format

    return text_format.Parse((folder / "config.pbtxt").read_text(), messages.ModelConfig())


def written(folder: Path, options: BuildOptions, server_backend: str, **arguments: Any) -> Path:
    """Write a repository for the small model and return it."""
    (folder / "small.onnx").write_bytes(small_export(arguments.pop("precision", "fp32")))
    write_repository(
        folder / "small.onnx", folder / "models", options, server_backend=server_backend, **arguments
    )
    return folder / "models"


def check_files(folder: Path, config: Any) -> None:
    """Every file that the configuration names is there."""
    names = [output.label_filename for output in config.output if output.label_filename]
    paths = [folder / name for name in names]
    if config.default_model_filename:
        paths.append(folder / "1" / config.default_model_filename)
    if config.backend == "python":
        paths.append(folder / "1" / "model.py")
    paths += [Path(name) for name in config.model_operations.op_library_filename]
    assert names and all(path.is_file() for path in paths), paths


def test_text_of_fields():
    text = config_text(
        {"name": 'a "quoted" \\ näme', "dims": [1, -1], "kind": Symbol("KIND_CPU"), "none": None,
         "flag": True, "messages": [{"key": "a"}, {"key": "b"}], "message": {"number": 1}}
    )  # fmt: skip
    assert text.splitlines()[1:] == [
        'name: "a \\042quoted\\042 \\134 n\\303\\244me"',
        "dims: [1, -1]",
        "kind: KIND_CPU",
        "flag: true",
        "messages {",
        '  key: "a"',
        "}",
        "messages {",
        '  key: "b"',
        "}",
        "message {",
        "  number: 1",
        "}",
    ]


def test_the_python_backend(tmp_path):
    folder = written(tmp_path, OnnxruntimeOptions(), "python")
    config = read_config(folder / "small")
    check_files(folder / "small", config)
    assert (config.name, config.backend, config.max_batch_size) == ("small", "python", 32)
    assert [(item.name, item.data_type, list(item.dims)) for item in config.input] == [
        ("pixels", 11, [3, 16, 32])
    ]
    assert [(item.name, item.data_type, list(item.dims)) for item in config.output] == [
        ("logits", 11, [len(CLASSES)])
    ]
    assert config.HasField("dynamic_batching")
    assert [(group.count, group.Kind.Name(group.kind)) for group in config.instance_group] == [
        (1, "KIND_CPU")
    ]
    (warm_up,) = config.model_warmup
    assert list(warm_up.inputs["pixels"].dims) == [3, 16, 32]


def test_the_model_for_images(tmp_path):
    folder = written(tmp_path, OnnxruntimeOptions(), "python")
    config = read_config(folder / "small_image")
    check_files(folder / "small_image", config)
    assert [(item.name, item.data_type, list(item.dims)) for item in config.input] == [("image", 13, [1])]
    assert [output.label_filename for output in config.output] == ["", "labels.txt", ""]
    assert config.instance_group[0].count == 2


def test_the_label_map_of_a_segmenter_has_labels(tmp_path):
    save(color_segmenter(), tmp_path / "segmenter.onnx")
    write_repository(tmp_path / "segmenter.onnx", tmp_path / "models", OnnxruntimeOptions())
    config = read_config(tmp_path / "models" / "segmenter_image")
    check_files(tmp_path / "models" / "segmenter_image", config)
    assert [(item.name, item.label_filename) for item in config.output] == [("labels", "labels.txt")]


@pytest.mark.parametrize(
    ("optimization", "level"), [("all", None), ("extended", 1), ("basic", -1), ("none", 2)]
)
def test_the_onnxruntime_backend(tmp_path, optimization, level):
    options = OnnxruntimeOptions("cpu", threads=2, optimization=optimization)
    folder = written(tmp_path, options, "onnxruntime")
    config = read_config(folder / "small")
    check_files(folder / "small", config)
    assert config.backend == "onnxruntime"
    assert list(config.model_operations.op_library_filename) == [
        str(folder / "small" / "libvim_deploy_ort.so")
    ]
    assert config.parameters["intra_op_thread_count"].string_value == "2"
    assert config.HasField("optimization") == (level is not None)
    assert config.optimization.graph.level == (level or 0)


@pytest.mark.parametrize(("precision", "tf32"), [("fp32", "0"), ("fp16", None), ("bf16", None)])
def test_the_onnxruntime_backend_on_a_gpu(tmp_path, monkeypatch, precision, tf32):
    """With a fake of ONNX Runtime for GPUs. TF32 never rounds a float32 file."""
    library = tmp_path / "libvim_deploy_ort_cuda_fake.so"
    library.write_bytes(b"the operator")
    monkeypatch.setenv("VIM_DEPLOY_ORT_CUDA_LIBRARY", str(library))
    monkeypatch.setitem(sys.modules, "onnxruntime", fake_onnxruntime.fake(fake_onnxruntime.Behavior()))
    folder = written(tmp_path, OnnxruntimeOptions("cuda"), "onnxruntime", precision=precision)
    assert (folder / "small" / library.name).read_bytes() == b"the operator"
    # bf16: some operators are computed in float32.
    same = (folder / "small" / "1" / "model.onnx").read_bytes() == (tmp_path / "small.onnx").read_bytes()
    assert same == (precision != "bf16")
    config = read_config(folder / "small")
    check_files(folder / "small", config)
    assert config.instance_group[0].Kind.Name(config.instance_group[0].kind) == "KIND_GPU"
    found = [
        (item.name, dict(item.parameters))
        for item in config.optimization.execution_accelerators.gpu_execution_accelerator
    ]
    assert found == ([] if tf32 is None else [("cuda", {"use_tf32": tf32})])


@pytest.fixture
def tensorrt(tmp_path, monkeypatch):
    made = Environment(tmp_path, monkeypatch)
    made.install(10)
    return made


def test_the_tensorrt_backend(tensorrt, tmp_path):
    """With fakes of TensorRT and the GPU."""
    folder = written(tmp_path, TensorrtOptions("cuda", max_batch=4), "tensorrt", precision="fp16")
    library = "libvim_deploy_trt_fake.so"
    assert (folder / "small" / library).read_bytes() == b"the plugin"
    text = (folder / "small" / "README.md").read_text()
    assert f"--backend-config=tensorrt,plugins={folder}/small/{library}" in text
    assert "version-compatible" not in text
    config = read_config(folder / "small")
    check_files(folder / "small", config)
    assert (config.platform, config.max_batch_size) == ("tensorrt_plan", 4)
    assert config.instance_group[0].Kind.Name(config.instance_group[0].kind) == "KIND_GPU"
    # The model for images runs on the CPU, and asks the network for batches of up to four images.
    image_config = read_config(folder / "small_image")
    assert image_config.instance_group[0].Kind.Name(image_config.instance_group[0].kind) == "KIND_CPU"


def test_a_version_compatible_plan_needs_another_flag(tensorrt, tmp_path):
    options = TensorrtOptions("cuda", version_compatible=True)
    folder = written(tmp_path, options, "tensorrt", precision="fp16")
    assert "--backend-config=tensorrt,version-compatible=true" in (folder / "small" / "README.md").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"strip": True}, "--strip"), ({"min_batch": 2, "opt_batch": 4}, "leave out --min-batch")],
)
def test_plans_that_a_server_cannot_run_are_refused(tensorrt, tmp_path, options, message):
    with pytest.raises(EngineError, match=message):
        written(tmp_path, TensorrtOptions("cuda", **options), "tensorrt", precision="fp16")
    assert not (tmp_path / "models").exists()
