#include "report.h"

#include "plugins.h"

namespace recorder {

namespace {

std::string tensor_json(const nvinfer1::ITensor* tensor) {
  if (!tensor) return "null";
  const TensorRecord& record = of(tensor);
  return "{\"id\":" + json(record.id) + ",\"name\":" + json(record.name) + ",\"dims\":" + json(record.dims) +
         ",\"type\":" + json(name_of(record.type)) + "}";
}

template <class Tensors>
std::string tensors_json(const Tensors& tensors) {
  return json_list(tensors, [](const nvinfer1::ITensor* tensor) { return tensor_json(tensor); });
}

std::string layer_json(LayerRecord& layer) {
  std::string settings, types;
  for (const auto& [name, text] : layer.settings->written) settings += (settings.empty() ? "" : ",") + json(name) + ":" + text();
  for (const auto& [index, type] : layer.output_types)
    types += (types.empty() ? "\"" : ",\"") + std::to_string(index) + "\":" + json(name_of(type));
  std::string out = "{\"kind\":" + json(layer.kind) + ",\"name\":" + json(layer.name) +
                    ",\"inputs\":" + tensors_json(layer.inputs) + ",\"outputs\":" + tensors_json(layer.outputs) +
                    ",\"output_types\":{" + types + "},\"settings\":{" + settings + "}";
  const std::string plugin = plugin_json(layer);
  return out + (plugin.empty() ? "" : ",\"plugin\":" + plugin) + "}";
}

}  // namespace

void write_report(std::ostream& out, NetworkRecord& network, const Outcome& outcome, const Logger& logger) {
  network.update();
  const std::string layers = json_list(network.layers, [](LayerRecord* layer) { return "\n" + layer_json(*layer); });
  out << "{\"tensorrt_major\":" << NV_TENSORRT_MAJOR << ",\"parsed\":" << json(outcome.parsed)
      << ",\n\"errors\":" << json_strings(outcome.errors) << ",\n\"messages\":" << json_strings(logger.messages)
      << ",\n\"mismatches\":" << json_strings(problems().mismatches)
      << ",\n\"not_implemented\":" << json_strings(problems().not_implemented)
      << ",\n\"inputs\":" << tensors_json(network.inputs) << ",\n\"outputs\":" << tensors_json(network.outputs);
  if (!outcome.refit.empty()) out << ",\n\"refit\":" << outcome.refit;
  out << ",\n\"layers\":" << layers << "}\n";
}

}  // namespace recorder
