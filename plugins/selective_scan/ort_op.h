// The one function that ONNX Runtime looks for in an operator library.
#pragma once

#include "export.h"
#include "ort_abi.h"

// Adds this library's domains with their operators to the options: `vim_deploy`, and in the processor's library
// `vim_deploy.cpu`. Null, or a status that says what is wrong.
extern "C" VIM_EXPORT ort_abi::Status* RegisterCustomOps(ort_abi::SessionOptions* options,
                                                         const ort_abi::ApiBase* base);
