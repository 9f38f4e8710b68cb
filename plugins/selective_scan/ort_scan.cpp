#include "ort_scan.h"

#include "contract.h"
#include "ort_tensor.h"

namespace ort_scan {

using namespace ort_abi;
using namespace ort_tensor;

namespace {

constexpr InputSpec kSpecs[kInputs] = {
    {"u", 3, "(batch, length, channels)"},     {"delta", 3, "(batch, length, channels)"},
    {"A", 2, "(channels, state)"},             {"B", 3, "(batch, length, state)"},
    {"C", 3, "(batch, length, state)"},        {"D", 1, "(channels)"},
    {"z", 3, "(batch, length, channels)"},     {"delta_bias", 1, "(channels)"},
};

Status* check_shapes(const Api& api, const Shape (&shapes)[kInputs], const Inputs& sizes) {
  const Shape sequence = {3, {sizes.batch, sizes.length, sizes.channels}};
  const Shape projection = {3, {sizes.batch, sizes.length, sizes.state}};
  const Shape per_channel = {1, {sizes.channels}};
  const Shape expected[kInputs] = {sequence,   sequence,    {2, {sizes.channels, sizes.state}},
                                   projection, projection,  per_channel,
                                   sequence,   per_channel};
  for (std::size_t i = 0; i < kInputs; ++i) {
    Status* failure = expect_shape(api, kOperator, kSpecs[i], shapes[i], expected[i], "u and A");
    if (failure != nullptr) return failure;
  }
  if (sizes.length == 0 || sizes.channels == 0 || sizes.state == 0)
    return refuse(api, kOperator, "length %lld, channels %lld, state %lld: each must be at least 1",
                  static_cast<long long>(sizes.length), static_cast<long long>(sizes.channels),
                  static_cast<long long>(sizes.state));
  return nullptr;
}

}  // namespace

Status* read_switches(const Api& api, const KernelInfo* info, Switches* switches) {
  if (Status* failure = read_switch(api, kOperator, info, "delta_softplus", &switches->delta_softplus)) return failure;
  return read_switch(api, kOperator, info, "reverse", &switches->reverse);
}

Status* read_inputs(const Api& api, const KernelContext* context, Inputs* inputs) {
  Shape shapes[kInputs];
  for (std::size_t i = 0; i < kInputs; ++i)
    if (Status* failure =
            read_value(api, kOperator, context, i, kSpecs[i], &inputs->values[i], &inputs->data[i], &shapes[i]))
      return failure;
  inputs->batch = shapes[kU].size[0];
  inputs->length = shapes[kU].size[1];
  inputs->channels = shapes[kU].size[2];
  inputs->state = shapes[kA].size[1];
  return check_shapes(api, shapes, *inputs);
}

Status* make_y(const Api& api, KernelContext* context, const Inputs& inputs, void** y) {
  return make_value(api, context, 0, {3, {inputs.batch, inputs.length, inputs.channels}}, y);
}

void describe(CustomOp* op) {
  op->GetName = [](const CustomOp*) { return vim_contract::kName; };
  op->GetInputTypeCount = [](const CustomOp*) { return kInputs; };
  op->GetOutputTypeCount = [](const CustomOp*) -> std::size_t { return 1; };
  op->GetStartVersion = [](const CustomOp*) -> int { return vim_contract::kVersion; };
}

}  // namespace ort_scan
