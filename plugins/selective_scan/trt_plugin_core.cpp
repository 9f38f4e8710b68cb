#include "trt_plugin_core.h"

#include <cstdarg>
#include <cstdio>
#include <cstring>

namespace vim_trt {
namespace {

using vim_contract::InputType;
using vim_gpu::Sizes;

// The serialized fields: the operator's name, shortened, and its version; the values; a checksum of them, because not
// every wrong value is outside of its range.
constexpr std::size_t kMagicBytes = 8;
struct Serialized {
  char magic[kMagicBytes];
  std::int32_t values[kMaxFields];
  std::uint32_t checksum;
};
static_assert(sizeof(Serialized) == kSerializedBytes);

constexpr std::int32_t kNotGiven = -1;  // below the range of every field

void write_magic(const Operator& op, char (&to)[kMagicBytes]) {
  std::memset(to, 0, sizeof to);
  const std::size_t length = std::strlen(op.name);
  // The last letters differ between the operators.
  for (std::size_t i = 0; i + 1 < kMagicBytes && i < length; ++i) to[i] = op.name[length - 1 - i];
  to[kMagicBytes - 1] = op.version[0];
}

std::uint32_t checksum_of(const std::int32_t (&values)[kMaxFields]) {  // FNV-1a
  std::uint32_t sum = 2166136261u;
  unsigned char bytes[sizeof values];
  std::memcpy(bytes, values, sizeof values);
  for (const unsigned char byte : bytes) sum = (sum ^ byte) * 16777619u;
  return sum;
}

[[gnu::format(printf, 1, 2)]] const char* message(const char* format, ...) {
  thread_local char text[256];
  std::va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return text;
}

bool in_range(const AttributeSpec& spec, std::int32_t value) { return value >= spec.least && value <= spec.most; }

std::int32_t& field_of(const Operator& op, std::int32_t index, Settings& settings) {
  return const_cast<std::int32_t&>(*field_value(op, index, settings));
}

const char* field_list(const Operator& op) {
  thread_local char text[96];
  const std::int32_t count = field_count(op);
  std::size_t used = 0;
  for (std::int32_t i = 0; i < count && used < sizeof text; ++i)
    used += static_cast<std::size_t>(std::snprintf(text + used, sizeof text - used, "%s%s",
                                                   i == 0 ? "" : i + 1 < count ? ", " : " and ",
                                                   field_spec(op, i).name));
  return count == 0 ? "none" : text;
}

std::int32_t sizes_of(const Operator& op, const Settings& settings, const Tensor* inputs, Sizes& sizes) {
  std::int64_t shapes[vim_gpu::kMaxInputs][vim_contract::kMaxRank];
  for (std::int32_t i = 0; i < op.input_count; ++i) std::memcpy(shapes[i], inputs[i].dims, sizeof shapes[i]);
  return vim_gpu::read_sizes(op, settings, shapes, sizes);
}

}  // namespace

std::int32_t field_count(const Operator& op) {
  return op.attribute_count + (op.optional_input == vim_gpu::kNone ? 0 : 1);
}

AttributeSpec field_spec(const Operator& op, std::int32_t index) {
  return index < op.attribute_count ? op.attributes[index] : AttributeSpec{"gated", 0, 1, "0 or 1"};
}

const std::int32_t* field_value(const Operator& op, std::int32_t index, const Settings& settings) {
  return index < op.attribute_count ? &settings.value[index] : &settings.gated;
}

bool accepts(const Operator& op, std::int32_t position, const Tensor& tensor, const Tensor& first) {
  if (position < 0 || position >= op.input_count + op.output_count || !tensor.linear) return false;
  if (position < op.input_count && op.inputs[position].type == InputType::kFloat32)
    return tensor.element == Element::kFloat32;
  return tensor.element != Element::kOther && tensor.element == first.element;
}

const char* inputs_error(const Operator& op, const Settings& settings, const Tensor* inputs) {
  for (std::int32_t i = 0; i < op.input_count; ++i) {
    const vim_gpu::TensorSpec& spec = op.inputs[i];
    if (inputs[i].rank != static_cast<std::int32_t>(spec.shape.rank))
      return message("%s: %s must be %s", op.name, spec.name, spec.shape_text);
    if (!accepts(op, i, inputs[i], inputs[0]))
      return spec.type == InputType::kFloat32
                 ? message("%s: %s must be float32, in linear format", op.name, spec.name)
                 : message("%s: %s must be float32, float16 or bfloat16 like %s, in linear format", op.name, spec.name,
                           op.inputs[0].name);
  }
  Sizes sizes{};
  const std::int32_t wrong = sizes_of(op, settings, inputs, sizes);
  if (wrong >= 0)
    return message("%s: %s must be %s, with the sizes of the other inputs", op.name, op.inputs[wrong].name,
                   op.inputs[wrong].shape_text);
  // A batch of 0 may occur; TensorRT also passes other sizes of 0 while it does not know them.
  for (std::int64_t& size : sizes.size)
    if (size == 0) size = -1;
  return op.sizes_error(sizes, settings);
}

const char* count_error(const Operator& op, std::int32_t inputs, std::int32_t outputs) {
  if (inputs == op.input_count && outputs == op.output_count) return nullptr;
  return message("%s: %d inputs and %d outputs, expected %d and %d", op.name, inputs, outputs, op.input_count,
                 op.output_count);
}

const char* read_fields(const Operator& op, const Field* fields, std::int32_t count, Settings& settings) {
  const std::int32_t known = field_count(op);
  settings = {};
  for (std::int32_t k = 0; k < known; ++k) field_of(op, k, settings) = kNotGiven;
  for (std::int32_t i = 0; i < count; ++i) {
    const Field& field = fields[i];
    std::int32_t found = 0;
    while (found < known && (field.name == nullptr || std::strcmp(field.name, field_spec(op, found).name) != 0)) ++found;
    if (found == known) return message("%s: unknown field; its fields are %s", op.name, field_list(op));
    const AttributeSpec spec = field_spec(op, found);
    std::int32_t& value = field_of(op, found, settings);
    if (value != kNotGiven) return message("%s: field %s is given twice", op.name, spec.name);
    if (!field.is_int32 || field.length != 1 || field.data == nullptr)
      return message("%s: field %s must be one int32", op.name, spec.name);
    std::memcpy(&value, field.data, sizeof value);
    if (!in_range(spec, value)) return message("%s: field %s must be %s", op.name, spec.name, spec.expected);
  }
  for (std::int32_t k = 0; k < known; ++k)
    if (field_of(op, k, settings) == kNotGiven)
      return message("%s: field %s is missing; its fields are %s", op.name, field_spec(op, k).name, field_list(op));
  return nullptr;
}

void serialize(const Operator& op, const Settings& settings, void* to) {
  Serialized data{};
  write_magic(op, data.magic);
  for (std::int32_t k = 0; k < field_count(op); ++k) data.values[k] = *field_value(op, k, settings);
  data.checksum = checksum_of(data.values);
  std::memcpy(to, &data, sizeof data);
}

const char* deserialize(const Operator& op, const void* from, std::size_t bytes, Settings& settings) {
  char magic[kMagicBytes];
  write_magic(op, magic);
  if (from == nullptr || bytes != kSerializedBytes || std::memcmp(from, magic, sizeof magic) != 0)
    return message("%s: the engine was built with another version of the plugin; rebuild it", op.name);
  Serialized data;
  std::memcpy(&data, from, sizeof data);
  bool valid = data.checksum == checksum_of(data.values);
  settings = {};
  for (std::int32_t k = 0; k < field_count(op); ++k) {
    valid = valid && in_range(field_spec(op, k), data.values[k]);
    field_of(op, k, settings) = data.values[k];
  }
  return valid ? nullptr : message("%s: the plugin's data in the engine is corrupt", op.name);
}

TimingCacheId::TimingCacheId(const Operator& op, const Settings& settings) {
  std::snprintf(text, sizeof text, "%s.%s.%s.%d.%d.%d.%d", op.domain, op.name, op.version, settings.value[0],
                settings.value[1], settings.value[2], settings.gated);
}

std::size_t workspace_bytes(const Operator& op, const Settings& settings, const Tensor* inputs) {
  Sizes sizes{};
  return sizes_of(op, settings, inputs, sizes) < 0 ? op.workspace(sizes) : 0;
}

const char* enqueue(const Operator& op, const Settings& settings, const Tensor* tensors, const void* const* inputs,
                    void* const* outputs, void* workspace, CUstream_st* stream) {
  if (const char* error = inputs_error(op, settings, tensors)) return error;
  const void* given[vim_gpu::kMaxInputs];
  for (std::int32_t i = 0; i < op.input_count; ++i)
    given[i] = i == op.optional_input && settings.gated == 0 ? nullptr : inputs[i];
  vim_gpu::Call call{};
  call.attributes = settings;
  sizes_of(op, settings, tensors, call.sizes);
  call.type = static_cast<vim_scan::Type>(tensors[0].element);
  call.inputs = given;
  call.outputs = outputs;
  call.workspace = workspace;
  return op.launch(call, stream);
}

}  // namespace vim_trt
