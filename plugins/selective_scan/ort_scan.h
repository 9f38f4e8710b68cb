// What the scan's operators for ONNX Runtime share, on processors and GPUs: its inputs and its attributes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ort_abi.h"

namespace ort_scan {

constexpr char kOperator[] = "vim_deploy::SelectiveScan";
constexpr std::size_t kInputs = 8;
enum Input : std::size_t { kU, kDelta, kA, kB, kC, kD, kZ, kDeltaBias };

struct Switches {
  std::int32_t delta_softplus = 0;
  std::int32_t reverse = 0;
};

struct Inputs {
  std::int64_t batch, length, channels, state;
  const ort_abi::Value* values[kInputs];
  const void* data[kInputs];
};

ort_abi::Status* read_switches(const ort_abi::Api& api, const ort_abi::KernelInfo* info, Switches* switches);

// Every input. The sizes come from u and A; the others must agree with them, and none but the batch may be 0.
ort_abi::Status* read_inputs(const ort_abi::Api& api, const ort_abi::KernelContext* context, Inputs* inputs);

// Memory of y, (batch, length, channels).
ort_abi::Status* make_y(const ort_abi::Api& api, ort_abi::KernelContext* context, const Inputs& inputs, void** y);

// The members of a custom operator that every form of the scan has.
void describe(ort_abi::CustomOp* op);

}  // namespace ort_scan
