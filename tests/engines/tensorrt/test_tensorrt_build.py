"""Building with TensorRT 8.6, 10 and 11: options, plugins, failures, and what is compared.

All tests use fakes (tests/fake_tensorrt.py), because TensorRT does not start without a GPU.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from small_exports import IMAGE_SIZE
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
