// Plugins of TensorRT 10 and later.
#include "network_add.h"
#include "plugins.h"
#include "registry.h"

#if NV_TENSORRT_MAJOR >= 10

namespace recorder {

using namespace nvinfer1;

namespace {

PluginRecord& plugin_of(LayerRecord& layer) { return static_cast<PluginRecord&>(*layer.settings); }

void plugin_outputs(LayerRecord& layer) {
  IPluginV3OneBuild& plugin = plugin_of(layer).build();
  Expressions expressions;
  std::vector<DimsExprs> shapes, output_shapes(layer.outputs.size());
  std::vector<DataType> types, output_types(layer.outputs.size());
  for (std::size_t i = 0; i < layer.inputs.size(); ++i) {
    shapes.push_back(expressions.of(layer.in(i).dims));
    types.push_back(layer.in(i).type);
  }
  const int inputs = static_cast<int>(layer.inputs.size()), outputs = static_cast<int>(layer.outputs.size());
  if (plugin.getOutputShapes(shapes.data(), inputs, nullptr, 0, output_shapes.data(), outputs, expressions))
    return layer.mismatch("the plugin refuses the shapes");
  if (plugin.getOutputDataTypes(output_types.data(), outputs, types.data(), inputs))
    return layer.mismatch("the plugin refuses the types");
  for (std::size_t i = 0; i < layer.outputs.size(); ++i) {
    layer.out(i).dims = dims_of(output_shapes[i]);
    layer.out(i).type = output_types[i];
  }
}

DynamicPluginTensorDesc described(const TensorRecord& tensor) {
  DynamicPluginTensorDesc out{};
  out.desc.dims = tensor.dims;
  out.desc.type = tensor.type;
  out.desc.format = TensorFormat::kLINEAR;
  out.min = closed(tensor.dims, kSmallest);
  out.opt = out.max = closed(tensor.dims, kLargest);
  return out;
}

// Numbers are lists; fields of other types are left out.
std::string fields_json(const PluginFieldCollection& fields) {
  std::string out = "{";
  for (std::int32_t i = 0; i < fields.nbFields; ++i) {
    const PluginField& field = fields.fields[i];
    const auto numbers = [&](auto* values) {
      return json_list(std::vector<std::decay_t<decltype(*values)>>(values, values + field.length),
                       [](auto value) { return json(value); });
    };
    std::string value;
    if (field.type == PluginFieldType::kINT32) value = numbers(static_cast<const std::int32_t*>(field.data));
    if (field.type == PluginFieldType::kFLOAT32) value = numbers(static_cast<const float*>(field.data));
    if (!value.empty()) out += (out.size() > 1 ? "," : "") + json(field.name) + ":" + value;
  }
  return out + "}";
}

}  // namespace

IPluginV3Layer* NetworkRecord::addPluginV3(ITensor* const* inputs, std::int32_t count, ITensor* const*, std::int32_t,
                                           IPluginV3& plugin) noexcept {
  PluginRecord record;
  record.plugin = plugin.clone();
  auto* layer = add<IPluginV3Layer, PluginRecord>(LayerType::kPLUGIN_V3, "Plugin",
                                                  std::vector<ITensor*>(inputs, inputs + count),
                                                  record.build().getNbOutputs(), plugin_outputs);
  layer->settings.plugin = record.plugin;
  return layer;
}

std::string plugin_json(LayerRecord& layer) {
  if (layer.type != LayerType::kPLUGIN_V3) return "";
  PluginRecord& record = plugin_of(layer);
  IPluginV3OneBuild& plugin = record.build();
  IPluginV3OneCore& core = record.core();
  const int input_count = static_cast<int>(layer.inputs.size()), output_count = static_cast<int>(layer.outputs.size());
  std::vector<DynamicPluginTensorDesc> inputs, outputs;
  for (std::size_t i = 0; i < layer.inputs.size(); ++i) inputs.push_back(described(layer.in(i)));
  for (std::size_t i = 0; i < layer.outputs.size(); ++i) outputs.push_back(described(layer.out(i)));
  if (plugin.configurePlugin(inputs.data(), input_count, outputs.data(), output_count))
    layer.mismatch("the plugin refuses its configuration");
  const PluginFieldCollection* fields = record.runtime().getFieldsToSerialize();
  auto* creator = static_cast<IPluginCreatorV3One*>(registry().getCreator(
      core.getPluginName(), core.getPluginVersion(), core.getPluginNamespace()));
  auto* again = creator ? creator->createPlugin(layer.name.c_str(), fields, TensorRTPhase::kRUNTIME) : nullptr;
  const auto supports = [&](std::int32_t position, std::vector<DynamicPluginTensorDesc>& tensors) {
    return plugin.supportsFormatCombination(position, tensors.data(), input_count, output_count);
  };
  const auto plain = [](DynamicPluginTensorDesc& tensor) -> PluginTensorDesc& { return tensor.desc; };
  const std::size_t workspace = plugin.getWorkspaceSize(inputs.data(), input_count, outputs.data(), output_count);
  return "{\"name\":" + json(core.getPluginName()) + ",\"namespace\":" + json(core.getPluginNamespace()) +
         ",\"version\":" + json(core.getPluginVersion()) + ",\"fields\":" + fields_json(*fields) +
         ",\"read_back\":" + json(again != nullptr) + ",\"workspace\":" + std::to_string(workspace) + "," +
         accepted_types<DynamicPluginTensorDesc>(layer, plain, supports) + "}";
}

}  // namespace recorder

#endif
