// Shared by all operators for ONNX Runtime: reading tensors and attributes, and error messages about them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ort_abi.h"

namespace ort_tensor {

constexpr std::size_t kMaxRank = 3;

struct Shape {
  std::size_t rank = 0;
  std::int64_t size[kMaxRank] = {};
};

struct InputSpec {
  const char* name;
  std::size_t rank;
  const char* shape_text;  // the expected shape, for messages
};

struct ShapeText {
  char text[96];
  explicit ShapeText(const Shape& shape);
};

// A status whose message starts with the operator's name, "domain::Name".
[[gnu::format(printf, 3, 4)]] ort_abi::Status* refuse(const ort_abi::Api& api, const char* name, const char* format,
                                                      ...);

// An integer attribute, its range, and that range in words.
struct IntegerSpec {
  const char* name;
  std::int32_t least;
  std::int32_t most;
  const char* expected;
};

// Reads an attribute, which must be present and in its range.
ort_abi::Status* read_integer(const ort_abi::Api& api, const char* name, const ort_abi::KernelInfo* info,
                              const IntegerSpec& spec, std::int32_t* value);
// The same for an attribute that is 0 or 1.
ort_abi::Status* read_flag(const ort_abi::Api& api, const char* name, const ort_abi::KernelInfo* info,
                           const char* attribute, std::int32_t* value);

// Reads value, data and shape of input `index`, which must have the rank of its spec. The runtime checks its type.
ort_abi::Status* read_value(const ort_abi::Api& api, const char* name, const ort_abi::KernelContext* context,
                            std::size_t index, const InputSpec& spec, const ort_abi::Value** value, const void** data,
                            Shape* shape);

// The same for a float32 input.
ort_abi::Status* read_input(const ort_abi::Api& api, const char* name, const ort_abi::KernelContext* context,
                            std::size_t index, const InputSpec& spec, const float** data, Shape* shape);

// An error if the shape is not the expected one; the ranks must be equal.
ort_abi::Status* expect_shape(const ort_abi::Api& api, const char* name, const InputSpec& spec, const Shape& shape,
                              const Shape& expected, const char* from);

// Allocates output `index` with this shape: of any type, and of float32.
ort_abi::Status* make_value(const ort_abi::Api& api, ort_abi::KernelContext* context, std::size_t index,
                            const Shape& shape, void** data);
ort_abi::Status* make_output(const ort_abi::Api& api, ort_abi::KernelContext* context, std::size_t index,
                             const Shape& shape, float** data);

// The members that are the same for all custom operators of this library: float32 inputs and outputs, all required,
// on the CPU.
ort_abi::CustomOp float_operator();

}  // namespace ort_tensor
