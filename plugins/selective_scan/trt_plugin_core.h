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
constexpr std::int32_t kFields = vim_contract::kAttributes;

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
const char* inputs_error(const Tensor* inputs);

// Reads the attributes. Returns null or an error: each field must be given once, as an int32 of 0 or 1, and no other.
const char* read_fields(const Field* fields, std::int32_t count, Flags& flags);

constexpr std::size_t kSerializedBytes = 16;
void serialize(const Flags& flags, void* to);
const char* deserialize(const void* from, std::size_t bytes, Flags& flags);

// Plugins with the same ID and shapes run the same kernels, so that TensorRT can reuse their timings.
const char* timing_cache_id(const Flags& flags);

std::size_t workspace_bytes(const Tensor* inputs);

// Enqueues the scan. Returns null or an error.
const char* enqueue(const Flags& flags, const Tensor* tensors, const void* const* inputs, void* const* outputs,
                    void* workspace, CUstream_st* stream);

}  // namespace vim_trt
