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

// The operators, in the order of the library's creators.
inline const vim_gpu::Operator& scan() { return vim_gpu::operator_at(0); }
inline const vim_gpu::Operator& pair() { return vim_gpu::operator_at(1); }
inline const vim_gpu::Operator& conv() { return vim_gpu::operator_at(2); }

// Whether the tensor at the position is float32 in every precision.
inline bool is_float32(const vim_gpu::Operator& op, int position) {
  return position < op.input_count && op.inputs[position].type == vim_contract::InputType::kFloat32;
}

// The inputs and the outputs of a call; batch or length -1: not known yet. The rank is 3, the width 4.
inline std::vector<nvinfer1::PluginTensorDesc> tensors_of(const vim_gpu::Operator& op, nvinfer1::DataType type,
                                                          int batch, int length, int channels, int state) {
  const int sizes[] = {batch, length, channels, state, state, 3, 4, 2 * channels, 3 + 2 * state};
  static_assert(sizeof sizes / sizeof sizes[0] == vim_contract::kSizes);
  std::vector<nvinfer1::PluginTensorDesc> tensors(op.input_count + op.output_count);
  for (int i = 0; i < op.input_count + op.output_count; ++i) {
    const vim_contract::Shape& shape = i < op.input_count ? op.inputs[i].shape : op.outputs[i - op.input_count].shape;
    std::vector<int> dims;
    for (std::size_t k = 0; k < shape.rank; ++k) dims.push_back(sizes[shape.sizes[k]]);
    tensors[i].type = is_float32(op, i) ? nvinfer1::DataType::kFLOAT : type;
    tensors[i].format = nvinfer1::TensorFormat::kLINEAR;
    tensors[i].scale = 1.0f;
    tensors[i].dims = dims_of(dims);
  }
  return tensors;
}

inline std::vector<nvinfer1::PluginTensorDesc> tensors_of(nvinfer1::DataType type, int batch, int length, int channels,
                                                          int state) {
  return tensors_of(scan(), type, batch, length, channels, state);
}

// The tensors of a call with one size changed, for every size of every input, and once with another rank.
inline std::vector<std::vector<nvinfer1::PluginTensorDesc>> wrong_shapes(const vim_gpu::Operator& op) {
  std::vector<std::vector<nvinfer1::PluginTensorDesc>> all;
  const auto good = tensors_of(op, nvinfer1::DataType::kHALF, 2, 5, 24, 16);
  for (int position = 0; position < op.input_count; ++position) {
    for (int dimension = 0; dimension <= good[position].dims.nbDims; ++dimension) {
      auto tensors = good;
      nvinfer1::Dims& dims = tensors[position].dims;
      if (dimension == dims.nbDims) {
        dims.nbDims += 1;
      } else {
        // The only tensor with batch and length may have any.
        if (op.name == conv().name && position == 0 && dimension < 2) continue;
        dims.d[dimension] += 1;
      }
      all.push_back(tensors);
    }
  }
  return all;
}

// Whether the last call of the fake kernels was that of the operator on tensors_of(op, type, 2, 5, 24, 16).
inline bool was_launched(const vim_gpu::Operator& op, const void* const* inputs, void* const* outputs,
                         const void* workspace, vim_scan::Type type) {
  if (op.name == conv().name) {
    const vim_fused::CudaConvPair& call = launch.conv;
    return call.batch == 2 && call.length == 5 && call.channels == 24 && call.width == 4 && call.type == type &&
           call.xz == inputs[0] && call.directions[0].taps == inputs[1] && call.directions[0].bias == inputs[2] &&
           call.directions[1].taps == inputs[3] && call.directions[1].bias == inputs[4] &&
           call.directions[0].u == outputs[0] && call.directions[1].u == outputs[1];
  }
  const vim_fused::CudaScanPair& call = launch.pair;
  bool same = call.batch == 2 && call.length == 5 && call.channels == 24 && call.state == 16 && call.rank == 3 &&
              call.type == type && call.delta_softplus && call.scale == 0.5f && call.xz == inputs[0] &&
              call.y == outputs[0] && call.workspace == workspace;
  for (int i = 0; i < 2; ++i) {
    const vim_fused::CudaScanPair::Direction& d = call.directions[i];
    const void* const found[] = {d.u, d.projection, d.delta_weight, d.A, d.D, d.delta_bias};
    for (int k = 0; k < 6; ++k) same = same && found[k] == inputs[1 + 6 * i + k];
  }
  return same;
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
