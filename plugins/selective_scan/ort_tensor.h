// What the operators for ONNX Runtime share: reading tensors and attributes, and saying what is wrong with them.
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
  const char* meaning;  // the shape in words
};

struct ShapeText {
  char text[96];
  explicit ShapeText(const Shape& shape);
};

// A status whose message begins with the operator's name, "domain::Name".
[[gnu::format(printf, 3, 4)]] ort_abi::Status* refuse(const ort_abi::Api& api, const char* name, const char* format,
                                                      ...);

// The attribute, which must be there and be 0 or 1.
ort_abi::Status* read_switch(const ort_abi::Api& api, const char* name, const ort_abi::KernelInfo* info,
                             const char* attribute, std::int32_t* value);

// The value, data and shape of input `index`, which must have the rank of its spec. The runtime has checked its type.
ort_abi::Status* read_value(const ort_abi::Api& api, const char* name, const ort_abi::KernelContext* context,
                            std::size_t index, const InputSpec& spec, const ort_abi::Value** value, const void** data,
                            Shape* shape);

// The same of a float32 input.
ort_abi::Status* read_input(const ort_abi::Api& api, const char* name, const ort_abi::KernelContext* context,
                            std::size_t index, const InputSpec& spec, const float** data, Shape* shape);

// Refuses an input whose shape is not the expected one; the rank has been checked.
ort_abi::Status* expect_shape(const ort_abi::Api& api, const char* name, const InputSpec& spec, const Shape& shape,
                              const Shape& expected, const char* from);

// Memory of output `index`, made with this shape, of any type and of float32.
ort_abi::Status* make_value(const ort_abi::Api& api, ort_abi::KernelContext* context, std::size_t index,
                            const Shape& shape, void** data);
ort_abi::Status* make_output(const ort_abi::Api& api, ort_abi::KernelContext* context, std::size_t index,
                             const Shape& shape, float** data);

// The members of a custom operator that are the same for all of this library's: float32 in and out, on the
// processor, every input and output required.
ort_abi::CustomOp float_operator();

}  // namespace ort_tensor
