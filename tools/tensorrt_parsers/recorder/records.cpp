#include "records.h"

namespace recorder {

void Settings::changed() {
  if (layer) layer->stale = true;
}

void TensorRecord::update() const {
  if (owner) owner->update();
}

const TensorRecord& of(const nvinfer1::ITensor* tensor) {
  const TensorRecord& record = static_cast<const Tensor*>(tensor)->record;
  record.update();
  return record;
}

void LayerRecord::update() {
  if (!stale || busy) return;
  busy = true;
  rule(*this);
  for (auto& [index, given] : output_types) outputs[static_cast<std::size_t>(index)]->record.type = given;
  stale = busy = false;
}

void LayerRecord::setInput(std::int32_t index, nvinfer1::ITensor& tensor) noexcept {
  if (inputs.size() <= static_cast<std::size_t>(index)) inputs.resize(static_cast<std::size_t>(index) + 1, nullptr);
  inputs[static_cast<std::size_t>(index)] = &tensor;
  stale = true;
}

const char* name_of(nvinfer1::DataType type) {
  switch (static_cast<int>(type)) {  // later versions of TensorRT have more types than earlier ones
    case 0: return "float32";
    case 1: return "float16";
    case 2: return "int8";
    case 3: return "int32";
    case 4: return "bool";
    case 5: return "uint8";
    case 6: return "float8_e4m3fn";
    case 7: return "bfloat16";
    case 8: return "int64";
    default: return "other";
  }
}

std::size_t width_of(nvinfer1::DataType type) {
  switch (static_cast<int>(type)) {
    case 0: case 3: return 4;
    case 1: case 7: return 2;
    case 8: return 8;
    default: return 1;
  }
}

}  // namespace recorder
