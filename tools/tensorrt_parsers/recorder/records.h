// Tensors and layers of a network that is recorded, behind TensorRT's interfaces ITensor and ILayer.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "json.h"
#include "problems.h"
#include "values.h"

namespace recorder {

struct LayerRecord;

// What a parser sets on a layer. The records of `layers.inc`, generated from TensorRT's header, derive from it.
struct Settings {
  LayerRecord* layer = nullptr;
  std::map<std::string, std::function<std::string()>> written;  // the JSON of each setting, made for the report
  std::vector<const nvinfer1::Weights*> weights;

  template <class Value>
  void note(const char* name, const Value& field) {
    const Value* where = &field;
    if constexpr (std::is_same_v<Value, nvinfer1::Weights>)
      if (!written.count(name)) weights.push_back(where);
    written[name] = [where] { return json(*where); };
    changed();
  }
  bool has(const char* name) const { return written.count(name) != 0; }
  void changed();
};

}  // namespace recorder

#include "interfaces.inc"

namespace recorder {

struct TensorRecord : TensorBase {
  std::string name;
  nvinfer1::Dims dims{};
  nvinfer1::DataType type = nvinfer1::DataType::kFLOAT;
  bool input = false, output = false;
  LayerRecord* owner = nullptr;
  int id = 0;
  Values values;

  void update() const;  // by the layer that computes it, if its inputs or settings have changed

  void setName(const char* text) noexcept override { name = text; }
  const char* getName() const noexcept override { return name.c_str(); }
  void setDimensions(DimsArgument given) noexcept override { dims = given; }
  nvinfer1::Dims getDimensions() const noexcept override { return update(), dims; }
  void setType(nvinfer1::DataType given) noexcept override { type = given; }
  nvinfer1::DataType getType() const noexcept override { return update(), type; }
  bool isNetworkInput() const noexcept override { return input; }
  bool isNetworkOutput() const noexcept override { return output; }
  nvinfer1::TensorLocation getLocation() const noexcept override { return nvinfer1::TensorLocation::kDEVICE; }
  bool isShapeTensor() const noexcept override { return update(), values.has_value(); }
  bool isExecutionTensor() const noexcept override { return true; }
  const char* getDimensionName(std::int32_t) const noexcept override { return ""; }
  void setDimensionName(std::int32_t, const char*) noexcept override {}
  bool dynamicRangeIsSet() const noexcept override { return false; }
};

struct Tensor : nvinfer1::ITensor {
  TensorRecord record;
  Tensor() { mImpl = &record; }
};

// The record of a tensor, up to date.
const TensorRecord& of(const nvinfer1::ITensor* tensor);

using ShapeRule = void (*)(LayerRecord&);  // computes shapes, types and values of the outputs

struct LayerRecord : LayerBase {
  nvinfer1::LayerType type{};
  std::string kind, name, metadata;
  std::vector<nvinfer1::ITensor*> inputs;
  std::vector<Tensor*> outputs;
  Settings* settings = nullptr;
  ShapeRule rule = nullptr;
  bool stale = true, busy = false;
  std::optional<nvinfer1::DataType> precision;
  std::map<std::int32_t, nvinfer1::DataType> output_types;

  void update();
  const TensorRecord& in(std::size_t index) const { return of(inputs[index]); }
  bool has(std::size_t index) const { return inputs.size() > index && inputs[index]; }
  TensorRecord& out(std::size_t index = 0) { return outputs[index]->record; }
  void mismatch(const std::string& what) const { problems().mismatches.push_back(name + ": " + what); }

  nvinfer1::LayerType getType() const noexcept override { return type; }
  void setName(const char* text) noexcept override { name = text; }
  const char* getName() const noexcept override { return name.c_str(); }
  std::int32_t getNbInputs() const noexcept override { return static_cast<std::int32_t>(inputs.size()); }
  nvinfer1::ITensor* getInput(std::int32_t i) const noexcept override { return has(std::size_t(i)) ? inputs[std::size_t(i)] : nullptr; }
  std::int32_t getNbOutputs() const noexcept override { return static_cast<std::int32_t>(outputs.size()); }
  nvinfer1::ITensor* getOutput(std::int32_t i) const noexcept override {
    return std::size_t(i) < outputs.size() ? outputs[std::size_t(i)] : nullptr;
  }
  void setInput(std::int32_t i, nvinfer1::ITensor& tensor) noexcept override;
  void setPrecision(nvinfer1::DataType given) noexcept override { precision = given; }
  nvinfer1::DataType getPrecision() const noexcept override { return precision.value_or(nvinfer1::DataType::kFLOAT); }
  bool precisionIsSet() const noexcept override { return precision.has_value(); }
  void resetPrecision() noexcept override { precision.reset(); }
  void setOutputType(std::int32_t i, nvinfer1::DataType given) noexcept override { output_types[i] = given, stale = true; }
  nvinfer1::DataType getOutputType(std::int32_t i) const noexcept override { return outputs[std::size_t(i)]->record.getType(); }
  bool outputTypeIsSet(std::int32_t i) const noexcept override { return output_types.count(i) != 0; }
  void resetOutputType(std::int32_t i) noexcept override { output_types.erase(i), stale = true; }
  void setMetadata(const char* text) noexcept override { metadata = text; }
  const char* getMetadata() const noexcept override { return metadata.c_str(); }
};

// A layer as its TensorRT interface, such as IConvolutionLayer, with the record of its settings.
template <class Interface, class Record>
struct Layer : Interface {
  LayerRecord record;
  Record settings;
  Layer() {
    this->mLayer = &record;
    this->mImpl = &settings;
    settings.layer = &record;
    record.settings = &settings;
  }
};

}  // namespace recorder
