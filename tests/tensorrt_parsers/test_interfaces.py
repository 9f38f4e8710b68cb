"""The C++ classes generated from TensorRT's header, from a header with the same forms of declarations."""

from __future__ import annotations

import pytest
from tensorrt_parsers.interfaces import generate, methods

HEADER = """
class VSliceLayer : public VRoot
{
public:
    virtual void setStart(Dims const& start) noexcept = 0;  // a comment
    virtual Dims getStart() const noexcept = 0;
    virtual bool setSampleMode(
        SampleMode mode) noexcept = 0;
    virtual int32_t getRank() const noexcept = 0;
};
class VMatrixMultiplyLayer : public VRoot
{
public:
    virtual void setOperation(int32_t index, MatrixOperation op) noexcept = 0;
    virtual MatrixOperation getOperation(int32_t index) const noexcept = 0;
};
class VResizeLayer : public VRoot
{
public:
    virtual void setScales(float const* scales, int32_t nbScales) noexcept = 0;
    virtual int32_t getScales(int32_t size, float* scales) const noexcept = 0;
    virtual void setEquation(char const* text) noexcept = 0;
    virtual char const* getEquation() const noexcept = 0;
};
class VPluginV2Layer : public VRoot
{
public:
    virtual IPluginV2& getPlugin() noexcept = 0;
};
""" + "".join(
    f"class {name} : public VRoot\n{{\npublic:\n    virtual IBuilder& getBuilder() const noexcept = 0;\n}};\n"
    for name in ("VNetworkDefinition", "VBuilder", "VTensor", "VLayer", "VRefitter")
)


def test_setters_store_what_getters_return():
    text = generate(HEADER)
    assert "struct SliceLayerRecord : nvinfer1::apiv::VSliceLayer, Settings {" in text
    assert "  Dims start{};" in text
    assert '{ this->start = start; note("start", this->start); }' in text
    assert "  Dims getStart() const noexcept override { return start; }" in text
    assert "setSampleMode(SampleMode mode) noexcept override { this->sample_mode = mode; " in text
    assert 'note("sample_mode", this->sample_mode); return true; }' in text
    assert "  std::string equation{};" in text
    assert "{ return equation.c_str(); }" in text


def test_settings_of_several_values_are_stored():
    text = generate(HEADER)
    assert "  MatrixOperation operation[2]{};" in text
    assert 'note(index ? "operation1" : "operation0", operation[index]);' in text
    assert "  std::vector<float> scales;" in text
    assert "this->scales.assign(scales, scales + nbScales);" in text


def test_other_functions_are_reported_as_not_implemented():
    text = generate(HEADER)
    assert 'int32_t getRank() const noexcept override { not_implemented("getRank"); return {}; }' in text
    assert 'getBuilder() const noexcept override { not_implemented("getBuilder"); std::abort(); }' in text


def test_plugins_have_no_generated_record():
    assert "PluginV2LayerRecord" not in generate(HEADER)


def test_a_header_without_a_class_is_refused():
    with pytest.raises(ValueError, match="has no class VShapeLayer"):
        methods(HEADER, "VShapeLayer")
