#include "trt_plugin_core.h"

#include <cstdio>
#include <cstring>

namespace vim_trt {

namespace {

// The start of the serialized attributes; the digit is the layout's version.
constexpr char kMagic[8] = {'V', 'I', 'M', 'S', 'C', 'A', 'N', '2'};

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

#define VIM_TRT_FIELDS "delta_softplus, reverse, groups and gated"
constexpr std::int32_t kNotGiven = -1;  // below the range of every field

bool in_range(const FieldSpec& spec, const Settings& settings) {
  return settings.*spec.value >= spec.least && settings.*spec.value <= spec.most;
}

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

const char* inputs_error(const Settings& settings, const Tensor* inputs) {
  for (std::int32_t i = 0; i < kInputs; ++i) {
    if (inputs[i].rank != static_cast<std::int32_t>(kInputSpecs[i].shape.rank)) return kShapeErrors[i];
    if (!accepts(i, inputs[i], inputs[kU])) return kTypeErrors[i];
  }
  const std::int64_t* u = inputs[kU].dims;
  const std::int64_t state = inputs[kA].dims[1];
  const std::int64_t sizes[kSizes] = {u[0], u[1], u[2], state, state < 0 ? -1 : settings.groups * state};
  if (sizes[kState] > vim_scan::kCudaMaxState) {
    return "SelectiveScan: the state size is above 256, the maximum of the CUDA kernel";
  }
  for (std::int32_t i = 0; i < kInputs; ++i)
    if (!shape_matches(inputs[i], kInputSpecs[i].shape, sizes)) return kShapeErrors[i];
  if (u[2] >= 0 && u[2] % settings.groups != 0)
    return "SelectiveScan: the number of channels must be a multiple of groups";
  return nullptr;
}

const char* read_fields(const Field* fields, std::int32_t count, Settings& settings) {
  for (std::int32_t k = 0; k < kFields; ++k) settings.*field_spec(k).value = kNotGiven;
  for (std::int32_t i = 0; i < count; ++i) {
    const Field& field = fields[i];
    std::int32_t found = 0;
    while (found < kFields && (field.name == nullptr || std::strcmp(field.name, field_spec(found).name) != 0)) ++found;
    if (found == kFields) return "SelectiveScan: unknown field; its fields are " VIM_TRT_FIELDS;
    const FieldSpec spec = field_spec(found);
    if (settings.*spec.value != kNotGiven) return "SelectiveScan: a field is given twice";
    if (!field.is_int32 || field.length != 1 || field.data == nullptr) {
      return "SelectiveScan: each field must be one int32";
    }
    std::memcpy(&(settings.*spec.value), field.data, sizeof(std::int32_t));
    if (!in_range(spec, settings)) {
      return "SelectiveScan: groups must be 1 or more, and each other field 0 or 1";
    }
  }
  for (std::int32_t k = 0; k < kFields; ++k)
    if (settings.*field_spec(k).value == kNotGiven)
      return "SelectiveScan: a field is missing; its fields are " VIM_TRT_FIELDS;
  return nullptr;
}

void serialize(const Settings& settings, void* to) {
  static_assert(sizeof kMagic + kFields * sizeof(std::int32_t) == kSerializedBytes);
  std::memcpy(to, kMagic, sizeof kMagic);
  char* values = static_cast<char*>(to) + sizeof kMagic;
  for (std::int32_t k = 0; k < kFields; ++k)
    std::memcpy(values + k * sizeof(std::int32_t), &(settings.*field_spec(k).value), sizeof(std::int32_t));
}

const char* deserialize(const void* from, std::size_t bytes, Settings& settings) {
  if (from == nullptr || bytes != kSerializedBytes || std::memcmp(from, kMagic, sizeof kMagic) != 0) {
    return "SelectiveScan: the engine was built with another version of the plugin; rebuild it";
  }
  const char* values = static_cast<const char*>(from) + sizeof kMagic;
  for (std::int32_t k = 0; k < kFields; ++k) {
    const FieldSpec spec = field_spec(k);
    std::memcpy(&(settings.*spec.value), values + k * sizeof(std::int32_t), sizeof(std::int32_t));
    if (!in_range(spec, settings)) return "SelectiveScan: the plugin's data in the engine is corrupt";
  }
  return nullptr;
}

TimingCacheId::TimingCacheId(const Settings& settings) {
  std::snprintf(text, sizeof text, "vim_deploy.SelectiveScan.%s.%s.%s.%s.%d", kVersion,
                settings.delta_softplus ? "softplus" : "plain", settings.reverse ? "reverse" : "forward",
                settings.gated ? "gated" : "ungated", static_cast<int>(settings.groups));
}

std::size_t workspace_bytes(const Tensor* inputs) {
  return vim_scan::cuda_workspace_bytes(inputs[kA].dims[0], inputs[kA].dims[1]);
}

const char* enqueue(const Settings& settings, const Tensor* tensors, const void* const* inputs, void* const* outputs,
                    void* workspace, CUstream_st* stream) {
  if (const char* error = inputs_error(settings, tensors)) return error;
  vim_scan::CudaArguments scan{};
  scan.batch = tensors[kU].dims[0];
  scan.length = tensors[kU].dims[1];
  scan.channels = tensors[kU].dims[2];
  scan.state = tensors[kA].dims[1];
  scan.type = static_cast<vim_scan::Type>(tensors[kU].element);
  scan.delta_softplus = settings.delta_softplus == 1;
  scan.reverse = settings.reverse == 1;
  scan.groups = settings.groups;
  set_inputs(scan, inputs);
  if (settings.gated == 0) scan.z = nullptr;
  scan.y = outputs[0];
  scan.workspace = workspace;
  return vim_scan::launch_cuda(scan, stream);
}

}  // namespace vim_trt
