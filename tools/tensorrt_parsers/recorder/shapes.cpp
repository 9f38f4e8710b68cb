// Layers of which the values of integers are not followed.
#include "shapes.h"

namespace recorder {

using nvinfer1::DataType;
using nvinfer1::Dims;

void same_as_input(LayerRecord& layer) {
  TensorRecord& out = layer.out();
  out.dims = layer.in(0).dims;
  out.type = layer.in(0).type;
  out.values.reset();
}

Dims broadcast(const LayerRecord& layer, const Dims& first, const Dims& second) {
  if (first.nbDims != second.nbDims) layer.mismatch("ranks of " + json(first) + " and " + json(second));
  Dims out = first;
  for (int i = 0; i < std::min(first.nbDims, second.nbDims); ++i) {
    if (first.d[i] == 1 || (first.d[i] < 0 && second.d[i] != 1)) out.d[i] = second.d[i];
    if (first.d[i] > 1 && second.d[i] > 1 && first.d[i] != second.d[i])
      layer.mismatch("sizes of " + json(first) + " and " + json(second));
  }
  return out;
}

std::vector<Known> given_shape(const LayerRecord& layer, std::size_t input, const Dims& setting) {
  if (layer.has(input)) {
    const TensorRecord& tensor = layer.in(input);
    if (tensor.values) return *tensor.values;
    if (tensor.dims.nbDims == 1 && tensor.dims.d[0] >= 0) return std::vector<Known>(std::size_t(tensor.dims.d[0]));
    layer.mismatch("a shape tensor of unknown length");
    return {};
  }
  const auto sizes = sizes_of(setting);
  return std::vector<Known>(sizes.begin(), sizes.end());
}

namespace {

struct Window {
  const Dims &size, &stride, &dilation, &before, &after;
  std::int64_t at(const Dims& dims, int axis, std::int64_t otherwise) const {
    return dims.nbDims ? dims.d[axis] : otherwise;
  }
  std::int64_t span(int axis) const { return at(dilation, axis, 1) * (size.d[axis] - 1) + 1; }
  std::int64_t padding(int axis) const { return at(before, axis, 0) + at(after, axis, 0); }
  std::int64_t slid(int axis, std::int64_t length) const {
    return (length + padding(axis) - span(axis)) / at(stride, axis, 1) + 1;
  }
  std::int64_t spread(int axis, std::int64_t length) const {
    return (length - 1) * at(stride, axis, 1) + span(axis) - padding(axis);
  }
};

// The sizes after a window was moved over the last axes. `channels`: -1 to keep them.
template <class Length>
void windowed(LayerRecord& layer, int axes, std::int64_t channels, const Length& length) {
  same_as_input(layer);
  auto sizes = sizes_of(layer.in(0).dims);
  if (static_cast<int>(sizes.size()) != axes + 2) return layer.mismatch("a window of another rank than its input");
  if (channels >= 0) sizes[1] = channels;
  for (int axis = 0; axis < axes; ++axis) {
    std::int64_t& size = sizes[std::size_t(axis) + 2];
    if (size >= 0) size = length(axis, size);
  }
  layer.out().dims = dims_of(sizes);
}

template <class Record>
Window window_of(const Record& record, const Dims& size, const Dims& dilation) {
  return {size, record.stride_nd, dilation, record.pre_padding.nbDims ? record.pre_padding : record.padding_nd,
          record.post_padding.nbDims ? record.post_padding : record.padding_nd};
}

}  // namespace

void convolution(LayerRecord& layer) {
  const auto& record = settings_of<ConvolutionLayerRecord>(layer);
  const Window window = window_of(record, record.kernel_size_nd, record.dilation_nd);
  windowed(layer, record.kernel_size_nd.nbDims, record.nb_output_maps,
           [&](int axis, std::int64_t length) { return window.slid(axis, length); });
  const std::int64_t channels = layer.in(0).dims.d[1];
  const std::int64_t expected =
      record.nb_output_maps * (channels / std::max<std::int64_t>(record.nb_groups, 1)) * volume(record.kernel_size_nd);
  if (channels > 0 && record.kernel_weights.count && expected != record.kernel_weights.count)
    layer.mismatch("kernel weights of another size than its input and kernel");
}

void deconvolution(LayerRecord& layer) {
  const auto& record = settings_of<DeconvolutionLayerRecord>(layer);
  const Window window = window_of(record, record.kernel_size_nd, record.dilation_nd);
  windowed(layer, record.kernel_size_nd.nbDims, record.nb_output_maps,
           [&](int axis, std::int64_t length) { return window.spread(axis, length); });
}

void pooling(LayerRecord& layer) {
  const auto& record = settings_of<PoolingLayerRecord>(layer);
  const Dims undilated{};
  const Window window = window_of(record, record.window_size_nd, undilated);
  windowed(layer, record.window_size_nd.nbDims, -1,
           [&](int axis, std::int64_t length) { return window.slid(axis, length); });
}

void top_k(LayerRecord& layer) {
  same_as_input(layer);
  const auto& record = settings_of<TopKLayerRecord>(layer);
  Known count = record.k;
  if (layer.has(1)) count = layer.in(1).values ? at(layer.in(1).values, 0) : std::nullopt;
  Dims dims = layer.in(0).dims;
  for (int i = 0; i < dims.nbDims; ++i)
    if (record.reduce_axes >> i & 1) dims.d[i] = static_cast<Size>(size_or_open(count));
  layer.out(0).dims = layer.out(1).dims = dims;
  layer.out(1).type = DataType::kINT32;
}

void matrix_multiply(LayerRecord& layer) {
  same_as_input(layer);
  const auto& record = settings_of<MatrixMultiplyLayerRecord>(layer);
  const TensorRecord &first = layer.in(0), &second = layer.in(1);
  if (first.type != second.type) layer.mismatch("factors of different types");
  // The batch sizes, and the one or two sizes of the matrix.
  const auto split = [](const Dims& dims, nvinfer1::MatrixOperation operation) {
    auto batch = sizes_of(dims);
    const std::ptrdiff_t rank = operation == nvinfer1::MatrixOperation::kVECTOR ? 1 : 2;
    std::vector<std::int64_t> matrix(batch.end() - rank, batch.end());
    if (operation == nvinfer1::MatrixOperation::kTRANSPOSE) std::swap(matrix[0], matrix[1]);
    batch.resize(batch.size() - std::size_t(rank));
    return std::make_pair(batch, matrix);
  };
  const auto [first_batch, rows] = split(first.dims, record.operation[0]);
  const auto [second_batch, columns] = split(second.dims, record.operation[1]);
  auto sizes = sizes_of(broadcast(layer, dims_of(first_batch), dims_of(second_batch)));
  if (rows.back() >= 0 && columns.front() >= 0 && rows.back() != columns.front())
    layer.mismatch("inner sizes of " + json(first.dims) + " and " + json(second.dims));
  if (rows.size() == 2) sizes.push_back(rows[0]);
  if (columns.size() == 2) sizes.push_back(columns[1]);
  layer.out().dims = dims_of(sizes);
}

void fill(LayerRecord& layer) {
  std::vector<std::int64_t> sizes;
  for (const Known& size : given_shape(layer, 0, settings_of<FillLayerRecord>(layer).dimensions))
    sizes.push_back(size_or_open(size));
  layer.out().dims = dims_of(sizes);
  layer.out().type = layer.has(1) ? layer.in(1).type : DataType::kFLOAT;
}

void normalization(LayerRecord& layer) {
  same_as_input(layer);
  for (std::size_t i : {std::size_t(1), std::size_t(2)}) {
    if (layer.in(i).type != layer.in(0).type) layer.mismatch("a scale or bias of another type than its input");
    broadcast(layer, layer.in(0).dims, layer.in(i).dims);
  }
}

void non_zero(LayerRecord& layer) {
  layer.out().type = DataType::kINT32;
  layer.out().dims = dims_of({layer.in(0).dims.nbDims, -1});
}

void nms(LayerRecord& layer) {
  layer.out(0).type = layer.out(1).type = DataType::kINT32;
  layer.out(0).dims = dims_of({-1, 3});
  layer.out(1).dims = dims_of({});
}

void resize(LayerRecord& layer) {
  same_as_input(layer);
  const auto& record = settings_of<ResizeLayerRecord>(layer);
  const auto in = sizes_of(layer.in(0).dims);
  std::vector<std::int64_t> sizes;
  if (record.scales.empty())
    for (const Known& size : given_shape(layer, 1, record.output_dimensions)) sizes.push_back(size_or_open(size));
  else
    for (std::size_t i = 0; i < in.size(); ++i)
      sizes.push_back(in[i] < 0 ? -1 : static_cast<std::int64_t>(static_cast<double>(in[i]) * record.scales[i]));
  layer.out().dims = dims_of(sizes);
}

namespace {

// A scale for the whole tensor, or one for each position of the axis.
void check_scale(const LayerRecord& layer, int axis) {
  const TensorRecord& scale = layer.in(1);
  const std::int64_t count = volume(scale.dims);
  if (scale.type != DataType::kFLOAT) layer.mismatch("a scale that is not float32");
  if (count == 1) return;
  const Dims& dims = layer.in(0).dims;
  if (axis < 0 || axis >= dims.nbDims || dims.d[axis] != count)
    layer.mismatch(std::to_string(count) + " scales for axis " + std::to_string(axis) + " of " + json(dims));
}

}  // namespace

// The type is set after the layer is added; without one it is int8.
void quantize(LayerRecord& layer) {
  same_as_input(layer);
  layer.out().type = DataType::kINT8;
#if NV_TENSORRT_MAJOR >= 10
  if (settings_of<QuantizeLayerRecord>(layer).to_type == DataType::kFP8) layer.out().type = DataType::kFP8;
#endif
  check_scale(layer, settings_of<QuantizeLayerRecord>(layer).axis);
}

void dequantize(LayerRecord& layer) {
  same_as_input(layer);
  if (layer.in(0).type != DataType::kINT8 && layer.in(0).type != DataType::kFP8)
    layer.mismatch("an input that is neither int8 nor fp8");
  layer.out().type = DataType::kFLOAT;
  check_scale(layer, settings_of<DequantizeLayerRecord>(layer).axis);
}

}  // namespace recorder
