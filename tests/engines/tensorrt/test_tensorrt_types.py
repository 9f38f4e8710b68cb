"""How TensorRT 8.6, 10 and 11 get the types of a file: flags, typing and constraints of layers.

All tests use fakes (tests/fake_tensorrt.py), because TensorRT does not start without a GPU.
"""

from __future__ import annotations

import pytest
from small_exports import BLOCKS
from tensorrt_environment import Environment

from vim_deploy import load
from vim_deploy.engines.container import read_manifest
from vim_deploy.errors import EngineError

pytest.importorskip("onnxruntime", reason="the fake's engines are run by onnxruntime")


@pytest.fixture
def place(tmp_path, monkeypatch):
    return Environment(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("major", "typing", "network", "flags"),
    [
        (8, "constrained", 1 << 0, {"FP16", "OBEY_PRECISION_CONSTRAINTS", "TF32"}),
        (10, "strong", 1 << 0 | 1 << 1, {"TF32"}),
        (11, "strong", 1 << 0, {"TF32"}),
    ],
)
def test_each_version_gets_its_own_precision_flags(place, major, typing, network, flags):
    place.install(major)
    manifest = read_manifest(place.build("fp16"))
    assert manifest.precision == "fp16"
    assert manifest.build_info["typing"] == typing
    assert place.recorder.named("create_network") == [network]
    assert place.recorder.flags == flags
    assert manifest.build_info["layers"]["plugins"] == 2 * BLOCKS
    assert manifest.build_info["layers"]["block_matmuls"] >= 4 * BLOCKS


def test_matmuls_accumulate_in_float32_on_request(place):
    place.install(10)
    manifest = read_manifest(place.build("fp16", fp32_accumulation=True, strip=True))
    assert manifest.options.fp32_accumulation
    assert manifest.build_info["layers"]["block_matmuls"] >= 4 * BLOCKS
    assert manifest.build_info["layers"]["matmul_tactics"] == ["sm90_xmma_gemm_f16f16_f16f32"]
    load(place.folder / "built.engine", source=place.folder / "fp16.onnx").close()
    place.install(8)
    with pytest.raises(EngineError, match=r"TensorRT 8 chooses how .* leave out --fp32-accumulation"):
        place.build("fp16", fp32_accumulation=True)


def test_strong_typing_is_implied_without_its_flag(place):
    place.install(11, strongly_typed_flag=False)
    assert read_manifest(place.build("fp16")).build_info["typing"] == "implied"
    assert place.recorder.named("create_network") == [0]


def test_8_6_is_constrained_to_the_types_of_the_graph(place):
    place.install(8)
    place.build("fp16")
    layers = {layer.name: layer for layer in place.recorder.layers}
    product, norm = layers["layers.0.mixer.in_proj/MatMul"], layers["layers.0.norm/Mul"]
    assert (product.precision.name, product.output_types[0].name) == ("HALF", "HALF")
    assert (norm.precision.name, norm.output_types[0].name) == ("FLOAT", "FLOAT")
    assert layers["model/Shape"].precision is None


def test_8_6_is_constrained_in_tensors_that_the_parser_adds(place):
    """The classifier is a Gemm: a matmul whose output is not in the graph, and a sum."""
    place.install(8)
    place.build("fp16")
    (matmul,) = [layer for layer in place.recorder.layers if layer.type.name == "MATRIX_MULTIPLY"]
    assert matmul.get_output(0).name.startswith("(Unnamed Layer*")
    assert (matmul.precision.name, matmul.output_types[0].name) == ("FLOAT", "FLOAT")


def test_8_6_constrains_only_the_outputs_of_plugins(place):
    """A precision would also apply to the inputs A, D and delta_bias, which are always float32."""
    place.install(8)
    place.build("fp16")
    plugins = [layer for layer in place.recorder.layers if layer.type.name == "PLUGIN_V2"]
    assert len(plugins) == 2 * BLOCKS
    for plugin in plugins:
        assert (plugin.precision, plugin.output_types[0].name) == (None, "HALF")


def test_newer_versions_have_no_type_constraints(place):
    place.install(10)
    place.build("fp16")
    assert all(layer.precision is None for layer in place.recorder.layers)


@pytest.mark.parametrize("major", [8, 10, 11])
def test_tf32_never_rounds_a_float32_file(place, major):
    place.install(major)
    place.build("fp32")
    assert place.recorder.cleared == {"TF32"}
    assert not place.recorder.flags


def test_bfloat16(place):
    place.install(10)
    assert read_manifest(place.build("bf16")).precision == "bf16"
    place.install(8)
    with pytest.raises(EngineError, match="bfloat16 tensors, which it does not support"):
        place.build("bf16")


@pytest.mark.parametrize(
    ("precision", "major", "flags"),
    [("int8", 8, {"INT8"}), ("int8", 10, set()), ("int8", 11, set()), ("fp8", 10, set()), ("fp8", 11, set())],
)
def test_quantized_files_are_typed_by_the_graph(place, precision, major, flags):
    """Only 8.6, where the network is not strongly typed, needs a flag that allows 8-bit types."""
    place.install(major)
    manifest = read_manifest(place.build(precision))
    assert manifest.precision == precision
    assert manifest.build_info["typing"] == ("constrained" if major == 8 else "strong")
    assert manifest.build_info["layers"]["block_matmuls"] == 3 * BLOCKS
    assert (place.recorder.flags, place.recorder.cleared) == (flags, {"TF32"})


def test_fp8_is_refused_by_8_6(place):
    place.install(8)
    with pytest.raises(EngineError, match="float8 tensors, which only TensorRT 10 and later support"):
        place.build("fp8")


def test_8_6_prefers_types_that_it_cannot_obey_with_a_warning(place, caplog):
    place.install(8)
    place.recorder.cannot_obey = True
    manifest = read_manifest(place.build("fp16"))
    assert manifest.build_info["flags"] == ["FP16", "PREFER_PRECISION_CONSTRAINTS", "TF32"]
    assert "no implementation of some layer of fp16.onnx in the file's type" in caplog.text
    builds = place.recorder.named("build_serialized_network")
    assert ["OBEY_PRECISION_CONSTRAINTS" in flags for flags in builds] == [True, False]
    # The result is still read back and checked.
    place.recorder.ignores_types = True
    with pytest.raises(EngineError, match="the file is in fp16, but TensorRT built"):
        place.build("fp16")
