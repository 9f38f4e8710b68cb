"""The metadata of exported files: round trip, invalid values, other versions."""

from __future__ import annotations

import json

import pytest
from small_onnx import metadata

from vim_deploy.errors import ConfigError, EngineError
from vim_deploy.metadata import FORMAT, PREFIX, ModelMetadata


def test_metadata_is_read_back_unchanged():
    written = metadata()
    assert ModelMetadata.from_props(written.to_props(), "a.onnx") == written


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("format", FORMAT - 1, f"a.onnx has metadata format {FORMAT - 1}; this version reads {FORMAT}"),
        ("task", "paint", "a.onnx is for the task 'paint'; expected one of classify, features, segment"),
        ("task", ["classify"], r"for the task \['classify'\]"),
        ("precision", "bf16-matmul", "has the precision 'bf16-matmul'; expected one of fp32, fp16, bf16"),
        ("precision", [], "has the precision"),
        ("format", float(FORMAT), r"metadata format 2\.0"),
        ("config", [], r"config is \[\]; expected dict"),
        ("checkpoint", "synthetic", "checkpoint is 'synthetic'; expected dict"),
        ("class_names", "red", "class_names is 'red'; expected list"),
        ("class_names", [1, 2], r"class_names are \[1, 2\]"),
    ],
)
def test_invalid_values_are_refused(name, value, message):
    props = {**metadata().to_props(), PREFIX + name: json.dumps(value)}
    with pytest.raises((EngineError, ConfigError), match=message):
        ModelMetadata.from_props(props, "a.onnx")


def test_missing_and_damaged_fields_are_refused():
    props = metadata().to_props()
    with pytest.raises(EngineError, match=r"metadata field vim_deploy\.task is not JSON"):
        ModelMetadata.from_props({**props, PREFIX + "task": "{"}, "a.onnx")
    del props[PREFIX + "task"]
    with pytest.raises(EngineError, match=r"has no metadata field vim_deploy\.task"):
        ModelMetadata.from_props(props, "a.onnx")


def test_files_of_earlier_versions_do_not_have_the_source_of_class_names():
    props = metadata().to_props()
    del props[PREFIX + "class_names_source"]
    assert ModelMetadata.from_props(props, "a.onnx").class_names_source is None
