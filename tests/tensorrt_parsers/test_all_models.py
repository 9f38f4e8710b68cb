"""All reference classifiers, the trained examples, Vim-Ti and DeiT-Ti in TensorRT's parsers.

The graphs are those of `vim-build`, with fused operators.

Takes minutes; the largest differences are recorded as properties of the test (`--junit-xml`).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from golden_data import load_json
from golden_models import golden_model
from parsed_file import checked

from vim_deploy.dense.segmenter_checkpoint import load_segmenter
from vim_deploy.export.onnx import to_onnx
from vim_deploy.export.reduced import in_precision
from vim_deploy.model import create_model
from vim_deploy.model.checkpoint import load_model
from vim_deploy.model.synthetic import fill_synthetic
from vim_deploy.tasks.classify.export import ClassifyModule
from vim_deploy.tasks.features.export import FeaturesModule
from vim_deploy.tasks.features.options import FeatureExportOptions
from vim_deploy.tasks.segment.export import SegmentModule

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
CASES = {case["name"]: case for case in load_json("models")["cases"]}
FORMS = [("fp32", None), ("fp32", 2), ("fp16", None), ("fp16", 2), ("bf16", None)]  # precision, batch size
FORM_NAMES = [f"{precision}-{'dynamic' if batch is None else 'fixed'}" for precision, batch in FORMS]


def check(recorder, plugins, folder, record_property, data: bytes) -> None:
    parsed, found = checked(recorder, plugins, data, folder, fuse=True)
    record_property("tensorrt", str(recorder.installation))
    record_property("layers", len(parsed.recording.layers))
    record_property("difference", max(found.values()))


@pytest.fixture
def form(request, recorder):
    precision, batch = request.param
    if precision == "bf16" and recorder.installation.major < 10:
        pytest.skip("TensorRT 8.6 has no bfloat16")
    return precision, batch


@cache
def classifier(name: str, precision: str, batch: int | None) -> bytes:
    if name == "vim_tiny":
        model = create_model("vim_tiny")
        fill_synthetic(model, seed=0)
    elif name == "digits":
        model = load_model(ROOT / "examples/digits/digits.safetensors", num_classes=10)[0]
    else:
        model = golden_model(CASES[name])[0]
    return to_onnx(ClassifyModule(in_precision(model.eval(), precision)), batch=batch).SerializeToString()


@pytest.mark.parametrize("form", FORMS, ids=FORM_NAMES, indirect=True)
@pytest.mark.parametrize("name", [*CASES, "digits", "vim_tiny"])
def test_classifiers(recorder, plugins, tmp_path, record_property, form, name):
    check(recorder, plugins, tmp_path, record_property, classifier(name, *form))


@cache
def feature_map(pool: str, precision: str, batch: int | None) -> bytes:
    model = golden_model(CASES["midcls"])[0]
    module = FeaturesModule(in_precision(model, precision), FeatureExportOptions(pool))
    return to_onnx(module, batch=batch).SerializeToString()


@pytest.mark.parametrize("form", FORMS, ids=FORM_NAMES, indirect=True)
@pytest.mark.parametrize("pool", ["pooled", "tokens", "map"])
def test_features(recorder, plugins, tmp_path, record_property, form, pool):
    check(recorder, plugins, tmp_path, record_property, feature_map(pool, *form))


@cache
def segmenter(precision: str, batch: int | None) -> bytes:
    model = load_segmenter(ROOT / "examples/scenes/scenes.safetensors", num_classes=11)[0]
    return to_onnx(SegmentModule(in_precision(model.eval(), precision)), batch=batch).SerializeToString()


@pytest.mark.parametrize("form", FORMS, ids=FORM_NAMES, indirect=True)
def test_the_trained_segmenter(recorder, plugins, tmp_path, record_property, form):
    check(recorder, plugins, tmp_path, record_property, segmenter(*form))


def test_deit(recorder, plugins, tmp_path, record_property, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools" / "gpu_check"))
    from prepare import export_deit

    export_deit(tmp_path / "deit.onnx", 224)
    check(recorder, plugins, tmp_path, record_property, (tmp_path / "deit.onnx").read_bytes())
