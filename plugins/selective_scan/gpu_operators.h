// The operators for GPUs as data: names, tensors, attributes, and how to launch them. The adapters for TensorRT and ONNX
// Runtime are written in terms of this table.
#pragma once

#include <cstddef>
#include <cstdint>

#include "contract.h"
#include "scan_cuda.h"

namespace vim_gpu {

using TensorSpec = vim_contract::InputSpec;

constexpr std::int32_t kMaxInputs = 13;
constexpr std::int32_t kMaxOutputs = 2;
constexpr std::int32_t kMaxAttributes = 3;

// An integer attribute, its range, and that range in words.
struct AttributeSpec {
  const char* name;
  std::int32_t least;
  std::int32_t most;
  const char* expected;
};

// In the operator's order.
struct Attributes {
  std::int32_t value[kMaxAttributes];
};

struct Sizes {
  std::int64_t size[vim_contract::kSizes];  // -1: not known
};

struct Call {
  Attributes attributes;
  Sizes sizes;
  vim_scan::Type type;
  const void* const* inputs;  // null for the optional input if it is left out
  void* const* outputs;
  void* workspace;
};

constexpr std::int32_t kNone = -1;

struct Operator {
  const char* domain;
  const char* name;
  const char* version;
  const TensorSpec* inputs;
  std::int32_t input_count;
  std::int32_t optional_input;  // the only one that may be left out, or kNone
  const TensorSpec* outputs;
  std::int32_t output_count;
  const AttributeSpec* attributes;
  std::int32_t attribute_count;
  // An error in the sizes, as a static string, or null; sizes that are not known are not checked.
  const char* (*sizes_error)(const Sizes& sizes, const Attributes& attributes);
  // Bytes for these sizes, 0 if they are not known.
  std::size_t (*workspace)(const Sizes& sizes);
  // Enqueues the operator. Returns null or an error as a static string.
  const char* (*launch)(const Call& call, CUstream_st* stream);
};

constexpr std::int32_t kOperatorCount = 3;
const Operator& operator_at(std::int32_t index);

// The sizes from the shapes of the inputs, with -1 for sizes that are not known. Returns the index of the first input
// whose shape contradicts those before it, or kNone.
std::int32_t read_sizes(const Operator& op, const Attributes& attributes,
                        const std::int64_t (*shapes)[vim_contract::kMaxRank], Sizes& sizes);

// An input that has the size, and the dimension in it.
struct Source {
  std::int32_t input;
  std::int32_t dimension;
};
Source source_of(const Operator& op, vim_contract::Size size);

}  // namespace vim_gpu
