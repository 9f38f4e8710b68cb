#include "trt_plugin_core.h"

#include <cstring>

namespace vim_trt {

namespace {

// The start of the serialized attributes; the digit is the layout's version.
constexpr char kMagic[8] = {'V', 'I', 'M', 'S', 'C', 'A', 'N', '1'};

// Messages per input, since plugins may not allocate them.
#define VIM_TRT_SHAPE_ERROR(index, name, shape, text, type) \
  "SelectiveScan: " #name " must be " text ", with batch, length and channels of u and the state of A",
#define VIM_TRT_TYPE_ERROR(index, name, shape, text, type)                                       \
  type == InputType::kFloat32 ? "SelectiveScan: " #name " must be float32, in linear format"     \
                              : "SelectiveScan: " #name " must be float32, float16 or bfloat16 " \
                                "like u, in linear format",
constexpr const char* kShapeErrors[] = {VIM_SCAN_INPUTS(VIM_TRT_SHAPE_ERROR)};
constexpr const char* kTypeErrors[] = {VIM_SCAN_INPUTS(VIM_TRT_TYPE_ERROR)};
#undef VIM_TRT_SHAPE_ERROR
#undef VIM_TRT_TYPE_ERROR

bool is_flag(std::int32_t value) { return value == 0 || value == 1; }

// Whether each size is that of u and A, or not known yet.
bool shape_matches(const Tensor& tensor, const Shape& shape, const std::int64_t* sizes) {
  for (std::size_t i = 0; i < shape.rank; ++i) {
    const std::int64_t size = tensor.dims[i], expected = sizes[shape.sizes[i]];
    if (size >= 0 && expected >= 0 && size != expected) return false;
  }
  return true;
}

}  // namespace

bool accepts(std::int32_t position, const Tensor& tensor, const Tensor& u) {
  if (position < 0 || position >= kInputs + kOutputs || !tensor.linear) return false;
  if (position < kInputs && kInputSpecs[position].type == InputType::kFloat32)
    return tensor.element == Element::kFloat32;
  return tensor.element != Element::kOther && tensor.element == u.element;
}

const char* inputs_error(const Tensor* inputs) {
  for (std::int32_t i = 0; i < kInputs; ++i) {
    if (inputs[i].rank != static_cast<std::int32_t>(kInputSpecs[i].shape.rank)) return kShapeErrors[i];
    if (!accepts(i, inputs[i], inputs[kU])) return kTypeErrors[i];
  }
  const std::int64_t* u = inputs[kU].dims;
  const std::int64_t sizes[kSizes] = {u[0], u[1], u[2], inputs[kA].dims[1]};
  if (sizes[kState] > vim_scan::kCudaMaxState) {
    return "SelectiveScan: the state size is above 256, the maximum of the CUDA kernel";
  }
  for (std::int32_t i = 0; i < kInputs; ++i)
    if (!shape_matches(inputs[i], kInputSpecs[i].shape, sizes)) return kShapeErrors[i];
  return nullptr;
}

const char* read_fields(const Field* fields, std::int32_t count, Flags& flags) {
  for (const AttributeSpec& spec : kAttributeSpecs) flags.*spec.value = -1;
  for (std::int32_t i = 0; i < count; ++i) {
    const Field& field = fields[i];
    const AttributeSpec* found = nullptr;
    for (const AttributeSpec& spec : kAttributeSpecs)
      if (field.name != nullptr && std::strcmp(field.name, spec.name) == 0) found = &spec;
    if (found == nullptr) return "SelectiveScan: unknown field; its fields are delta_softplus and reverse";
    if (flags.*found->value != -1) return "SelectiveScan: a field is given twice";
    if (!field.is_int32 || field.length != 1 || field.data == nullptr) {
      return "SelectiveScan: each field must be one int32";
    }
    std::int32_t value = 0;
    std::memcpy(&value, field.data, sizeof value);
    if (!is_flag(value)) return "SelectiveScan: each field must be 0 or 1";
    flags.*found->value = value;
  }
  for (const AttributeSpec& spec : kAttributeSpecs)
    if (flags.*spec.value == -1) return "SelectiveScan: a field is missing; its fields are delta_softplus and reverse";
  return nullptr;
}

void serialize(const Flags& flags, void* to) {
  static_assert(sizeof kMagic + sizeof flags == kSerializedBytes);
  std::memcpy(to, kMagic, sizeof kMagic);
  std::memcpy(static_cast<char*>(to) + sizeof kMagic, &flags, sizeof flags);
}

const char* deserialize(const void* from, std::size_t bytes, Flags& flags) {
  if (from == nullptr || bytes != kSerializedBytes || std::memcmp(from, kMagic, sizeof kMagic) != 0) {
    return "SelectiveScan: the engine was built with another version of the plugin; rebuild it";
  }
  std::memcpy(&flags, static_cast<const char*>(from) + sizeof kMagic, sizeof flags);
  for (const AttributeSpec& spec : kAttributeSpecs)
    if (!is_flag(flags.*spec.value)) return "SelectiveScan: the plugin's data in the engine is corrupt";
  return nullptr;
}

const char* timing_cache_id(const Flags& flags) {
  static const char* const kIds[2][2] = {
      {"vim_deploy.SelectiveScan.1.plain.forward", "vim_deploy.SelectiveScan.1.plain.reverse"},
      {"vim_deploy.SelectiveScan.1.softplus.forward", "vim_deploy.SelectiveScan.1.softplus.reverse"},
  };
  return kIds[flags.delta_softplus][flags.reverse];
}

std::size_t workspace_bytes(const Tensor* inputs) {
  return vim_scan::cuda_workspace_bytes(inputs[kA].dims[0], inputs[kA].dims[1]);
}

const char* enqueue(const Flags& flags, const Tensor* tensors, const void* const* inputs, void* const* outputs,
                    void* workspace, CUstream_st* stream) {
  if (const char* error = inputs_error(tensors)) return error;
  vim_scan::CudaArguments scan{};
  scan.batch = tensors[kU].dims[0];
  scan.length = tensors[kU].dims[1];
  scan.channels = tensors[kU].dims[2];
  scan.state = tensors[kA].dims[1];
  scan.type = static_cast<vim_scan::Type>(tensors[kU].element);
  scan.delta_softplus = flags.delta_softplus == 1;
  scan.reverse = flags.reverse == 1;
  set_inputs(scan, inputs);
  scan.y = outputs[0];
  scan.workspace = workspace;
  return vim_scan::launch_cuda(scan, stream);
}

}  // namespace vim_trt
