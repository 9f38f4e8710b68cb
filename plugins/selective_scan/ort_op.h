// The one function that ONNX Runtime looks for in an operator library.
#pragma once

#include "export.h"
#include "ort_abi.h"

// Adds the domains `vim_deploy` and `vim_deploy.cpu` with their operators to the options; null, or a status that says what is wrong.
extern "C" VIM_EXPORT ort_abi::Status* RegisterCustomOps(ort_abi::SessionOptions* options,
                                                         const ort_abi::ApiBase* base);
