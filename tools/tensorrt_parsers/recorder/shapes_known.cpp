// Layers of which the values of integers are followed, because shapes are computed with them.
#include "shapes.h"

namespace recorder {

using nvinfer1::DataType;
using nvinfer1::Dims;
using nvinfer1::ElementWiseOperation;

namespace {

Known combined(ElementWiseOperation operation, std::int64_t a, std::int64_t b) {
  switch (operation) {
    case ElementWiseOperation::kSUM: return a + b;
    case ElementWiseOperation::kPROD: return a * b;
    case ElementWiseOperation::kMAX: return std::max(a, b);
    case ElementWiseOperation::kMIN: return std::min(a, b);
    case ElementWiseOperation::kSUB: return a - b;
    case ElementWiseOperation::kDIV: return b ? Known(a / b) : std::nullopt;
    case ElementWiseOperation::kFLOOR_DIV:
      return b ? Known(a / b - ((a % b != 0) && ((a < 0) != (b < 0)))) : std::nullopt;
    case ElementWiseOperation::kEQUAL: return a == b;
    case ElementWiseOperation::kLESS: return a < b;
    case ElementWiseOperation::kGREATER: return a > b;
    case ElementWiseOperation::kAND: return a && b;
    case ElementWiseOperation::kOR: return a || b;
    default: return std::nullopt;
  }
}

// One value of `data` by its index; negative indices count from the end.
Known picked(const Values& data, const Known& index) {
  if (!index) return std::nullopt;
  const auto size = static_cast<std::int64_t>(data->size());
  const std::int64_t position = *index < 0 ? *index + size : *index;
  return position >= 0 && position < size ? (*data)[std::size_t(position)] : std::nullopt;
}

}  // namespace

void same_values_too(LayerRecord& layer) {
  same_as_input(layer);
  layer.out().values = layer.in(0).values;
}

void constant(LayerRecord& layer) {
  const auto& record = settings_of<ConstantLayerRecord>(layer);
  TensorRecord& out = layer.out();
  out.dims = record.dimensions;
  out.type = record.weights.type;
  out.values.reset();
  if (volume(out.dims) != record.weights.count) layer.mismatch("weights of another size than the constant");
  constexpr std::int64_t longest = 4096;  // longer ones are indices, not shapes
  const bool narrow = out.type == DataType::kINT32;
  if ((!narrow && out.type != kShapeType) || record.weights.count > longest) return;
  std::vector<Known> values;
  for (std::int64_t i = 0; i < record.weights.count; ++i)
    values.push_back(narrow ? static_cast<const std::int32_t*>(record.weights.values)[i]
                            : static_cast<const std::int64_t*>(record.weights.values)[i]);
  out.values = values;
}

void shape(LayerRecord& layer) {
  std::vector<Known> values;
  for (std::int64_t size : sizes_of(layer.in(0).dims)) values.push_back(size < 0 ? std::nullopt : Known(size));
  layer.out().type = kShapeType;
  layer.out().dims = dims_of({static_cast<std::int64_t>(values.size())});
  layer.out().values = values;
}

void cast(LayerRecord& layer) {
  same_values_too(layer);
  layer.out().type = settings_of<CastLayerRecord>(layer).to_type;
  if (!holds_shapes(layer.out().type)) layer.out().values.reset();
}

void concatenation(LayerRecord& layer) {
  same_as_input(layer);
  const auto axis = static_cast<std::size_t>(settings_of<ConcatenationLayerRecord>(layer).axis);
  auto sizes = sizes_of(layer.in(0).dims);
  if (axis >= sizes.size()) return layer.mismatch("an axis that its inputs do not have");
  std::int64_t sum = 0;
  Values values = std::vector<Known>{};
  for (std::size_t i = 0; i < layer.inputs.size(); ++i) {
    const TensorRecord& part = layer.in(i);
    if (part.dims.nbDims != layer.in(0).dims.nbDims || part.type != layer.in(0).type)
      return layer.mismatch("parts of different ranks or types");
    const std::int64_t size = part.dims.d[axis];
    sum = size < 0 || sum < 0 ? -1 : sum + size;
    if (!part.values || part.dims.nbDims != 1) values.reset();
    if (values) values->insert(values->end(), part.values->begin(), part.values->end());
  }
  sizes[axis] = sum;
  layer.out().dims = dims_of(sizes);
  layer.out().values = values;
}

void elementwise(LayerRecord& layer) {
  same_as_input(layer);
  const auto operation = settings_of<ElementWiseLayerRecord>(layer).operation;
  const TensorRecord &first = layer.in(0), &second = layer.in(1);
  if (first.type != second.type) layer.mismatch("operands of different types");
  TensorRecord& out = layer.out();
  out.dims = broadcast(layer, first.dims, second.dims);
  if (operation == ElementWiseOperation::kEQUAL || operation == ElementWiseOperation::kLESS ||
      operation == ElementWiseOperation::kGREATER)
    out.type = DataType::kBOOL;
  if (!first.values || !second.values) return;
  const bool empty = first.values->empty() || second.values->empty();
  std::vector<Known> values(empty ? 0 : std::max(first.values->size(), second.values->size()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const Known a = at(first.values, i), b = at(second.values, i);
    if (a && b) values[i] = combined(operation, *a, *b);
  }
  out.values = values;
}

void select(LayerRecord& layer) {
  const TensorRecord &condition = layer.in(0), &first = layer.in(1), &second = layer.in(2);
  TensorRecord& out = layer.out();
  out.type = first.type;
  out.dims = broadcast(layer, broadcast(layer, condition.dims, first.dims), second.dims);
  out.values.reset();
  if (!condition.values || !first.values || !second.values) return;
  std::vector<Known> values(std::max({condition.values->size(), first.values->size(), second.values->size()}));
  for (std::size_t i = 0; i < values.size(); ++i)
    if (const Known chosen = at(condition.values, i)) values[i] = at(*chosen ? first.values : second.values, i);
  out.values = values;
}

namespace {

// The setting `axes` of a slice, which the first versions do not have.
template <class Record>
auto axes_setting(const Record& record, int) -> decltype(Dims(record.axes)) {
  return record.axes;
}
template <class Record>
Dims axes_setting(const Record&, long) {
  return Dims{};
}

// The axes that a slice applies to; all if none are given.
std::vector<std::int64_t> sliced_axes(const LayerRecord& layer, std::int64_t rank) {
  std::vector<std::int64_t> axes;
  for (const Known& axis : given_shape(layer, 5, axes_setting(settings_of<SliceLayerRecord>(layer), 0))) {
    if (!axis) layer.mismatch("an axis that is not constant");
    axes.push_back(axis ? (*axis < 0 ? *axis + rank : *axis) : 0);
  }
  if (axes.empty())
    for (std::int64_t axis = 0; axis < rank; ++axis) axes.push_back(axis);
  return axes;
}

}  // namespace

void slice(LayerRecord& layer) {
  same_as_input(layer);
  const auto& record = settings_of<SliceLayerRecord>(layer);
  const auto start = given_shape(layer, 1, record.start), size = given_shape(layer, 2, record.size),
             stride = given_shape(layer, 3, record.stride);
  const TensorRecord& in = layer.in(0);
  auto sizes = sizes_of(in.dims);
  const auto axes = sliced_axes(layer, in.dims.nbDims);
  if (size.size() != axes.size()) return layer.mismatch("another number of sizes than of axes");
  for (std::size_t i = 0; i < axes.size(); ++i) sizes[std::size_t(axes[i])] = size_or_open(size[i]);
  layer.out().dims = dims_of(sizes);
  if (!in.values || in.dims.nbDims != 1 || !size[0]) return;
  std::vector<Known> values;
  for (std::int64_t i = 0; i < *size[0]; ++i) {
    const Known position = start[0] && stride[0] ? Known(*start[0] + i * *stride[0]) : std::nullopt;
    values.push_back(position && *position >= 0 ? picked(in.values, position) : std::nullopt);
  }
  layer.out().values = values;
}

void gather(LayerRecord& layer) {
  same_as_input(layer);
  const auto& record = settings_of<GatherLayerRecord>(layer);
  const TensorRecord &data = layer.in(0), &index = layer.in(1);
  const auto data_sizes = sizes_of(data.dims), index_sizes = sizes_of(index.dims);
  std::vector<std::int64_t> sizes;
  if (record.mode == nvinfer1::GatherMode::kELEMENT) {
    sizes = index_sizes;
  } else if (record.mode == nvinfer1::GatherMode::kND) {
    sizes.assign(index_sizes.begin(), index_sizes.end() - 1);
    sizes.insert(sizes.end(), data_sizes.begin() + record.nb_element_wise_dims + index_sizes.back(), data_sizes.end());
  } else {
    sizes.assign(data_sizes.begin(), data_sizes.begin() + record.gather_axis);
    sizes.insert(sizes.end(), index_sizes.begin() + record.nb_element_wise_dims, index_sizes.end());
    sizes.insert(sizes.end(), data_sizes.begin() + record.gather_axis + 1, data_sizes.end());
  }
  layer.out().dims = dims_of(sizes);
  if (!data.values || !index.values || data_sizes.size() != 1) return;
  std::vector<Known> values;
  for (const Known& each : *index.values) values.push_back(picked(data.values, each));
  layer.out().values = values;
}

void reduce(LayerRecord& layer) {
  same_as_input(layer);
  const auto& record = settings_of<ReduceLayerRecord>(layer);
  const TensorRecord& in = layer.in(0);
  std::vector<std::int64_t> sizes;
  for (int i = 0; i < in.dims.nbDims; ++i) {
    const bool reduced = record.reduce_axes >> i & 1;
    if (!reduced || record.keep_dimensions) sizes.push_back(reduced ? 1 : in.dims.d[i]);
  }
  layer.out().dims = dims_of(sizes);
  const bool product = record.operation == nvinfer1::ReduceOperation::kPROD;
  if (!in.values || in.dims.nbDims != 1 || (!product && record.operation != nvinfer1::ReduceOperation::kSUM)) return;
  Known total = product ? 1 : 0;
  for (const Known& value : *in.values)
    total = value && total ? Known(product ? *total * *value : *total + *value) : std::nullopt;
  layer.out().values = std::vector<Known>{total};
}

namespace {

// Reorders `sizes`; returns whether anything moved.
bool permute(const LayerRecord& layer, std::vector<std::int64_t>& sizes, const nvinfer1::Permutation& permutation) {
  const auto before = sizes;
  bool moved = false;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const std::int32_t from = permutation.order[i];
    if (from < 0 || from >= static_cast<int>(sizes.size())) return layer.mismatch("a permutation out of range"), true;
    sizes[i] = before[std::size_t(from)];
    moved |= from != static_cast<int>(i);
  }
  return moved;
}

// The sizes after a reshape: 0 keeps a size if `zero_keeps`, and -1 is computed from the others.
std::vector<std::int64_t> reshaped(const LayerRecord& layer, const std::vector<std::int64_t>& before,
                                   const std::vector<Known>& target, bool zero_keeps) {
  constexpr std::size_t none = static_cast<std::size_t>(-1);
  std::vector<std::int64_t> sizes;
  std::size_t computed = none;
  std::int64_t product = 1;  // of the sizes that are given, -1 if one is not known
  for (std::size_t i = 0; i < target.size(); ++i) {
    Known size = target[i];
    if (size && *size == -1) {
      computed = i;
      sizes.push_back(-1);
      continue;
    }
    if (size && *size == 0 && zero_keeps && i < before.size()) size = before[i] < 0 ? std::nullopt : Known(before[i]);
    product = size && product >= 0 ? product * *size : -1;
    sizes.push_back(size_or_open(size));
  }
  const std::int64_t total = volume(dims_of(before));
  if (product < 0 || total < 0) return sizes;
  if (computed != none && product > 0) sizes[computed] = total / product;
  if (volume(dims_of(sizes)) != total)
    layer.mismatch("a reshape of " + json(dims_of(before)) + " to " + json(dims_of(sizes)));
  return sizes;
}

}  // namespace

void shuffle(LayerRecord& layer) {
  same_as_input(layer);
  const auto& record = settings_of<ShuffleLayerRecord>(layer);
  auto sizes = sizes_of(layer.in(0).dims);
  bool moved = record.has("first_transpose") && permute(layer, sizes, record.first_transpose);
  if (record.has("reshape_dimensions") || layer.has(1))
    sizes = reshaped(layer, sizes, given_shape(layer, 1, record.reshape_dimensions), record.zero_is_placeholder);
  if (record.has("second_transpose")) moved |= permute(layer, sizes, record.second_transpose);
  layer.out().dims = dims_of(sizes);
  if (!moved) layer.out().values = layer.in(0).values;
}

#if NV_TENSORRT_MAJOR >= 10
namespace {

std::vector<std::int64_t> axes_of(const LayerRecord& layer, std::int64_t rank) {
  std::vector<std::int64_t> axes;
  for (const Known& axis : given_shape(layer, 1, Dims{})) {
    if (!axis) layer.mismatch("an axis that is not constant");
    axes.push_back(axis ? (*axis < 0 ? *axis + rank : *axis) : 0);
  }
  std::sort(axes.begin(), axes.end());
  return axes;
}

}  // namespace

void squeeze(LayerRecord& layer) {
  same_values_too(layer);
  auto sizes = sizes_of(layer.in(0).dims);
  const auto axes = axes_of(layer, static_cast<std::int64_t>(sizes.size()));
  for (auto axis = axes.rbegin(); axis != axes.rend(); ++axis) {
    if (sizes[std::size_t(*axis)] > 1) layer.mismatch("an axis of " + json(layer.in(0).dims) + " that is not 1");
    sizes.erase(sizes.begin() + *axis);
  }
  layer.out().dims = dims_of(sizes);
}

void unsqueeze(LayerRecord& layer) {
  same_values_too(layer);
  auto sizes = sizes_of(layer.in(0).dims);
  const auto added = static_cast<std::int64_t>(given_shape(layer, 1, Dims{}).size());
  for (std::int64_t axis : axes_of(layer, static_cast<std::int64_t>(sizes.size()) + added))
    sizes.insert(sizes.begin() + axis, 1);
  layer.out().dims = dims_of(sizes);
}
#endif

}  // namespace recorder
