"""Building with TensorRT 8.6, 10 and 11: flags, options, and engines that differ from the request.

All tests use fakes (tests/fake_tensorrt.py), because TensorRT does not start without a GPU.
"""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from small_exports import BLOCKS, IMAGE_SIZE
from tensorrt_environment import Environment, pixels

from vim_deploy import load
from vim_deploy.engines.container import read_manifest
from vim_deploy.engines.tensorrt import api as tensorrt_api
from vim_deploy.engines.tensorrt.options import TensorrtOptions
from vim_deploy.errors import EngineError, OperatorLibraryError

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


@pytest.mark.parametrize("major", [8, 10, 11])
def test_an_fp32_engine_of_an_fp16_file_is_refused(place, major):
    place.install(major)
    place.recorder.ignores_types = True
    with pytest.raises(EngineError, match=r"the file is in fp16, but TensorRT built layers\.0.* in fp32"):
        place.build("fp16", layers=place.folder / "layers.json")
    assert not (place.folder / "built.engine").exists()
    # The layers are written for inspection.
    assert json.loads((place.folder / "layers.json").read_text())["Layers"]


def test_an_engine_without_layer_types_is_refused(place):
    place.install(10)
    place.recorder.plain_names = True
    with pytest.raises(EngineError, match="0 selective scans, the graph 4"):
        place.build("fp16")


def test_bfloat16(place):
    place.install(10)
    assert read_manifest(place.build("bf16")).precision == "bf16"
    place.install(8)
    with pytest.raises(EngineError, match="bfloat16 tensors, which it does not support"):
        place.build("bf16")


@pytest.mark.parametrize("major", [8, 10])
def test_an_engine_is_rebuilt_with_probes_and_the_same_options(place, major):
    """The rebuilt engine contains its weights even if the original is stripped: nothing could refit it."""
    from vim_deploy.families.vim_probes import find_probes
    from vim_deploy.validation.artifacts import RunMode, Target
    from vim_deploy.validation.probes import open_probed

    place.install(major)
    options = {"max_batch": 3, "level": 2, "workspace_mib": 64, "hardware": "ampere_plus"}
    engine = place.build("fp16", strip=major >= 10, **options)
    probed, probes = open_probed(Target(engine, RunMode.ENGINE), place.folder / "fp16.onnx", find_probes)
    with probed:
        found = probed.run_all(pixels(5))
        assert probed.manifest.build_info["batches"] == [1, 3, 3]
    assert set(probes.values()) | {"logits"} == set(found)
    assert all(len(values) == 5 for values in found.values())
    calls = place.recorder.named("builder_optimization_level"), place.recorder.named("set_memory_pool_limit")
    assert calls[0] == [2, 2] and calls[1][0] == calls[1][1]
    assert [level.name for level in place.recorder.named("hardware_compatibility_level")] == [
        "AMPERE_PLUS"
    ] * 2
    assert place.recorder.named("refit_from_bytes")[1:] == []  # only the first engine was stripped


def test_the_manifest_records_the_options(place):
    place.install(10)
    given = {"min_batch": 2, "opt_batch": 3, "max_batch": 4, "level": 1, "refit": True}
    assert read_manifest(place.build("fp32", **given)).options == TensorrtOptions(**given)


def test_profiles(place):
    place.install(10)
    manifest = read_manifest(place.build("fp32", min_batch=2, opt_batch=3, max_batch=5))
    shapes = [(size, 3, *IMAGE_SIZE) for size in (2, 3, 5)]
    assert place.recorder.named("set_shape") == [("pixels", *shapes)]
    assert manifest.build_info["batches"] == [2, 3, 5]


def test_a_fixed_batch_has_no_profile(place):
    place.install(10)
    manifest = read_manifest(place.build("fp32", batch=3))
    assert place.recorder.named("set_shape") == []
    assert manifest.build_info["batches"] == [3, 3, 3]
    with pytest.raises(EngineError, match="fixed batch size 3"):
        place.build("fp32", batch=3, max_batch=4)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (1, 8, 32)),
        ({"max_batch": 4}, (1, 4, 4)),
        ({"opt_batch": 64}, (1, 64, 64)),
        ({"min_batch": 16}, (16, 16, 32)),
    ],
)
def test_default_batches_follow_the_given_ones(given, expected):
    assert TensorrtOptions(**given).batches(None) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"min_batch": 4, "max_batch": 2}, "1 <= min <= opt <= max"),
        ({"level": 6}, "level is 6; expected 0 to 5"),
        ({"workspace_mib": 0}, "workspace_mib is 0"),
        ({"hardware": "any"}, "expected one of none, ampere_plus"),
    ],
)
def test_options_out_of_range(place, given, message):
    place.install(10)
    with pytest.raises(EngineError, match=message):
        place.build("fp32", **given)


def test_options_reach_the_builder(place):
    place.install(10)
    manifest = read_manifest(
        place.build("fp32", workspace_mib=64, level=4, hardware="ampere_plus", refit=True)
    )
    calls = dict(place.recorder.calls)
    pool, size = calls["set_memory_pool_limit"]
    assert (pool.name, size) == ("WORKSPACE", 64 << 20)
    assert calls["builder_optimization_level"] == 4
    assert calls["hardware_compatibility_level"].name == "AMPERE_PLUS"
    assert calls["profiling_verbosity"].name == "DETAILED"
    assert place.recorder.flags == {"REFIT"}
    assert manifest.environment["gpu"] == "compute capability 8.0 or later"


@pytest.mark.parametrize("major", [8, 10, 11])
def test_cublas_and_cudnn_are_not_used_as_tactic_sources(place, major):
    place.install(major)
    place.build("fp32")
    assert place.recorder.named("set_tactic_sources") == ([] if major == 11 else [(1 << 3 | 1 << 4,)])
    previews = [feature.name for feature, on in place.recorder.named("set_preview_feature") if on]
    assert previews == ([] if major == 11 else ["PROFILE_SHARING_0806"])


@pytest.mark.parametrize(
    ("major", "given", "name"),
    [
        (8, {"strip": True}, "STRIP_PLAN"),
        (10, {"hardware": "same_compute_capability"}, "SAME_COMPUTE_CAPABILITY"),
    ],
)
def test_features_that_a_version_lacks_are_refused_by_name(place, major, given, name):
    place.install(major)
    with pytest.raises(EngineError, match=f"has no {name}.*leave out the option"):
        place.build("fp32", **given)


def test_timing_cache_is_read_and_written(place):
    place.install(10)
    cache = place.folder / "timings"
    place.build("fp32", timing_cache=cache)
    assert cache.read_bytes() == b"timings"
    place.build("fp32", timing_cache=cache)
    assert place.recorder.named("create_timing_cache") == [b"", b"timings"]
    cache.write_bytes(b"of another version")
    with pytest.raises(EngineError, match="not a timing cache of this TensorRT version"):
        place.build("fp32", timing_cache=cache)


def test_failures_of_parser_and_builder(place):
    place.install(10)
    place.recorder.fails_to_parse = True
    with pytest.raises(EngineError, match=r"cannot parse fp32\.onnx: node 7: no importer"):
        place.build("fp32")
    place.recorder.fails_to_parse, place.recorder.fails_to_build = False, True
    with pytest.raises(EngineError, match=r"cannot build an engine from fp32\.onnx"):
        place.build("fp32")


def test_a_plugin_that_is_not_registered_is_an_error(place):
    place.install(10)
    place.recorder.refuses_plugin = True
    with pytest.raises(OperatorLibraryError, match="the registry has no plugin vim_deploy::SelectiveScan"):
        place.build("fp32")
    assert len(place.recorder.named("load_library")) == 1


def test_a_library_for_another_version_is_named(place, monkeypatch):
    place.install(10)
    monkeypatch.setattr(tensorrt_api, "_open", lambda path: SimpleNamespace(getPluginCreators=None))
    with pytest.raises(OperatorLibraryError, match="has no function getCreators"):
        place.build("fp32")


def test_a_plugin_for_a_newer_cuda_than_the_driver_names_both(place):
    place.install(10)
    place.gpu.cuda_version = 12040
    with pytest.raises(
        OperatorLibraryError, match=r"built with CUDA 13, but .* only CUDA 12\. Update the driver to 580"
    ):
        place.build("fp32")
    assert not place.recorder.named("load_library")


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_a_built_engine_is_compared_with_its_file(place, precision):
    place.install(10)
    check = read_manifest(place.build(precision)).self_check
    assert check["compared"] is True
    assert check["max_relative_diff"] <= check["tolerance"]


def test_an_engine_opens_and_predicts(place):
    place.install(10)
    with load(place.build("fp16")) as engine:
        assert engine.manifest.backend == "tensorrt"
        assert engine.run(pixels(3))["logits"].shape == (3, 5)


def test_stripped_engines_get_their_weights_from_the_file(place):
    place.install(10)
    engine = place.build("fp16", strip=True)
    # The flag for refitting with the same weights; REFIT loses biases in 11.3.
    assert place.recorder.flags >= {"STRIP_PLAN", "REFIT_IDENTICAL"}
    assert "REFIT" not in place.recorder.flags
    with pytest.raises(EngineError, match=r"has no weights.*--source fp16\.onnx"):
        load(engine)
    load(engine, source=place.folder / "fp16.onnx").close()
    assert len(place.recorder.named("refit_from_bytes")) == 2  # when built, and when opened


def test_missing_weights_are_named(place):
    place.install(11)
    place.recorder.lacking_weights = ("layers.0.mixer.A", "layers.0.mixer.D")
    with pytest.raises(EngineError, match=r"missing: layers\.0\.mixer\.A, .*D\. Build .* without --strip"):
        place.build("fp16", strip=True)


def test_constants_that_the_parser_made_are_taken_from_the_parsed_network(place):
    place.install(10)
    place.recorder.created_weights = ("tmp_weight_1", "tmp_weight_2")
    engine = place.build("fp16", strip=True)
    load(engine, source=place.folder / "fp16.onnx").close()
    given = [(f"(Unnamed Layer* tmp_weight_{i + 1}) [Constant]", "CONSTANT", [i, -3, 0]) for i in (0, 1)]
    assert place.recorder.named("set_weights") == 2 * given  # when built, and when opened


def test_the_reason_of_the_refitter_is_given(place):
    place.install(10)
    place.recorder.created_weights = ("tmp_weight_1",)
    place.recorder.renames_constants = True
    with pytest.raises(
        EngineError, match=r"the weights: Failed to refit all the weights\.; missing: .*tmp_weight_1\. Build"
    ):
        place.build("fp16", strip=True)


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


@pytest.mark.parametrize(
    "fields",
    [
        lambda text: {"Format/Datatype": f"Row major linear {text.replace('Half', 'FP16')}"},
        lambda text: {"Datatype": text.replace("Half", "Float16"), "Format": "Linear"},
        lambda text: {"DataType": text.lower(), "Format": "Row major linear FP32 or FP16"},
        lambda text: {"Format": f"Channel major {text.replace('Half', 'FP16').replace('Float', 'FP32')}"},
    ],
    ids=["8.6", "11", "a type before a format", "only a format"],
)
@pytest.mark.parametrize("keeps", [True, False])
def test_types_are_read_in_all_spellings(place, fields, keeps):
    place.install(11)
    place.recorder.tensor_fields, place.recorder.ignores_types = fields, not keeps
    if keeps:
        assert read_manifest(place.build("fp16")).build_info["layers"]["block_matmuls"] >= 4 * BLOCKS
    else:
        with pytest.raises(EngineError, match=r"the file is in fp16, but TensorRT built .* in fp32"):
            place.build("fp16")


def test_matmuls_are_found_by_their_names_in_the_metadata(place):
    place.install(10)
    place.recorder.own_names = True
    assert read_manifest(place.build("fp16")).build_info["layers"]["block_matmuls"] >= 4 * BLOCKS


def test_unidentified_matmuls_are_a_warning(place, caplog, monkeypatch):
    from vim_deploy.engines.tensorrt import readback as tensorrt_readback

    monkeypatch.setattr(tensorrt_readback, "_is_block_matmul", lambda layer, graph: False)
    place.install(10)
    place.build("fp16")
    assert "does not show which layers are matmuls" in caplog.text


def test_version_compatible_engines_run_code_only_when_allowed(place, monkeypatch):
    place.install(10)
    engine = place.build("fp16", version_compatible=True)
    assert read_manifest(engine).environment["tensorrt_major"] == "10"
    with pytest.raises(EngineError, match="VIM_DEPLOY_ALLOW_ENGINE_CODE=1"):
        load(engine)
    monkeypatch.setenv("VIM_DEPLOY_ALLOW_ENGINE_CODE", "1")
    load(engine).close()
    assert place.recorder.named("engine_host_code_allowed")[-1] is True


@pytest.mark.parametrize("major", [8, 10, 11])
def test_the_runtime_of_a_version_compatible_engine_has_our_plugin(place, monkeypatch, major):
    """It does not see the global registry, into which the library is loaded once."""
    monkeypatch.setenv("VIM_DEPLOY_ALLOW_ENGINE_CODE", "1")
    place.install(major)
    load(place.build("fp32", version_compatible=True)).close()
    assert len(place.recorder.named("load_library")) == 3


def test_other_engines_never_run_code(place, monkeypatch):
    monkeypatch.setenv("VIM_DEPLOY_ALLOW_ENGINE_CODE", "1")
    place.install(10)
    load(place.build("fp16")).close()
    assert set(place.recorder.named("engine_host_code_allowed")) == {False}
