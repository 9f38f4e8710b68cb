// The plugins independently of TensorRT's version: supported types and shapes, attributes, and launches. The adapters
// trt_plugin_v3.cpp and trt_plugin_v2.cpp only convert types.
#pragma once

#include "gpu_operators.h"

namespace vim_trt {

using vim_gpu::AttributeSpec;
using vim_gpu::Operator;

// The attributes of the contract, and whether the optional input is read. In TensorRT a node always has all inputs,
// because not every version passes on that one is left out: for a scan without a gate, the plugin does not read z.
struct Settings : vim_gpu::Attributes {
  std::int32_t gated = 1;
};
constexpr std::int32_t kMaxFields = vim_gpu::kMaxAttributes + 1;

// The plugin's fields: the attributes, then "gated" if the operator has an optional input.
std::int32_t field_count(const Operator& op);
AttributeSpec field_spec(const Operator& op, std::int32_t index);
const std::int32_t* field_value(const Operator& op, std::int32_t index, const Settings& settings);

// The first three are vim_scan::Type.
enum class Element : std::int32_t { kFloat32, kFloat16, kBFloat16, kOther };
static_assert(static_cast<int>(Element::kFloat32) == static_cast<int>(vim_scan::Type::kFloat32) &&
              static_cast<int>(Element::kFloat16) == static_cast<int>(vim_scan::Type::kFloat16) &&
              static_cast<int>(Element::kBFloat16) == static_cast<int>(vim_scan::Type::kBFloat16));

struct Tensor {
  Element element;
  bool linear;  // TensorFormat::kLINEAR
  std::int32_t rank;
  std::int64_t dims[vim_contract::kMaxRank];  // -1: not known yet
};

struct Field {
  const char* name;
  const void* data;
  bool is_int32;
  std::int32_t length;
};

// Errors are null or a message that is valid until the thread's next call of a function of this file.

// Whether type and format of the tensor are supported at the position: the inputs in the order of the contract, then
// the outputs. `first` is the tensor at position 0, whose type is T.
bool accepts(const Operator& op, std::int32_t position, const Tensor& tensor, const Tensor& first);

// An error in the inputs' types or shapes; sizes that are not known yet match any size.
const char* inputs_error(const Operator& op, const Settings& settings, const Tensor* inputs);

// An error in the number of tensors.
const char* count_error(const Operator& op, std::int32_t inputs, std::int32_t outputs);

// Reads the fields: each must be given once, as an int32 in its range, and no other.
const char* read_fields(const Operator& op, const Field* fields, std::int32_t count, Settings& settings);

constexpr std::size_t kSerializedBytes = 8 + 4 * kMaxFields + 4;
void serialize(const Operator& op, const Settings& settings, void* to);
const char* deserialize(const Operator& op, const void* from, std::size_t bytes, Settings& settings);

// Plugins with the same ID and shapes run the same kernels, so that TensorRT can reuse their timings.
struct TimingCacheId {
  char text[96];
  TimingCacheId(const Operator& op, const Settings& settings);
};

std::size_t workspace_bytes(const Operator& op, const Settings& settings, const Tensor* inputs);

// Enqueues the operator.
const char* enqueue(const Operator& op, const Settings& settings, const Tensor* tensors, const void* const* inputs,
                    void* const* outputs, void* workspace, CUstream_st* stream);

}  // namespace vim_trt
