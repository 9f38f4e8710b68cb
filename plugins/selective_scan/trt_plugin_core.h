// The plugin independently of TensorRT's version: names, supported types and shapes, attributes, and the launch of the
// kernel. The adapters trt_plugin_v3.cpp and trt_plugin_v2.cpp only convert types.
#pragma once

#include <cstddef>
#include <cstdint>

#include "contract.h"
#include "scan_cuda.h"

namespace vim_trt {

using namespace vim_contract;

constexpr const char* kVersion = vim_contract::kVersionText;
constexpr const char* kNamespace = vim_contract::kDomain;

// Positions of the tensors: the inputs in the order of the contract, then the output.
constexpr std::int32_t kInputs = vim_contract::kInputs;
constexpr std::int32_t kOutputs = 1;

// The attributes of the contract, and whether the scan has a gate. In TensorRT a node always has all inputs, because
// not every version passes on that one is left out: without a gate, the plugin does not read z.
struct Settings : Flags {
  std::int32_t gated;
};
constexpr std::int32_t kFields = vim_contract::kAttributes + 1;
struct FieldSpec {
  const char* name;
  std::int32_t Settings::*value;
  std::int32_t least;
  std::int32_t most;
};
constexpr FieldSpec field_spec(std::int32_t index) {
  if (index == vim_contract::kAttributes) return {"gated", &Settings::gated, 0, 1};
  const AttributeSpec& spec = kAttributeSpecs[index];
  return {spec.name, spec.value, spec.least, spec.most};
}

// The first three are vim_scan::Type.
enum class Element : std::int32_t { kFloat32, kFloat16, kBFloat16, kOther };
static_assert(static_cast<int>(Element::kFloat32) == static_cast<int>(vim_scan::Type::kFloat32) &&
              static_cast<int>(Element::kFloat16) == static_cast<int>(vim_scan::Type::kFloat16) &&
              static_cast<int>(Element::kBFloat16) == static_cast<int>(vim_scan::Type::kBFloat16));

struct Tensor {
  Element element;
  bool linear;  // TensorFormat::kLINEAR
  std::int32_t rank;
  std::int64_t dims[3];  // -1: not known yet
};

struct Field {
  const char* name;
  const void* data;
  bool is_int32;
  std::int32_t length;
};

// Whether type and format of the tensor are supported at the position; `u` is the tensor at position 0.
bool accepts(std::int32_t position, const Tensor& tensor, const Tensor& u);

// An error in the inputs' types or shapes, or null; sizes that are not known yet match any size.
const char* inputs_error(const Settings& settings, const Tensor* inputs);

// Reads the fields. Returns null or an error: each must be given once, as an int32 in its range, and no other.
const char* read_fields(const Field* fields, std::int32_t count, Settings& settings);

constexpr std::size_t kSerializedBytes = 8 + 4 * kFields;
void serialize(const Settings& settings, void* to);
const char* deserialize(const void* from, std::size_t bytes, Settings& settings);

// Plugins with the same ID and shapes run the same kernels, so that TensorRT can reuse their timings.
struct TimingCacheId {
  char text[80];
  explicit TimingCacheId(const Settings& settings);
};

std::size_t workspace_bytes(const Tensor* inputs);

// Enqueues the scan. Returns null or an error.
const char* enqueue(const Settings& settings, const Tensor* tensors, const void* const* inputs, void* const* outputs,
                    void* workspace, CUstream_st* stream);

}  // namespace vim_trt
