#include "ort_scan.h"

#include "ort_tensor.h"

namespace ort_scan {

using namespace ort_abi;
using namespace ort_tensor;
using namespace vim_contract;

namespace {

ort_tensor::Shape shape_of(const vim_contract::Shape& shape, const std::int64_t* sizes) {
  ort_tensor::Shape result = {shape.rank, {}};
  for (std::size_t i = 0; i < shape.rank; ++i) result.size[i] = sizes[shape.sizes[i]];
  return result;
}

ort_tensor::InputSpec spec_of(std::size_t index) {
  return {kInputSpecs[index].name, kInputSpecs[index].shape.rank, kInputSpecs[index].shape_text};
}

}  // namespace

Status* read_flags(const Api& api, const KernelInfo* info, Flags* flags) {
  for (const AttributeSpec& spec : kAttributeSpecs)
    if (Status* failure = read_integer(api, kOperator, info, {spec.name, spec.least, spec.most, spec.expected},
                                       &(flags->*spec.value)))
      return failure;
  return nullptr;
}

Status* read_inputs(const Api& api, const KernelContext* context, const Flags& flags, Inputs* inputs) {
  ort_tensor::Shape shapes[kInputs];
  for (std::size_t i = 0; i < kInputs; ++i) {
    const Value* given = nullptr;
    if (i == kOptionalInput)
      if (Status* failure = api.KernelContext_GetInput(context, i, &given)) return failure;
    if (i == kOptionalInput && given == nullptr) {
      inputs->values[i] = nullptr, inputs->data[i] = nullptr;
      continue;
    }
    if (Status* failure =
            read_value(api, kOperator, context, i, spec_of(i), &inputs->values[i], &inputs->data[i], &shapes[i]))
      return failure;
  }
  std::int64_t(&sizes)[kSizes] = inputs->sizes;
  sizes[kBatch] = shapes[kU].size[0];
  sizes[kLength] = shapes[kU].size[1];
  sizes[kChannels] = shapes[kU].size[2];
  sizes[kState] = shapes[kA].size[1];
  sizes[kProjected] = flags.groups * sizes[kState];
  inputs->groups = flags.groups;
  for (std::size_t i = 0; i < kInputs; ++i) {
    if (inputs->values[i] == nullptr) continue;
    const ort_tensor::Shape expected = shape_of(kInputSpecs[i].shape, sizes);
    if (Status* failure = expect_shape(api, kOperator, spec_of(i), shapes[i], expected, "u and A")) return failure;
  }
  if (sizes[kLength] == 0 || sizes[kChannels] == 0 || sizes[kState] == 0)
    return refuse(api, kOperator, "length %lld, channels %lld, state %lld: each must be at least 1",
                  static_cast<long long>(sizes[kLength]), static_cast<long long>(sizes[kChannels]),
                  static_cast<long long>(sizes[kState]));
  if (sizes[kChannels] % flags.groups != 0)
    return refuse(api, kOperator, "%lld channels cannot be divided into %d groups",
                  static_cast<long long>(sizes[kChannels]), static_cast<int>(flags.groups));
  return nullptr;
}

Status* make_y(const Api& api, KernelContext* context, const Inputs& inputs, void** y) {
  return make_value(api, context, 0, shape_of(kSequence, inputs.sizes), y);
}

void describe(CustomOp* op) {
  op->GetName = [](const CustomOp*) { return kName; };
  op->GetInputTypeCount = [](const CustomOp*) -> std::size_t { return kInputs; };
  op->GetInputCharacteristic = [](const CustomOp*, std::size_t index) {
    return index == kOptionalInput ? kOptional : kRequired;
  };
  op->GetOutputTypeCount = [](const CustomOp*) -> std::size_t { return 1; };
  op->GetStartVersion = [](const CustomOp*) -> int { return kVersion; };
}

}  // namespace ort_scan
