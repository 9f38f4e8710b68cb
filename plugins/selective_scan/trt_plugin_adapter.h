// Conversions between TensorRT's types and the core's, for both adapters. Each library has one adapter.
#pragma once

#include <NvInferRuntime.h>

#include <atomic>

#include "export.h"
#include "trt_plugin_core.h"

namespace vim_trt {

inline std::atomic<nvinfer1::ILoggerFinder*> logger_finder{nullptr};

// Logs to TensorRT's logger, if there is one.
inline void log_error(const char* message) {
  nvinfer1::ILoggerFinder* finder = logger_finder.load();
  nvinfer1::ILogger* logger = finder != nullptr ? finder->findLogger() : nullptr;
  if (logger != nullptr) logger->log(nvinfer1::ILogger::Severity::kERROR, message);
}

// TensorRT's return code: 0 without an error; otherwise logs the error.
inline std::int32_t status(const char* error) {
  if (error == nullptr) return 0;
  log_error(error);
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

// The inputs of a call, as the core's type.
struct Inputs {
  Tensor tensors[kInputs];

  template <class Description>
  explicit Inputs(const Description* inputs) {
    for (int i = 0; i < kInputs; ++i) tensors[i] = tensor_of(inputs[i]);
  }
};

// An error in the number of tensors, or null.
inline const char* count_error(std::int32_t inputs, std::int32_t outputs) {
#define VIM_TRT_NAME(index, name, shape, text, type) " " #name
  if (inputs == kInputs && outputs == kOutputs) return nullptr;
  return "SelectiveScan: expected one output, and the inputs" VIM_SCAN_INPUTS(VIM_TRT_NAME);
#undef VIM_TRT_NAME
}

template <class Description>
bool supports(std::int32_t position, const Description* tensors, std::int32_t inputs, std::int32_t outputs) {
  if (count_error(inputs, outputs) != nullptr || position < 0 || position >= kInputs + kOutputs) return false;
  return accepts(position, tensor_of(tensors[position]), tensor_of(tensors[kU]));
}

// An error in the inputs, or null.
template <class Description>
const char* call_error(const Settings& settings, const Description* inputs, std::int32_t input_count,
                       std::int32_t output_count) {
  if (const char* error = count_error(input_count, output_count)) return error;
  return inputs_error(settings, Inputs(inputs).tensors);
}

// Reads the attributes from the fields; if they are invalid, logs the error and returns false.
inline bool settings_of(const nvinfer1::PluginFieldCollection* collection, Settings& settings) {
  Field fields[kFields];
  if (collection == nullptr || collection->nbFields != kFields) {
    return status("SelectiveScan: expected the fields delta_softplus, reverse, groups and gated, each once") == 0;
  }
  for (std::int32_t i = 0; i < collection->nbFields; ++i) {
    const nvinfer1::PluginField& field = collection->fields[i];
    fields[i] = {field.name, field.data, field.type == nvinfer1::PluginFieldType::kINT32, field.length};
  }
  return status(read_fields(fields, collection->nbFields, settings)) == 0;
}

// The fields; with `settings`, they point to its values.
struct Fields {
  nvinfer1::PluginField fields[kFields];
  nvinfer1::PluginFieldCollection collection{kFields, fields};

  explicit Fields(const Settings* settings) {
    for (std::int32_t i = 0; i < kFields; ++i) {
      const FieldSpec spec = field_spec(i);
      const std::int32_t* value = settings != nullptr ? &(settings->*spec.value) : nullptr;
      fields[i] = {spec.name, value, nvinfer1::PluginFieldType::kINT32, 1};
    }
  }
  Fields(const Fields&) = delete;
  Fields& operator=(const Fields&) = delete;
};

}  // namespace vim_trt
