// The entry point that ONNX Runtime calls in a custom operator library.
#pragma once

#include "export.h"
#include "ort_abi.h"

// Adds this library's domains to the options: `vim_deploy`, and in the CPU library `vim_deploy.fused`. Returns null or
// an error.
extern "C" VIM_EXPORT ort_abi::Status* RegisterCustomOps(ort_abi::SessionOptions* options,
                                                         const ort_abi::ApiBase* base);
