// The plugin for TensorRT 8.6, whose latest plugin interface is version 2.
#include <new>
#include <string>
#include <utility>

#include "trt_plugin_adapter.h"

#if NV_TENSORRT_MAJOR != 8
#error "trt_plugin_v2.cpp needs the headers of TensorRT 8.6; trt_plugin_v3.cpp serves 10 and later"
#endif

namespace vim_trt {
namespace {

using nvinfer1::DataType;
using nvinfer1::DimsExprs;
using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::PluginFieldCollection;
using nvinfer1::PluginTensorDesc;

class Plugin final : public nvinfer1::IPluginV2DynamicExt {
 public:
  Plugin(const Settings& settings, std::string name_space) : settings_(settings), namespace_(std::move(name_space)) {}

  Plugin* clone() const noexcept override { return new (std::nothrow) Plugin(settings_, namespace_); }
  void destroy() noexcept override { delete this; }
  std::int32_t initialize() noexcept override { return 0; }
  void terminate() noexcept override {}

  const char* getPluginType() const noexcept override { return kName; }
  const char* getPluginVersion() const noexcept override { return kVersion; }
  void setPluginNamespace(const char* name_space) noexcept override { namespace_ = name_space ? name_space : ""; }
  const char* getPluginNamespace() const noexcept override { return namespace_.c_str(); }

  std::int32_t getNbOutputs() const noexcept override { return kOutputs; }

  DataType getOutputDataType(std::int32_t, const DataType* inputs, std::int32_t) const noexcept override {
    return inputs[kU];
  }

  DimsExprs getOutputDimensions(std::int32_t, const DimsExprs* inputs, std::int32_t,
                                nvinfer1::IExprBuilder&) noexcept override {
    return inputs[kU];
  }

  bool supportsFormatCombination(std::int32_t position, const PluginTensorDesc* tensors, std::int32_t input_count,
                                 std::int32_t output_count) noexcept override {
    return supports(position, tensors, input_count, output_count);
  }

  // In this interface it cannot fail: the error is logged, and enqueue fails.
  void configurePlugin(const DynamicPluginTensorDesc* inputs, std::int32_t input_count, const DynamicPluginTensorDesc*,
                       std::int32_t output_count) noexcept override {
    status(call_error(settings_, inputs, input_count, output_count));
  }

  std::size_t getWorkspaceSize(const PluginTensorDesc* inputs, std::int32_t, const PluginTensorDesc*,
                               std::int32_t) const noexcept override {
    return workspace_bytes(Inputs(inputs).tensors);
  }

  std::int32_t enqueue(const PluginTensorDesc* input_descriptions, const PluginTensorDesc*, const void* const* inputs,
                       void* const* outputs, void* workspace, cudaStream_t stream) noexcept override {
    return status(
        vim_trt::enqueue(settings_, Inputs(input_descriptions).tensors, inputs, outputs, workspace, stream));
  }

  std::size_t getSerializationSize() const noexcept override { return kSerializedBytes; }
  void serialize(void* buffer) const noexcept override { vim_trt::serialize(settings_, buffer); }

 private:
  Settings settings_;
  std::string namespace_;
};

class Creator final : public nvinfer1::IPluginCreator {
 public:
  Plugin* createPlugin(const char*, const PluginFieldCollection* fields) noexcept override {
    Settings settings{};
    return settings_of(fields, settings) ? new (std::nothrow) Plugin(settings, namespace_) : nullptr;
  }
  Plugin* deserializePlugin(const char*, const void* data, std::size_t bytes) noexcept override {
    Settings settings{};
    if (status(deserialize(data, bytes, settings)) != 0) return nullptr;
    return new (std::nothrow) Plugin(settings, namespace_);
  }
  const PluginFieldCollection* getFieldNames() noexcept override { return &names_.collection; }
  const char* getPluginName() const noexcept override { return kName; }
  const char* getPluginVersion() const noexcept override { return kVersion; }
  void setPluginNamespace(const char* name_space) noexcept override { namespace_ = name_space ? name_space : ""; }
  const char* getPluginNamespace() const noexcept override { return namespace_.c_str(); }

 private:
  std::string namespace_ = kNamespace;
  Fields names_{nullptr};
};

}  // namespace
}  // namespace vim_trt

extern "C" VIM_EXPORT nvinfer1::IPluginCreator* const* getPluginCreators(std::int32_t& count) {
  static vim_trt::Creator creator;
  static nvinfer1::IPluginCreator* const creators[] = {&creator};
  count = 1;
  return creators;
}

extern "C" VIM_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder* finder) { vim_trt::logger_finder.store(finder); }
