#include "trt_plugin_core.h"

#include <cstring>
#include <initializer_list>

namespace vim_trt {
namespace {

// In front of the serialised settings; the digit is the layout's version.
constexpr char kMagic[8] = {'V', 'I', 'M', 'S', 'C', 'A', 'N', '1'};

bool fits(std::int64_t size, std::int64_t other) { return size < 0 || other < 0 || size == other; }

bool is_flag(std::int32_t value) { return value == 0 || value == 1; }

// The three tensors that have the shape of u, and both projections.
const char* shapes_error(const Tensor* inputs) {
  const std::int64_t* u = inputs[kU].dims;
  const std::int64_t* A = inputs[kA].dims;
  for (const Tensor* tensor : {&inputs[kDelta], &inputs[kZ]}) {
    const std::int64_t* other = tensor->dims;
    if (!fits(u[0], other[0]) || !fits(u[1], other[1]) || !fits(u[2], other[2])) {
      return "SelectiveScan: delta and z must have the shape of u, (batch, length, channels)";
    }
  }
  for (const Tensor* tensor : {&inputs[kB], &inputs[kC]}) {
    const std::int64_t* projection = tensor->dims;
    if (!fits(u[0], projection[0]) || !fits(u[1], projection[1]) || !fits(A[1], projection[2])) {
      return "SelectiveScan: B and C must be (batch, length, state), with the sizes of u and A";
    }
  }
  if (!fits(u[2], A[0])) return "SelectiveScan: A must be (channels, state), with the channels of u";
  if (!fits(u[2], inputs[kD].dims[0]) || !fits(u[2], inputs[kDeltaBias].dims[0])) {
    return "SelectiveScan: D and delta_bias must be (channels), with the channels of u";
  }
  return nullptr;
}

}  // namespace

const Port kPorts[kInputs + kOutputs] = {
    {"u", 3, false}, {"delta", 3, false}, {"A", 2, true},          {"B", 3, false}, {"C", 3, false},
    {"D", 1, true},  {"z", 3, false},     {"delta_bias", 1, true}, {"y", 3, false},
};

bool accepts(std::int32_t position, const Tensor& tensor, const Tensor& u) {
  if (position < 0 || position >= kInputs + kOutputs || !tensor.linear) return false;
  if (kPorts[position].float32_only) return tensor.element == Element::kFloat32;
  return tensor.element != Element::kOther && tensor.element == u.element;
}

const char* inputs_error(const Tensor* inputs) {
  for (std::int32_t i = 0; i < kInputs; ++i) {
    if (inputs[i].rank != kPorts[i].rank) {
      return "SelectiveScan: u, delta, B, C and z must have 3 dimensions, A 2, D and delta_bias 1";
    }
    if (!accepts(i, inputs[i], inputs[kU])) {
      return "SelectiveScan: u, delta, B, C and z must all be float32, float16 or bfloat16, "
             "and A, D and delta_bias float32";
    }
  }
  if (inputs[kA].dims[1] > vim_scan::kCudaMaxState) {
    return "SelectiveScan: the state size is above 256, the CUDA kernel's largest";
  }
  return shapes_error(inputs);
}

const char* read_fields(const Field* fields, std::int32_t count, Settings& settings) {
  settings = {-1, -1};
  for (std::int32_t i = 0; i < count; ++i) {
    const Field& field = fields[i];
    std::int32_t* target = nullptr;
    if (field.name != nullptr && std::strcmp(field.name, kFieldSoftplus) == 0) target = &settings.delta_softplus;
    if (field.name != nullptr && std::strcmp(field.name, kFieldReverse) == 0) target = &settings.reverse;
    if (target == nullptr) return "SelectiveScan: unknown field; its fields are delta_softplus and reverse";
    if (*target != -1) return "SelectiveScan: a field is given twice";
    if (!field.is_int32 || field.length != 1 || field.data == nullptr) {
      return "SelectiveScan: delta_softplus and reverse must be one int32 each";
    }
    std::memcpy(target, field.data, sizeof *target);
    if (!is_flag(*target)) return "SelectiveScan: delta_softplus and reverse must be 0 or 1";
  }
  if (settings.delta_softplus == -1) return "SelectiveScan: the field delta_softplus is missing";
  if (settings.reverse == -1) return "SelectiveScan: the field reverse is missing";
  return nullptr;
}

void serialize(const Settings& settings, void* to) {
  static_assert(sizeof kMagic + sizeof settings == kSerializedBytes);
  std::memcpy(to, kMagic, sizeof kMagic);
  std::memcpy(static_cast<char*>(to) + sizeof kMagic, &settings, sizeof settings);
}

const char* deserialize(const void* from, std::size_t bytes, Settings& settings) {
  if (from == nullptr || bytes != kSerializedBytes || std::memcmp(from, kMagic, sizeof kMagic) != 0) {
    return "SelectiveScan: the engine was built with another version of the plugin; build it again";
  }
  std::memcpy(&settings, static_cast<const char*>(from) + sizeof kMagic, sizeof settings);
  if (is_flag(settings.delta_softplus) && is_flag(settings.reverse)) return nullptr;
  return "SelectiveScan: the plugin's part of the engine is damaged";
}

const char* timing_identity(const Settings& settings) {
  static const char* const kIdentities[2][2] = {
      {"vim_deploy.SelectiveScan.1.plain.forward", "vim_deploy.SelectiveScan.1.plain.reverse"},
      {"vim_deploy.SelectiveScan.1.softplus.forward", "vim_deploy.SelectiveScan.1.softplus.reverse"},
  };
  return kIdentities[settings.delta_softplus][settings.reverse];
}

std::size_t workspace_bytes(const Tensor* inputs) {
  return vim_scan::cuda_workspace_bytes(inputs[kA].dims[0], inputs[kA].dims[1]);
}

const char* enqueue(const Settings& settings, const Tensor* tensors, const void* const* inputs, void* const* outputs,
                    void* workspace, CUstream_st* stream) {
  if (const char* wrong = inputs_error(tensors)) return wrong;
  vim_scan::CudaArguments scan{};
  scan.batch = tensors[kU].dims[0];
  scan.length = tensors[kU].dims[1];
  scan.channels = tensors[kU].dims[2];
  scan.state = tensors[kA].dims[1];
  scan.type = static_cast<vim_scan::Type>(tensors[kU].element);
  scan.delta_softplus = settings.delta_softplus == 1;
  scan.reverse = settings.reverse == 1;
  scan.u = inputs[kU];
  scan.delta = inputs[kDelta];
  scan.A = static_cast<const float*>(inputs[kA]);
  scan.B = inputs[kB];
  scan.C = inputs[kC];
  scan.D = static_cast<const float*>(inputs[kD]);
  scan.z = inputs[kZ];
  scan.delta_bias = static_cast<const float*>(inputs[kDeltaBias]);
  scan.y = outputs[0];
  scan.workspace = workspace;
  return vim_scan::launch_cuda(scan, stream);
}

}  // namespace vim_trt
