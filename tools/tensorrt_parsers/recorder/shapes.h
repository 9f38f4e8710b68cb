// Shapes, types and known values of the outputs of layers, by the rules in NvInfer.h.
#pragma once

#include "records.h"

namespace recorder {

void same_as_input(LayerRecord& layer);  // shape and type
void same_values_too(LayerRecord& layer);

void convolution(LayerRecord& layer);
void deconvolution(LayerRecord& layer);
void dequantize(LayerRecord& layer);
void quantize(LayerRecord& layer);
void pooling(LayerRecord& layer);
void concatenation(LayerRecord& layer);
void elementwise(LayerRecord& layer);
void shuffle(LayerRecord& layer);
void slice(LayerRecord& layer);
void shape(LayerRecord& layer);
void gather(LayerRecord& layer);
void reduce(LayerRecord& layer);
void top_k(LayerRecord& layer);
void matrix_multiply(LayerRecord& layer);
void constant(LayerRecord& layer);
void cast(LayerRecord& layer);
void select(LayerRecord& layer);
void fill(LayerRecord& layer);
void normalization(LayerRecord& layer);
void non_zero(LayerRecord& layer);
void nms(LayerRecord& layer);
void resize(LayerRecord& layer);
#if NV_TENSORRT_MAJOR >= 10
void squeeze(LayerRecord& layer);
void unsqueeze(LayerRecord& layer);
#endif

// For the parts of this file: the settings of a layer as their generated type.
template <class Record>
const Record& settings_of(const LayerRecord& layer) {
  return static_cast<const Record&>(*layer.settings);
}

// A shape that is given by a setting, or by a shape tensor at `input`.
std::vector<Known> given_shape(const LayerRecord& layer, std::size_t input, const nvinfer1::Dims& setting);

// The shape of two tensors of the same rank, one of each pair of sizes being 1 or both being equal.
nvinfer1::Dims broadcast(const LayerRecord& layer, const nvinfer1::Dims& first, const nvinfer1::Dims& second);

}  // namespace recorder
