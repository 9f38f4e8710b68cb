// Shared by the tests of the TensorRT adapters.
#pragma once

#include <NvInferRuntime.h>

#include <cstdio>
#include <string>
#include <vector>

#include "launch_fake.h"
#include "trt_plugin_core.h"

namespace trt_test {

// The logger of the plugin.
class Log final : public nvinfer1::ILogger {
 public:
  void log(Severity severity, const char* message) noexcept override {
    errors += severity == Severity::kERROR;
    last = message;
  }
  int errors = 0;
  std::string last;
};

class Finder final : public nvinfer1::ILoggerFinder {
 public:
  nvinfer1::ILogger* findLogger() override { return &log; }
  Log log;
};

inline nvinfer1::Dims dims_of(const std::vector<int>& sizes) {
  nvinfer1::Dims dims{};
  dims.nbDims = static_cast<std::int32_t>(sizes.size());
  for (std::size_t i = 0; i < sizes.size(); ++i) dims.d[i] = sizes[i];
  return dims;
}

// Whether the tensor at the position is float32 in every precision.
inline bool is_float32(int position) {
  return position < vim_trt::kInputs && vim_trt::kInputSpecs[position].type == vim_trt::InputType::kFloat32;
}

// The inputs and the output of a call; batch or length -1: not known yet.
inline std::vector<nvinfer1::PluginTensorDesc> tensors_of(nvinfer1::DataType type, int batch, int length, int channels,
                                                          int state) {
  const int sizes[] = {batch, length, channels, state, state};
  std::vector<nvinfer1::PluginTensorDesc> tensors(vim_trt::kInputs + vim_trt::kOutputs);
  for (int i = 0; i < vim_trt::kInputs + vim_trt::kOutputs; ++i) {
    const vim_trt::Shape& shape = i < vim_trt::kInputs ? vim_trt::kInputSpecs[i].shape : vim_trt::kSequence;
    std::vector<int> dims;
    for (std::size_t k = 0; k < shape.rank; ++k) dims.push_back(sizes[shape.sizes[k]]);
    tensors[i].type = is_float32(i) ? nvinfer1::DataType::kFLOAT : type;
    tensors[i].format = nvinfer1::TensorFormat::kLINEAR;
    tensors[i].scale = 1.0f;
    tensors[i].dims = dims_of(dims);
  }
  return tensors;
}

inline std::vector<nvinfer1::DynamicPluginTensorDesc> dynamic(const std::vector<nvinfer1::PluginTensorDesc>& tensors) {
  std::vector<nvinfer1::DynamicPluginTensorDesc> result(tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    result[i].desc = tensors[i];
    result[i].min = result[i].max = tensors[i].dims;
  }
  return result;
}

// A set of fields that owns its values.
class FieldSet {
 public:
  // The fields that a test does not change.
  FieldSet& add_others() { return add("groups", 1).add("gated", 1); }
  FieldSet& add(const char* name, std::int32_t value,
                nvinfer1::PluginFieldType type = nvinfer1::PluginFieldType::kINT32, std::int32_t length = 1) {
    values_.push_back(std::vector<std::int32_t>(2, value));
    fields_.push_back({name, nullptr, type, length});
    return *this;
  }
  nvinfer1::PluginFieldCollection* get() {
    for (std::size_t i = 0; i < fields_.size(); ++i) fields_[i].data = values_[i].data();
    collection_ = {static_cast<std::int32_t>(fields_.size()), fields_.data()};
    return &collection_;
  }

 private:
  std::vector<std::vector<std::int32_t>> values_;
  std::vector<nvinfer1::PluginField> fields_;
  nvinfer1::PluginFieldCollection collection_{};
};

// Field sets that a creator must reject.
inline std::vector<FieldSet> wrong_fields() {
  using Type = nvinfer1::PluginFieldType;
  std::vector<FieldSet> sets(9);
  sets[1].add("delta_softplus", 1);
  sets[2].add("reverse", 1);
  sets[3].add("delta_softplus", 1).add("reverse", 2);
  sets[4].add("delta_softplus", -1).add("reverse", 0);
  sets[5].add("delta_softplus", 1).add("reverse", 0, Type::kFLOAT32);
  sets[6].add("delta_softplus", 1).add("reverse", 0, Type::kINT32, 2);
  sets[7].add("delta_softplus", 1).add("reverse", 0).add("axis", 0);
  sets[8].add("delta_softplus", 1).add("reverse", 0).add("reverse", 0);
  for (std::size_t i = 1; i < sets.size(); ++i) sets[i].add_others();
  FieldSet no_groups, other_gate;
  no_groups.add("delta_softplus", 1).add("reverse", 0).add("groups", 0).add("gated", 1);
  other_gate.add("delta_softplus", 1).add("reverse", 0).add("groups", 1).add("gated", 2);
  sets.push_back(no_groups), sets.push_back(other_gate);
  return sets;
}

inline int finish(const char* name) {
  std::printf("%s, headers %d.%d: %d failures\n", name, NV_TENSORRT_MAJOR, NV_TENSORRT_MINOR, failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace trt_test
