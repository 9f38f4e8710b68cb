#include "ort_tensor.h"

#include <cstdarg>
#include <cstdio>
#include <limits>

namespace ort_tensor {

using namespace ort_abi;

ShapeText::ShapeText(const Shape& shape) {
  int used = std::snprintf(text, sizeof text, "(");
  for (std::size_t i = 0; i < shape.rank; ++i)
    used += std::snprintf(text + used, sizeof text - used, "%s%lld", i == 0 ? "" : ", ",
                          static_cast<long long>(shape.size[i]));
  std::snprintf(text + used, sizeof text - used, ")");
}

Status* refuse(const Api& api, const char* name, const char* format, ...) {
  char message[400];
  int used = std::snprintf(message, sizeof message, "%s: ", name);
  std::va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(message + used, sizeof message - used, format, arguments);
  va_end(arguments);
  return api.CreateStatus(kInvalidArgument, message);
}

Status* read_integer(const Api& api, const char* name, const KernelInfo* info, const IntegerSpec& spec,
                     std::int32_t* value) {
  std::int64_t read = 0;
  if (Status* missing = api.KernelInfoGetAttribute_int64(info, spec.name, &read)) {
    api.ReleaseStatus(missing);
    return refuse(api, name, "attribute %s is missing; set it on the node, to the integer %s", spec.name,
                  spec.expected);
  }
  if (read < spec.least || read > spec.most)
    return refuse(api, name, "attribute %s is %lld, expected %s", spec.name, static_cast<long long>(read),
                  spec.expected);
  *value = static_cast<std::int32_t>(read);
  return nullptr;
}

Status* read_flag(const Api& api, const char* name, const KernelInfo* info, const char* attribute,
                  std::int32_t* value) {
  return read_integer(api, name, info, {attribute, 0, 1, "0 or 1"}, value);
}

Status* read_value(const Api& api, const char* name, const KernelContext* context, std::size_t index,
                   const InputSpec& spec, const Value** found, const void** data, Shape* shape) {
  if (Status* failure = api.KernelContext_GetInput(context, index, found)) return failure;
  const Value* value = *found;
  if (value == nullptr) return refuse(api, name, "input %s is missing; it is required", spec.name);
  TensorShape* info = nullptr;
  if (Status* failure = api.GetTensorTypeAndShape(value, &info)) return failure;
  Status* failure = api.GetDimensionsCount(info, &shape->rank);
  const bool rank_matches = failure == nullptr && shape->rank == spec.rank;
  if (rank_matches) failure = api.GetDimensions(info, shape->size, shape->rank);
  api.ReleaseTensorTypeAndShapeInfo(info);
  if (failure != nullptr) return failure;
  if (!rank_matches)
    return refuse(api, name, "input %s has rank %zu, expected %zu, %s", spec.name, shape->rank, spec.rank,
                  spec.shape_text);
  void* raw = nullptr;
  if (Status* failed = api.GetTensorMutableData(const_cast<Value*>(value), &raw)) return failed;
  *data = raw;
  return nullptr;
}

Status* read_input(const Api& api, const char* name, const KernelContext* context, std::size_t index,
                   const InputSpec& spec, const float** data, Shape* shape) {
  const Value* value = nullptr;
  const void* raw = nullptr;
  if (Status* failure = read_value(api, name, context, index, spec, &value, &raw, shape)) return failure;
  *data = static_cast<const float*>(raw);
  return nullptr;
}

Status* expect_shape(const Api& api, const char* name, const InputSpec& spec, const Shape& shape,
                     const Shape& expected, const char* from) {
  for (std::size_t i = 0; i < expected.rank; ++i)
    if (shape.size[i] != expected.size[i])
      return refuse(api, name, "input %s has shape %s, expected %s = %s from the shapes of %s", spec.name,
                    ShapeText(shape).text, spec.shape_text, ShapeText(expected).text, from);
  return nullptr;
}

Status* make_value(const Api& api, KernelContext* context, std::size_t index, const Shape& shape, void** data) {
  Value* value = nullptr;
  if (Status* failure = api.KernelContext_GetOutput(context, index, shape.size, shape.rank, &value)) return failure;
  return api.GetTensorMutableData(value, data);
}

Status* make_output(const Api& api, KernelContext* context, std::size_t index, const Shape& shape, float** data) {
  void* raw = nullptr;
  if (Status* failure = make_value(api, context, index, shape, &raw)) return failure;
  *data = static_cast<float*>(raw);
  return nullptr;
}

CustomOp float_operator() {
  CustomOp op = {};
  op.version = kApiVersion;
  op.GetExecutionProviderType = [](const CustomOp*) -> const char* { return "CPUExecutionProvider"; };
  op.GetInputType = [](const CustomOp*, std::size_t) { return kFloat; };
  op.GetOutputType = [](const CustomOp*, std::size_t) { return kFloat; };
  op.GetInputCharacteristic = [](const CustomOp*, std::size_t) { return kRequired; };
  op.GetOutputCharacteristic = [](const CustomOp*, std::size_t) { return kRequired; };
  op.GetInputMemoryType = [](const CustomOp*, std::size_t) { return 0; };  // the execution provider's memory
  // No InferOutputShapeFn: with one, versions 1.17 to 1.23 infer wrong shapes or crash.
  op.GetEndVersion = [](const CustomOp*) { return std::numeric_limits<int>::max(); };
  return op;
}

}  // namespace ort_tensor
