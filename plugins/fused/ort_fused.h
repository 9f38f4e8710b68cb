// The domain `vim_deploy.fused` for ONNX Runtime.
#pragma once

#include <cstddef>

#include "ort_abi.h"

namespace vim_fused {

// The operators of the domain, with static lifetime.
const ort_abi::CustomOp* const* operators(std::size_t* count);

}  // namespace vim_fused
