// The plugins for TensorRT 8.6, whose latest plugin interface is version 2.
#include <algorithm>
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
  Plugin(const Operator& op, const Settings& settings, std::string name_space)
      : op_(op), settings_(settings), namespace_(std::move(name_space)) {}

  Plugin* clone() const noexcept override { return new (std::nothrow) Plugin(*this); }
  void destroy() noexcept override { delete this; }
  std::int32_t initialize() noexcept override { return 0; }
  void terminate() noexcept override {}

  const char* getPluginType() const noexcept override { return op_.name; }
  const char* getPluginVersion() const noexcept override { return op_.version; }
  void setPluginNamespace(const char* name_space) noexcept override { namespace_ = name_space ? name_space : ""; }
  const char* getPluginNamespace() const noexcept override { return namespace_.c_str(); }

  std::int32_t getNbOutputs() const noexcept override { return op_.output_count; }

  DataType getOutputDataType(std::int32_t, const DataType* inputs, std::int32_t) const noexcept override {
    return inputs[0];
  }

  DimsExprs getOutputDimensions(std::int32_t output, const DimsExprs* inputs, std::int32_t,
                                nvinfer1::IExprBuilder&) noexcept override {
    return output_shape(op_, output, inputs);
  }

  bool supportsFormatCombination(std::int32_t position, const PluginTensorDesc* tensors, std::int32_t input_count,
                                 std::int32_t output_count) noexcept override {
    return supports(op_, position, tensors, input_count, output_count);
  }

  // In this interface it cannot fail: the error is logged, and enqueue fails.
  void configurePlugin(const DynamicPluginTensorDesc* inputs, std::int32_t input_count, const DynamicPluginTensorDesc*,
                       std::int32_t output_count) noexcept override {
    if (status(call_error(op_, settings_, inputs, input_count, output_count)) != 0) return;
    workspace_ = workspace_bytes(op_, settings_, largest(op_, inputs).tensors);
  }

  std::size_t getWorkspaceSize(const PluginTensorDesc* inputs, std::int32_t, const PluginTensorDesc*,
                               std::int32_t) const noexcept override {
    return std::max(workspace_, workspace_bytes(op_, settings_, Inputs(op_, inputs).tensors));
  }

  std::int32_t enqueue(const PluginTensorDesc* input_descriptions, const PluginTensorDesc*, const void* const* inputs,
                       void* const* outputs, void* workspace, cudaStream_t stream) noexcept override {
    return status(vim_trt::enqueue(op_, settings_, Inputs(op_, input_descriptions).tensors, inputs, outputs,
                                   workspace, stream));
  }

  std::size_t getSerializationSize() const noexcept override { return kSerializedBytes; }
  void serialize(void* buffer) const noexcept override { vim_trt::serialize(op_, settings_, buffer); }

 private:
  const Operator& op_;
  Settings settings_;
  std::string namespace_;
  std::size_t workspace_ = 0;  // for the largest sizes of the profile, once they are known
};

class Creator final : public nvinfer1::IPluginCreator {
 public:
  explicit Creator(const Operator& op) : op_(op), namespace_(op.domain), names_(op, nullptr) {}

  Plugin* createPlugin(const char*, const PluginFieldCollection* fields) noexcept override {
    Settings settings{};
    return settings_of(op_, fields, settings) ? new (std::nothrow) Plugin(op_, settings, namespace_) : nullptr;
  }
  Plugin* deserializePlugin(const char*, const void* data, std::size_t bytes) noexcept override {
    Settings settings{};
    if (status(deserialize(op_, data, bytes, settings)) != 0) return nullptr;
    return new (std::nothrow) Plugin(op_, settings, namespace_);
  }
  const PluginFieldCollection* getFieldNames() noexcept override { return &names_.collection; }
  const char* getPluginName() const noexcept override { return op_.name; }
  const char* getPluginVersion() const noexcept override { return op_.version; }
  void setPluginNamespace(const char* name_space) noexcept override { namespace_ = name_space ? name_space : ""; }
  const char* getPluginNamespace() const noexcept override { return namespace_.c_str(); }

 private:
  const Operator& op_;
  std::string namespace_;
  Fields names_;
};

}  // namespace
}  // namespace vim_trt

extern "C" VIM_EXPORT nvinfer1::IPluginCreator* const* getPluginCreators(std::int32_t& count) {
  static_assert(vim_gpu::kOperatorCount == 3, "one creator for each operator");
  static vim_trt::Creator scan(vim_gpu::operator_at(0)), pair(vim_gpu::operator_at(1)), conv(vim_gpu::operator_at(2));
  static nvinfer1::IPluginCreator* const creators[] = {&scan, &pair, &conv};
  count = vim_gpu::kOperatorCount;
  return creators;
}

extern "C" VIM_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder* finder) { vim_trt::logger_finder.store(finder); }
