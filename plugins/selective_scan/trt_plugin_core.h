// What the plugin is, apart from any version of TensorRT: names, accepted types and shapes, settings, and the call
// of the kernel. The adapters trt_plugin_v3.cpp and trt_plugin_v2.cpp only translate.
#pragma once

#include <cstddef>
#include <cstdint>

#include "scan_cuda.h"

namespace vim_trt {

constexpr char kName[] = "SelectiveScan";
constexpr char kVersion[] = "1";
constexpr char kNamespace[] = "vim_deploy";

// Positions of the tensors: the inputs in the order of the contract, then the output.
enum Position : std::int32_t { kU, kDelta, kA, kB, kC, kD, kZ, kDeltaBias, kY };
constexpr std::int32_t kInputs = 8;
constexpr std::int32_t kOutputs = 1;

struct Port {
  const char* name;
  int rank;
  bool float32_only;  // otherwise of the graph's type, the same at all such ports
};
extern const Port kPorts[kInputs + kOutputs];

constexpr char kFieldSoftplus[] = "delta_softplus";
constexpr char kFieldReverse[] = "reverse";

// Both 0 or 1, as in the contract.
struct Settings {
  std::int32_t delta_softplus;
  std::int32_t reverse;
};

// The first three are vim_scan::Type.
enum class Element : std::int32_t { kFloat32, kFloat16, kBFloat16, kOther };
static_assert(static_cast<int>(Element::kFloat32) == static_cast<int>(vim_scan::Type::kFloat32) &&
              static_cast<int>(Element::kFloat16) == static_cast<int>(vim_scan::Type::kFloat16) &&
              static_cast<int>(Element::kBFloat16) == static_cast<int>(vim_scan::Type::kBFloat16));

struct Tensor {
  Element element;
  bool linear;  // rows in order, no vectors of channels
  std::int32_t rank;
  std::int64_t dims[3];  // as many as the rank has, at most 3; -1 where not known yet
};

struct Field {
  const char* name;
  const void* data;
  bool is_int32;
  std::int32_t length;
};

// Whether the tensor may stand at the position; `u` is the tensor at position 0.
bool accepts(std::int32_t position, const Tensor& tensor, const Tensor& u);

// What is wrong with the eight inputs' types or shapes, or null; sizes that are not known yet fit everywhere.
const char* inputs_error(const Tensor* inputs);

// Reads the settings; null, or what is wrong: each field has to be there once, an int32 of 0 or 1, and no other.
const char* read_fields(const Field* fields, std::int32_t count, Settings& settings);

constexpr std::size_t kSerializedBytes = 16;
void serialize(const Settings& settings, void* to);
const char* deserialize(const void* from, std::size_t bytes, Settings& settings);

// Plugins with the same identity and shapes run the same kernels, so that TensorRT may reuse their timing.
const char* timing_identity(const Settings& settings);

std::size_t workspace_bytes(const Tensor* inputs);

// Queues the scan; null, or what is wrong.
const char* enqueue(const Settings& settings, const Tensor* tensors, const void* const* inputs, void* const* outputs,
                    void* workspace, CUstream_st* stream);

}  // namespace vim_trt
