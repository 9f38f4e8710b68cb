// The one function that ONNX Runtime looks for in an operator library.
#pragma once

#include "export.h"
#include "ort_abi.h"

// Adds the domain `vim_deploy` with its operator to the options; null, or a status that says what is wrong.
extern "C" VIM_EXPORT ort_abi::Status* RegisterCustomOps(ort_abi::SessionOptions* options,
                                                         const ort_abi::ApiBase* base);
