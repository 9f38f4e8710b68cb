// Layers of plugins. The plugin is the real one of a library; it is asked what TensorRT asks while it builds an engine.
#pragma once

#include <functional>

#include "expressions.h"
#include "records.h"

namespace recorder {

// The JSON of what the plugin of a layer answered, empty for layers without a plugin.
std::string plugin_json(LayerRecord& layer);

// The sizes for which a plugin is asked where the network has an open one.
constexpr Size kSmallest = 1, kLargest = 32;
nvinfer1::Dims closed(nvinfer1::Dims dims, Size size);

// The types of inputs and outputs that a plugin accepts in the row-major format, asked position by position as the
// builder does, and whether it accepts another format. `Description`: what the plugin is asked with.
template <class Description, class Supports>
std::string accepted_types(LayerRecord& layer, nvinfer1::PluginTensorDesc& (*plain)(Description&),
                           const Supports& supports);

// The generated records leave out those of plugins.
#if NV_TENSORRT_MAJOR >= 10
struct PluginRecord : nvinfer1::apiv::VPluginV3Layer, Settings {
  nvinfer1::IPluginV3* plugin = nullptr;
  nvinfer1::IPluginV3& getPlugin() noexcept override { return *plugin; }
  nvinfer1::IPluginV3OneCore& core() { return capability<nvinfer1::IPluginV3OneCore>(nvinfer1::PluginCapabilityType::kCORE); }
  nvinfer1::IPluginV3OneBuild& build() { return capability<nvinfer1::IPluginV3OneBuild>(nvinfer1::PluginCapabilityType::kBUILD); }
  nvinfer1::IPluginV3OneRuntime& runtime() { return capability<nvinfer1::IPluginV3OneRuntime>(nvinfer1::PluginCapabilityType::kRUNTIME); }

 private:
  template <class Capability>
  Capability& capability(nvinfer1::PluginCapabilityType type) {
    return *static_cast<Capability*>(plugin->getCapabilityInterface(type));
  }
};
#else
struct PluginRecord : nvinfer1::apiv::VPluginV2Layer, Settings {
  nvinfer1::IPluginV2DynamicExt* plugin = nullptr;
  nvinfer1::IPluginV2& getPlugin() noexcept override { return *plugin; }
};
#endif

template <class Description, class Supports>
std::string accepted_types(LayerRecord& layer, nvinfer1::PluginTensorDesc& (*plain)(Description&),
                           const Supports& supports) {
  using nvinfer1::DataType;
  using nvinfer1::TensorFormat;
  std::vector<DataType> types = {DataType::kFLOAT, DataType::kHALF, DataType::kINT8, DataType::kINT32};
#if NV_TENSORRT_MAJOR >= 10
  types.insert(types.end(), {DataType::kBF16, DataType::kINT64});
#endif
  std::vector<Description> tensors(layer.inputs.size() + layer.outputs.size());
  for (std::size_t i = 0; i < tensors.size(); ++i)
    plain(tensors[i]).dims = i < layer.inputs.size() ? layer.in(i).dims : layer.out(i - layer.inputs.size()).dims;
  std::vector<std::string> accepted;
  const std::function<void(std::size_t)> ask = [&](std::size_t position) {
    if (position == tensors.size()) {
      std::string names;
      for (Description& tensor : tensors) names += (names.empty() ? "" : " ") + std::string(name_of(plain(tensor).type));
      accepted.push_back(names);
      return;
    }
    for (DataType type : types) {
      plain(tensors[position]).type = type;
      plain(tensors[position]).format = TensorFormat::kLINEAR;
      if (supports(static_cast<std::int32_t>(position), tensors)) ask(position + 1);
    }
  };
  ask(0);
  bool other_formats = false;
  for (TensorFormat format : {TensorFormat::kCHW2, TensorFormat::kHWC8, TensorFormat::kCHW4, TensorFormat::kCHW16,
                              TensorFormat::kCHW32, TensorFormat::kHWC})
    for (DataType type : types) {
      plain(tensors[0]).type = type;
      plain(tensors[0]).format = format;
      other_formats |= supports(0, tensors);
    }
  return "\"accepted\":" + json_strings(accepted) + ",\"other_formats\":" + json(other_formats);
}

}  // namespace recorder
