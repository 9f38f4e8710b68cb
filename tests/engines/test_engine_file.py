"""Engine files: atomic writes, checks when opening, and errors that name the differing field."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from changed_engine import changed_engine
from onnx import helper, numpy_helper
from small_onnx import color_model, finish, metadata, save, scan_model

from vim_deploy import load, machine
from vim_deploy.engines.build import build_engine
from vim_deploy.engines.container import read_engine, read_manifest, write_engine
from vim_deploy.engines.onnxruntime import backend
from vim_deploy.engines.onnxruntime import session as onnxruntime_session
from vim_deploy.engines.onnxruntime.options import OnnxruntimeOptions
from vim_deploy.engines.payload import Payload, StoredTensor
from vim_deploy.errors import EngineError, MissingDependencyError, OperatorLibraryError, OutputError
from vim_deploy.files import sha256_of_file
from vim_deploy.ops.library import usable_instruction_sets


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save(color_model(), tmp_path / "colors.onnx")


@pytest.fixture
def engine(model: Path) -> Path:
    path = model.with_suffix(".engine")
    build_engine(model, path)
    return path


def test_manifest_describes_the_build(model, engine):
    manifest = read_manifest(engine)
    assert manifest.source.name == "colors.onnx"
    assert manifest.source.sha256 == sha256_of_file(model)
    assert manifest.options == OnnxruntimeOptions(optimization="all", threads=None)
    assert manifest.build_info == {}
    assert set(manifest.environment) == {"onnxruntime", "architecture"}
    assert manifest.operator == {"implementation": "none"}
    assert manifest.self_check["max_abs_diff"] <= manifest.self_check["tolerance"]
    assert manifest.model_metadata("it").class_names == ("red", "green", "blue")


def test_no_temporary_files_are_left(engine):
    assert sorted(path.name for path in engine.parent.iterdir()) == ["colors.engine", "colors.onnx"]


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.99])
def test_truncated_engine_is_refused(engine, kept):
    data = engine.read_bytes()
    engine.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(EngineError, match=r"is not an engine|neither an engine"):
        load(engine)


def test_every_flipped_byte_is_detected_or_harmless(engine):
    data = engine.read_bytes()
    manifest, payload = read_engine(engine)
    for place in range(0, len(data), max(1, len(data) // 200)):
        engine.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        try:
            assert read_engine(engine) == (manifest, payload)
        except EngineError:
            continue


def test_a_name_that_is_not_utf8_is_refused(engine):
    data = bytearray(engine.read_bytes())
    local, central = data.index(b"PK\3\4"), data.index(b"PK\1\2")
    data[central + 9] |= 0x08  # names are UTF-8
    data[local + 30] = 0xC2  # the first byte of a name
    engine.write_bytes(data)
    with pytest.raises(EngineError, match="was edited or damaged"):
        load(engine)


def test_edited_manifest_is_refused(engine):
    with zipfile.ZipFile(engine) as archive:
        values = json.loads(archive.read("manifest.json"))
        payload = archive.read("model.onnx")
    values["device"] = "cuda"
    with zipfile.ZipFile(engine, "w") as archive:
        archive.writestr("manifest.json", json.dumps(values))
        archive.writestr("model.onnx", payload)
    with pytest.raises(EngineError, match="self_hash"):
        load(engine)


def test_replaced_payload_is_refused(engine):
    manifest, payload = read_engine(engine)
    write_engine(engine, manifest, Payload(payload.data[:-1] + b"x"))
    with pytest.raises(EngineError, match=r"payload\.sha256.*vim-build colors.onnx"):
        load(engine)
    write_engine(engine, manifest, Payload(payload.data + b"x"))
    with pytest.raises(EngineError, match="bytes"):
        load(engine)


def test_additional_and_compressed_entries_are_refused(engine):
    with zipfile.ZipFile(engine, "a") as archive:
        archive.writestr("../escape", "x")
    with pytest.raises(EngineError, match="escape"):
        load(engine)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", "0" * 10_000_000)
    engine.write_bytes(buffer.getvalue())
    with pytest.raises(EngineError, match="compressed"):
        load(engine)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("onnxruntime", "1.2.3"),
        ("architecture", "riscv64"),
        ("instruction_set", "avx1024"),
        ("operator_contract", "99"),
        ("something new", "1"),
    ],
)
def test_engine_for_another_environment_is_refused_with_the_field(engine, field, value):
    environment = {**read_manifest(engine).environment, field: value}
    changed_engine(engine, environment=environment)
    message = (
        f"{field} is {re.escape(value)} in the engine and .* here. Build it again: vim-build colors.onnx"
    )
    with pytest.raises(EngineError, match=message):
        load(engine)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 6}, "format is 6.*vim-build colors.onnx -o"),
        ({"tensors": {"x": StoredTensor("STRING", (1,), 0)}}, "malformed"),
        ({"metadata": {}}, "has no metadata field"),
        ({"metadata": {"vim_deploy.task": 3}}, "malformed manifest|manifest is malformed"),
        ({"build_info": 5}, "malformed"),
        ({"created": None}, "malformed"),
    ],
)
def test_invalid_manifests_are_refused(engine, changes, message):
    with pytest.raises(EngineError, match=message):
        load(changed_engine(engine, **changes))


def test_stale_engine_is_refused(model, engine):
    load(engine, source=model).close()
    save(color_model(class_names=None), model)
    with pytest.raises(EngineError, match=r"source\.sha256"):
        load(engine, source=model)


def test_other_device_and_invalid_options_are_refused(engine):
    with pytest.raises(EngineError, match="built for device cpu, not cuda"):
        load(engine, device="cuda")
    with pytest.raises(EngineError, match="threads is 0"):
        load(engine, threads=0)


def test_more_threads_than_cpus_are_reported(engine, monkeypatch, caplog):
    monkeypatch.setattr(machine, "usable_cpus", lambda: 2)
    with load(engine, threads=2):
        assert not caplog.records
    with load(engine, threads=3):
        assert "3 threads are more than the 2 CPUs that this process may use" in caplog.text
    with pytest.raises(EngineError, match="threads is 5000; expected 1 to 4096"):
        load(engine, threads=5000)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.engine").write_bytes(b"something else")
    for path, message in (
        (tmp_path / "a.engine", "neither an engine"),
        (tmp_path / "missing.engine", "No such file"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(EngineError, match=message):
            load(path)


def test_failed_write_leaves_the_old_engine(model, engine, monkeypatch):
    before = engine.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vim_deploy.files.os.fsync", full)
    with pytest.raises(EngineError, match="No space left"):
        build_engine(model, engine)
    assert engine.read_bytes() == before
    assert len(list(engine.parent.iterdir())) == 2


def test_invalid_output_paths(model, tmp_path):
    for output, message in (
        (tmp_path, "not a regular file"),
        (tmp_path / "none" / "x.engine", "does not exist"),
        (model, "is an input of this run"),
        ("/dev/null", "not a regular file"),
    ):
        with pytest.raises(OutputError, match=message):
            build_engine(model, output)


@pytest.mark.parametrize("optimization", ["none", "basic", "extended", "all"])
def test_optimizations(model, tmp_path, optimization):
    manifest = build_engine(
        model, tmp_path / "x.engine", OnnxruntimeOptions(optimization=optimization, threads=1)
    )
    assert manifest.options.optimization == optimization
    assert "instruction_set" not in manifest.environment
    load(tmp_path / "x.engine").close()


@pytest.mark.parametrize(("convolutions", "optimization"), [(1, "all"), (2, "all"), (2, "extended")])
def test_only_networks_of_convolutions_are_tied_to_the_instruction_set(tmp_path, convolutions, optimization):
    model = save(convolution_model(convolutions), tmp_path / "x.onnx")
    manifest = build_engine(model, tmp_path / "x.engine", OnnxruntimeOptions(optimization=optimization))
    tied = (
        convolutions > 1 and optimization == "all" and machine.instruction_set() in ("avx", "avx2", "avx512f")
    )
    assert ("instruction_set" in manifest.environment) == tied
    load(tmp_path / "x.engine").close()


def convolution_model(count: int) -> onnx.ModelProto:
    """Convolutions of 32 channels, and the mean of the first three channels."""
    generator = np.random.default_rng(0)
    nodes, value, weights = [], "pixels", []
    for index in range(count):
        kernel = generator.standard_normal((32, 32 if index else 3, 3, 3)).astype(np.float32) / 32
        weights.append(numpy_helper.from_array(kernel, f"kernel{index}"))
        nodes.append(helper.make_node("Conv", [value, f"kernel{index}"], [f"conv{index}"]))
        value = f"conv{index}"
    nodes.append(helper.make_node("ReduceMean", [value], ["mean"], axes=[2, 3], keepdims=0))
    nodes.append(helper.make_node("Slice", ["mean", "first", "end", "axis"], ["logits"]))
    for name, number in (("first", 0), ("end", 3), ("axis", 1)):
        weights.append(numpy_helper.from_array(np.array([number], np.int64), name))
    pixels = helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, ["batch", 3, 8, 8])
    logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", 3])
    return finish(helper.make_graph(nodes, "convolutions", [pixels], [logits], weights), metadata())


def test_wrong_build_is_detected(model, tmp_path, monkeypatch):
    other = color_model()
    other.graph.initializer[0].raw_data = b"\x00\x00\x80\x3f"  # 1.0 for 10.0
    wrong = backend.FusedGraph(other.SerializeToString())
    monkeypatch.setattr(backend, "_rewritten", lambda *arguments: wrong)
    with pytest.raises(EngineError, match="differs from the file by"):
        build_engine(model, tmp_path / "x.engine")
    assert not (tmp_path / "x.engine").exists()


def test_missing_provider_is_an_error(model, tmp_path):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(EngineError, match="CUDAExecutionProvider"):
        build_engine(model, tmp_path / "x.engine", OnnxruntimeOptions(device="cuda"))


def test_operator_with_and_without_library(tmp_path):
    model = save(scan_model(), tmp_path / "scan.onnx")
    library = build_engine(model, tmp_path / "library.engine")
    function = build_engine(model, tmp_path / "function.engine", OnnxruntimeOptions(use_library=False))
    assert library.operator["implementation"] == "library"
    assert library.environment["operator_contract"] == "2"
    assert function.operator == {"implementation": "function"}
    assert "operator_contract" not in function.environment


def test_missing_library_is_an_error(tmp_path, monkeypatch):
    model = save(scan_model(), tmp_path / "scan.onnx")
    build_engine(model, tmp_path / "scan.engine")
    monkeypatch.setenv("VIM_DEPLOY_ORT_LIBRARY", str(tmp_path / "missing.so"))
    with pytest.raises(OperatorLibraryError, match=r"missing\.so"):
        build_engine(model, tmp_path / "other.engine")
    with pytest.raises(OperatorLibraryError, match=r"missing\.so"):
        load(tmp_path / "scan.engine")
    build_engine(model, tmp_path / "other.engine", OnnxruntimeOptions(use_library=False))


def test_damaged_library_is_an_error(tmp_path, monkeypatch):
    model = save(scan_model(), tmp_path / "scan.onnx")
    (tmp_path / "not.so").write_bytes(b"\x7fELF but not really")
    monkeypatch.setenv("VIM_DEPLOY_ORT_LIBRARY", str(tmp_path / "not.so"))
    with pytest.raises(OperatorLibraryError, match=r"not\.so"):
        build_engine(model, tmp_path / "scan.engine")


def test_kernels_for_another_instruction_set_are_a_warning(tmp_path):
    build_engine(save(scan_model(), tmp_path / "scan.onnx"), tmp_path / "scan.engine")
    used, *others = usable_instruction_sets()
    code = f"from vim_deploy import load; load({str(tmp_path / 'scan.engine')!r}).close()"
    for name in (used, *others[-1:]):
        environment = {**os.environ, "VIM_DEPLOY_ISA": name, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
        )
        expected = f"was checked with the kernels for {used}; those for {name} run here"
        assert (expected in done.stderr) == (name != used), done.stderr


def test_another_build_of_the_library_is_a_warning(tmp_path, caplog):
    build_engine(save(scan_model(), tmp_path / "scan.onnx"), tmp_path / "scan.engine")
    load(tmp_path / "scan.engine").close()
    assert "another build" not in caplog.text
    operator = {**read_manifest(tmp_path / "scan.engine").operator, "library_sha256": "0" * 64}
    load(changed_engine(tmp_path / "scan.engine", operator=operator)).close()
    assert "another build" in caplog.text


def test_missing_runtime_says_what_to_install(engine, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"pip install \"vim-deploy\[cpu\]\".*\[gpu\]"):
        load(engine)


def test_two_installed_runtimes_are_a_warning(engine, monkeypatch, caplog):
    monkeypatch.setattr(onnxruntime_session, "_is_installed", lambda name: True)
    load(engine).close()
    assert "both installed" in caplog.text
