// How NetworkRecord adds a layer, for the files that implement its functions.
#pragma once

#include "network.h"

namespace recorder {

template <class Interface, class Record>
Layer<Interface, Record>* NetworkRecord::add(nvinfer1::LayerType type, const char* kind,
                                             std::vector<nvinfer1::ITensor*> given, int output_count, ShapeRule rule) {
  auto* layer = new Layer<Interface, Record>();  // kept until the process ends, as the parser may refer to it
  LayerRecord& record = layer->record;
  record.type = type;
  record.kind = kind;
  record.name = "(Unnamed Layer* " + std::to_string(layers.size()) + ") [" + kind + "]";
  record.inputs = std::move(given);
  record.rule = rule;
  for (int i = 0; i < output_count; ++i)
    record.outputs.push_back(add_tensor(&record, record.name + "_output" + (i ? "_" + std::to_string(i) : "")));
  interfaces_.push_back(layer);
  layers.push_back(&record);
  return layer;
}

}  // namespace recorder
