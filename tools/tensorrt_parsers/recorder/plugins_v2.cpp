// Plugins of TensorRT 8.6.
#include "network_add.h"
#include "plugins.h"
#include "registry.h"

#if NV_TENSORRT_MAJOR < 10

namespace recorder {

using namespace nvinfer1;

namespace {

IPluginV2DynamicExt& plugin_of(LayerRecord& layer) { return *static_cast<PluginRecord&>(*layer.settings).plugin; }

void plugin_outputs(LayerRecord& layer) {
  IPluginV2DynamicExt& plugin = plugin_of(layer);
  Expressions expressions;
  std::vector<DimsExprs> shapes;
  std::vector<DataType> types;
  for (std::size_t i = 0; i < layer.inputs.size(); ++i) {
    shapes.push_back(expressions.of(layer.in(i).dims));
    types.push_back(layer.in(i).type);
  }
  const int count = static_cast<int>(layer.inputs.size());
  for (std::size_t i = 0; i < layer.outputs.size(); ++i) {
    layer.out(i).dims = dims_of(plugin.getOutputDimensions(static_cast<int>(i), shapes.data(), count, expressions));
    layer.out(i).type = plugin.getOutputDataType(static_cast<int>(i), types.data(), count);
  }
}

DynamicPluginTensorDesc described(const TensorRecord& tensor) {
  DynamicPluginTensorDesc out{};
  out.desc.dims = tensor.dims;
  out.desc.type = tensor.type;
  out.desc.format = TensorFormat::kLINEAR;
  out.min = closed(tensor.dims, kSmallest);
  out.max = closed(tensor.dims, kLargest);
  return out;
}

PluginTensorDesc at_most(const DynamicPluginTensorDesc& tensor) {
  PluginTensorDesc out = tensor.desc;
  out.dims = tensor.max;
  return out;
}

std::string hexadecimal(const std::string& bytes) {
  std::string out;
  char digits[3];
  for (unsigned char byte : bytes) out += (std::snprintf(digits, sizeof digits, "%02x", byte), digits);
  return out;
}

}  // namespace

IPluginV2Layer* NetworkRecord::addPluginV2(ITensor* const* inputs, std::int32_t count, IPluginV2& plugin) noexcept {
  auto* copy = static_cast<IPluginV2DynamicExt*>(plugin.clone());
  auto* layer = add<IPluginV2Layer, PluginRecord>(LayerType::kPLUGIN_V2, "Plugin",
                                                  std::vector<ITensor*>(inputs, inputs + count), copy->getNbOutputs(),
                                                  plugin_outputs);
  layer->settings.plugin = copy;
  return layer;
}

std::string plugin_json(LayerRecord& layer) {
  if (layer.type != LayerType::kPLUGIN_V2) return "";
  IPluginV2DynamicExt& plugin = plugin_of(layer);
  const int input_count = static_cast<int>(layer.inputs.size()), output_count = static_cast<int>(layer.outputs.size());
  std::vector<DynamicPluginTensorDesc> inputs, outputs;
  std::vector<PluginTensorDesc> largest_inputs, largest_outputs;
  for (std::size_t i = 0; i < layer.inputs.size(); ++i) inputs.push_back(described(layer.in(i)));
  for (std::size_t i = 0; i < layer.outputs.size(); ++i) outputs.push_back(described(layer.out(i)));
  for (const auto& tensor : inputs) largest_inputs.push_back(at_most(tensor));
  for (const auto& tensor : outputs) largest_outputs.push_back(at_most(tensor));
  plugin.configurePlugin(inputs.data(), input_count, outputs.data(), output_count);
  std::string data(plugin.getSerializationSize(), '\0');
  plugin.serialize(data.data());
  auto* creator = registry().getPluginCreator(plugin.getPluginType(), plugin.getPluginVersion(),
                                                        plugin.getPluginNamespace());
  auto* again = creator ? creator->deserializePlugin(layer.name.c_str(), data.data(), data.size()) : nullptr;
  const auto supports = [&](std::int32_t position, std::vector<PluginTensorDesc>& tensors) {
    return plugin.supportsFormatCombination(position, tensors.data(), input_count, output_count);
  };
  const auto plain = [](PluginTensorDesc& tensor) -> PluginTensorDesc& { return tensor; };
  const std::size_t workspace =
      plugin.getWorkspaceSize(largest_inputs.data(), input_count, largest_outputs.data(), output_count);
  return "{\"name\":" + json(plugin.getPluginType()) + ",\"namespace\":" + json(plugin.getPluginNamespace()) +
         ",\"version\":" + json(plugin.getPluginVersion()) + ",\"data\":" + json(hexadecimal(data)) +
         ",\"read_back\":" + json(again != nullptr) + ",\"workspace\":" + std::to_string(workspace) + "," +
         accepted_types<PluginTensorDesc>(layer, plain, supports) + "}";
}

}  // namespace recorder

#endif
