// Shared by the scan's operators for ONNX Runtime, on CPUs and GPUs: its inputs and attributes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "contract.h"
#include "ort_abi.h"

namespace ort_scan {

constexpr char kOperator[] = "vim_deploy::SelectiveScan";

struct Inputs {
  std::int64_t sizes[vim_contract::kSizes];
  std::int32_t groups;
  const ort_abi::Value* values[vim_contract::kInputs];
  const void* data[vim_contract::kInputs];  // null for an optional input that was left out

  // Sets sizes and input pointers of the kernel's arguments.
  template <class Arguments>
  void set(Arguments& arguments) const {
    arguments.batch = sizes[vim_contract::kBatch];
    arguments.length = sizes[vim_contract::kLength];
    arguments.channels = sizes[vim_contract::kChannels];
    arguments.state = sizes[vim_contract::kState];
    arguments.groups = groups;
    vim_contract::set_inputs(arguments, data);
  }
};

ort_abi::Status* read_flags(const ort_abi::Api& api, const ort_abi::KernelInfo* info, vim_contract::Flags* flags);

// Reads all inputs. The sizes come from u and A; the other inputs must match them, and only the batch may be 0.
ort_abi::Status* read_inputs(const ort_abi::Api& api, const ort_abi::KernelContext* context,
                             const vim_contract::Flags& flags, Inputs* inputs);

// Allocates y, (batch, length, channels).
ort_abi::Status* make_y(const ort_abi::Api& api, ort_abi::KernelContext* context, const Inputs& inputs, void** y);

// Sets the members of a custom operator that are the same for every version of the scan.
void describe(ort_abi::CustomOp* op);

}  // namespace ort_scan
