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
  Tensor tensors[vim_gpu::kMaxInputs];

  template <class Description>
  Inputs(const Operator& op, const Description* inputs) {
    for (int i = 0; i < op.input_count; ++i) tensors[i] = tensor_of(inputs[i]);
  }
};

// The inputs with the largest sizes of the profile.
inline Inputs largest(const Operator& op, const nvinfer1::DynamicPluginTensorDesc* inputs) {
  Inputs result(op, inputs);
  for (int i = 0; i < op.input_count; ++i)
    result.tensors[i] = tensor_of(inputs[i].desc.type, inputs[i].desc.format, inputs[i].max);
  return result;
}

template <class Description>
bool supports(const Operator& op, std::int32_t position, const Description* tensors, std::int32_t inputs,
              std::int32_t outputs) {
  if (count_error(op, inputs, outputs) != nullptr || position < 0 || position >= op.input_count + op.output_count)
    return false;
  return accepts(op, position, tensor_of(tensors[position]), tensor_of(tensors[0]));
}

// An error in the inputs, or null.
template <class Description>
const char* call_error(const Operator& op, const Settings& settings, const Description* inputs,
                       std::int32_t input_count, std::int32_t output_count) {
  if (const char* error = count_error(op, input_count, output_count)) return error;
  return inputs_error(op, settings, Inputs(op, inputs).tensors);
}

// The shape of an output, from the shapes of the inputs.
inline nvinfer1::DimsExprs output_shape(const Operator& op, std::int32_t output, const nvinfer1::DimsExprs* inputs) {
  const vim_contract::Shape& shape = op.outputs[output].shape;
  nvinfer1::DimsExprs result{};
  result.nbDims = static_cast<std::int32_t>(shape.rank);
  for (std::size_t k = 0; k < shape.rank; ++k) {
    const vim_gpu::Source source = vim_gpu::source_of(op, shape.sizes[k]);
    result.d[k] = inputs[source.input].d[source.dimension];
  }
  return result;
}

// Reads the fields; if they are invalid, logs the error and returns false.
inline bool settings_of(const Operator& op, const nvinfer1::PluginFieldCollection* collection, Settings& settings) {
  Field fields[kMaxFields];
  const std::int32_t count = collection != nullptr ? collection->nbFields : 0;
  if (collection == nullptr || count > kMaxFields) {
    return status("vim_deploy: the plugin's fields are missing, or more than its attributes") == 0;
  }
  for (std::int32_t i = 0; i < count; ++i) {
    const nvinfer1::PluginField& field = collection->fields[i];
    fields[i] = {field.name, field.data, field.type == nvinfer1::PluginFieldType::kINT32, field.length};
  }
  return status(read_fields(op, fields, count, settings)) == 0;
}

// The fields; with `settings`, they point to its values.
struct Fields {
  nvinfer1::PluginField fields[kMaxFields];
  nvinfer1::PluginFieldCollection collection;

  Fields(const Operator& op, const Settings* settings) : collection{field_count(op), fields} {
    for (std::int32_t i = 0; i < field_count(op); ++i) {
      const std::int32_t* value = settings != nullptr ? field_value(op, i, *settings) : nullptr;
      fields[i] = {field_spec(op, i).name, value, nvinfer1::PluginFieldType::kINT32, 1};
    }
  }
  Fields(const Fields&) = delete;
  Fields& operator=(const Fields&) = delete;
};

}  // namespace vim_trt
