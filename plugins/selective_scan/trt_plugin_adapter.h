// What both adapters need to translate between TensorRT's types and the core's. Included by one adapter per library.
#pragma once

#include <NvInferRuntime.h>

#include <atomic>

#include "export.h"
#include "trt_plugin_core.h"

namespace vim_trt {

inline std::atomic<nvinfer1::ILoggerFinder*> logger_finder{nullptr};

// Errors go to TensorRT's own log; without one the caller sees the refusal alone.
inline void log_error(const char* message) {
  nvinfer1::ILoggerFinder* finder = logger_finder.load();
  nvinfer1::ILogger* logger = finder != nullptr ? finder->findLogger() : nullptr;
  if (logger != nullptr) logger->log(nvinfer1::ILogger::Severity::kERROR, message);
}

// 0 where nothing is wrong, as TensorRT wants it; otherwise says what.
inline std::int32_t status(const char* wrong) {
  if (wrong == nullptr) return 0;
  log_error(wrong);
  return 1;
}

inline Element element_of(nvinfer1::DataType type) {
  switch (type) {
    case nvinfer1::DataType::kFLOAT: return Element::kFloat32;
    case nvinfer1::DataType::kHALF: return Element::kFloat16;
#if NV_TENSORRT_MAJOR >= 10
    case nvinfer1::DataType::kBF16: return Element::kBFloat16;
#endif
    default: return Element::kOther;
  }
}

inline Tensor tensor_of(nvinfer1::DataType type, nvinfer1::TensorFormat format, const nvinfer1::Dims& dims) {
  Tensor tensor{element_of(type), format == nvinfer1::TensorFormat::kLINEAR, dims.nbDims, {-1, -1, -1}};
  for (int i = 0; i < dims.nbDims && i < 3; ++i) tensor.dims[i] = dims.d[i];
  return tensor;
}

inline Tensor tensor_of(const nvinfer1::PluginTensorDesc& tensor) {
  return tensor_of(tensor.type, tensor.format, tensor.dims);
}

inline Tensor tensor_of(const nvinfer1::DynamicPluginTensorDesc& tensor) { return tensor_of(tensor.desc); }

// The inputs of a call, in the core's terms.
struct Inputs {
  Tensor tensors[kInputs];

  template <class Description>
  explicit Inputs(const Description* inputs) {
    for (int i = 0; i < kInputs; ++i) tensors[i] = tensor_of(inputs[i]);
  }
};

// Null, or what is wrong with the numbers of tensors.
inline const char* count_error(std::int32_t inputs, std::int32_t outputs) {
  if (inputs == kInputs && outputs == kOutputs) return nullptr;
  return "SelectiveScan: it has eight inputs (u, delta, A, B, C, D, z, delta_bias) and one output";
}

template <class Description>
bool supports(std::int32_t position, const Description* tensors, std::int32_t inputs, std::int32_t outputs) {
  if (count_error(inputs, outputs) != nullptr || position < 0 || position >= kInputs + kOutputs) return false;
  return accepts(position, tensor_of(tensors[position]), tensor_of(tensors[kU]));
}

// Null, or what is wrong with the inputs.
template <class Description>
const char* call_error(const Description* inputs, std::int32_t input_count, std::int32_t output_count) {
  if (const char* wrong = count_error(input_count, output_count)) return wrong;
  return inputs_error(Inputs(inputs).tensors);
}

// The settings in the fields; false, with the reason logged, where they are wrong.
inline bool settings_of(const nvinfer1::PluginFieldCollection* collection, Settings& settings) {
  constexpr std::int32_t kMost = 8;
  Field fields[kMost];
  if (collection == nullptr || collection->nbFields < 0 || collection->nbFields > kMost) {
    return status("SelectiveScan: its fields are delta_softplus and reverse, each once") == 0;
  }
  for (std::int32_t i = 0; i < collection->nbFields; ++i) {
    const nvinfer1::PluginField& field = collection->fields[i];
    fields[i] = {field.name, field.data, field.type == nvinfer1::PluginFieldType::kINT32, field.length};
  }
  return status(read_fields(fields, collection->nbFields, settings)) == 0;
}

// The two fields, with the settings' values where there are settings.
struct Fields {
  nvinfer1::PluginField fields[2];
  nvinfer1::PluginFieldCollection collection;

  explicit Fields(const Settings* settings)
      : fields{{kFieldSoftplus, settings ? &settings->delta_softplus : nullptr, nvinfer1::PluginFieldType::kINT32, 1},
               {kFieldReverse, settings ? &settings->reverse : nullptr, nvinfer1::PluginFieldType::kINT32, 1}},
        collection{2, fields} {}
  Fields(const Fields&) = delete;
  Fields& operator=(const Fields&) = delete;
};

}  // namespace vim_trt
