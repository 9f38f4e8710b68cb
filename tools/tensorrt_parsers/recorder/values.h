// Sizes of tensors, and the values of small integer tensors as far as they are known: shapes are computed from them.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "NvInfer.h"

namespace recorder {

#if NV_TENSORRT_MAJOR >= 10
using DimsArgument = const nvinfer1::Dims&;
using Size = std::int64_t;
constexpr nvinfer1::DataType kShapeType = nvinfer1::DataType::kINT64;
#else
using DimsArgument = nvinfer1::Dims;
using Size = std::int32_t;
constexpr nvinfer1::DataType kShapeType = nvinfer1::DataType::kINT32;
#endif

using Known = std::optional<std::int64_t>;
using Values = std::optional<std::vector<Known>>;  // nothing: not a tensor of integers that was followed

inline nvinfer1::Dims dims_of(const std::vector<std::int64_t>& sizes) {
  nvinfer1::Dims dims{};
  dims.nbDims = static_cast<std::int32_t>(sizes.size());
  for (std::size_t i = 0; i < sizes.size() && i < nvinfer1::Dims::MAX_DIMS; ++i) dims.d[i] = static_cast<Size>(sizes[i]);
  return dims;
}
inline std::vector<std::int64_t> sizes_of(const nvinfer1::Dims& dims) {
  return std::vector<std::int64_t>(dims.d, dims.d + std::max(dims.nbDims, 0));
}
// Number of elements, -1 if a size is not known.
inline std::int64_t volume(const nvinfer1::Dims& dims) {
  std::int64_t product = 1;
  for (std::int64_t size : sizes_of(dims)) product = size < 0 || product < 0 ? -1 : product * size;
  return product;
}
inline std::int64_t size_or_open(const Known& value) { return value.value_or(-1); }

inline bool holds_shapes(nvinfer1::DataType type) {
  return type == nvinfer1::DataType::kINT32 || type == kShapeType || type == nvinfer1::DataType::kBOOL;
}

// `values[i]`, where one value stands for all.
inline Known at(const Values& values, std::size_t i) { return (*values)[values->size() == 1 ? 0 : i]; }

}  // namespace recorder
