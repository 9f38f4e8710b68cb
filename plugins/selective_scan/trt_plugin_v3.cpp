// The plugins for TensorRT 10 and 11. The library exports their creators rather than using a registration macro, so that the
// library needs no symbol of TensorRT and one build works with both.
#include <new>

#include "trt_plugin_adapter.h"

#if NV_TENSORRT_MAJOR < 10
#error "trt_plugin_v3.cpp needs the headers of TensorRT 10 or later; trt_plugin_v2.cpp serves 8.6"
#endif

namespace vim_trt {
namespace {

using nvinfer1::DataType;
using nvinfer1::DimsExprs;
using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::PluginFieldCollection;
using nvinfer1::PluginTensorDesc;

class Plugin final : public nvinfer1::IPluginV3,
                     public nvinfer1::IPluginV3OneCore,
                     public nvinfer1::IPluginV3OneBuild,
                     public nvinfer1::IPluginV3OneRuntime {
 public:
  Plugin(const Operator& op, const Settings& settings)
      : op_(op), settings_(settings), timing_cache_id_(op, settings), fields_(op, &settings_) {}

  nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept override {
    switch (type) {
      case nvinfer1::PluginCapabilityType::kCORE: return static_cast<nvinfer1::IPluginV3OneCore*>(this);
      case nvinfer1::PluginCapabilityType::kBUILD: return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
      case nvinfer1::PluginCapabilityType::kRUNTIME: return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
    }
    return nullptr;
  }
  Plugin* clone() noexcept override { return new (std::nothrow) Plugin(op_, settings_); }

  const char* getPluginName() const noexcept override { return op_.name; }
  const char* getPluginVersion() const noexcept override { return op_.version; }
  const char* getPluginNamespace() const noexcept override { return op_.domain; }

  std::int32_t getNbOutputs() const noexcept override { return op_.output_count; }

  std::int32_t getOutputDataTypes(DataType* outputs, std::int32_t output_count, const DataType* inputs,
                                  std::int32_t input_count) const noexcept override {
    if (const char* error = count_error(op_, input_count, output_count)) return status(error);
    for (std::int32_t i = 0; i < output_count; ++i) outputs[i] = inputs[0];
    return 0;
  }

  std::int32_t getOutputShapes(const DimsExprs* inputs, std::int32_t input_count, const DimsExprs*, std::int32_t,
                               DimsExprs* outputs, std::int32_t output_count,
                               nvinfer1::IExprBuilder&) noexcept override {
    if (const char* error = count_error(op_, input_count, output_count)) return status(error);
    for (std::int32_t i = 0; i < output_count; ++i) outputs[i] = output_shape(op_, i, inputs);
    return 0;
  }

  bool supportsFormatCombination(std::int32_t position, const DynamicPluginTensorDesc* tensors,
                                 std::int32_t input_count, std::int32_t output_count) noexcept override {
    return supports(op_, position, tensors, input_count, output_count);
  }

  std::int32_t configurePlugin(const DynamicPluginTensorDesc* inputs, std::int32_t input_count,
                               const DynamicPluginTensorDesc*, std::int32_t output_count) noexcept override {
    return status(call_error(op_, settings_, inputs, input_count, output_count));
  }

  std::size_t getWorkspaceSize(const DynamicPluginTensorDesc* inputs, std::int32_t, const DynamicPluginTensorDesc*,
                               std::int32_t) const noexcept override {
    return workspace_bytes(op_, settings_, largest(op_, inputs).tensors);
  }

  const char* getTimingCacheID() noexcept override { return timing_cache_id_.text; }

  std::int32_t onShapeChange(const PluginTensorDesc* inputs, std::int32_t input_count, const PluginTensorDesc*,
                             std::int32_t output_count) noexcept override {
    return status(call_error(op_, settings_, inputs, input_count, output_count));
  }

  std::int32_t enqueue(const PluginTensorDesc* input_descriptions, const PluginTensorDesc*, const void* const* inputs,
                       void* const* outputs, void* workspace, cudaStream_t stream) noexcept override {
    return status(vim_trt::enqueue(op_, settings_, Inputs(op_, input_descriptions).tensors, inputs, outputs,
                                   workspace, stream));
  }

  Plugin* attachToContext(nvinfer1::IPluginResourceContext*) noexcept override { return clone(); }

  const PluginFieldCollection* getFieldsToSerialize() noexcept override { return &fields_.collection; }

 private:
  const Operator& op_;
  Settings settings_;
  TimingCacheId timing_cache_id_;
  Fields fields_;  // points into settings_
};

class Creator final : public nvinfer1::IPluginCreatorV3One {
 public:
  explicit Creator(const Operator& op) : op_(op), names_(op, nullptr) {}

  // The same for nodes of a graph and for deserialization: both have every field.
  Plugin* createPlugin(const char*, const PluginFieldCollection* fields,
                       nvinfer1::TensorRTPhase) noexcept override {
    Settings settings{};
    return settings_of(op_, fields, settings) ? new (std::nothrow) Plugin(op_, settings) : nullptr;
  }
  const PluginFieldCollection* getFieldNames() noexcept override { return &names_.collection; }
  const char* getPluginName() const noexcept override { return op_.name; }
  const char* getPluginVersion() const noexcept override { return op_.version; }
  const char* getPluginNamespace() const noexcept override { return op_.domain; }

 private:
  const Operator& op_;
  Fields names_;
};

}  // namespace
}  // namespace vim_trt

extern "C" VIM_EXPORT nvinfer1::IPluginCreatorInterface* const* getCreators(std::int32_t& count) {
  static_assert(vim_gpu::kOperatorCount == 3, "one creator for each operator");
  static vim_trt::Creator scan(vim_gpu::operator_at(0)), pair(vim_gpu::operator_at(1)), conv(vim_gpu::operator_at(2));
  static nvinfer1::IPluginCreatorInterface* const creators[] = {&scan, &pair, &conv};
  count = vim_gpu::kOperatorCount;
  return creators;
}

extern "C" VIM_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder* finder) { vim_trt::logger_finder.store(finder); }
