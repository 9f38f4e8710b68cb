// Registers operators with ONNX Runtime.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ort_abi.h"

namespace ort_domain {

// The runtime's function table of this version; null, with a status that names the required version, if it is older.
const ort_abi::ApiTable* table_of(const ort_abi::ApiBase* base, std::uint32_t version, ort_abi::Status** failure);

// Adds a domain with these operators to the session options. The options and their sessions store a raw pointer to
// the domain without any notification when they no longer need it, so it is never freed.
ort_abi::Status* add(const ort_abi::Api& api, ort_abi::SessionOptions* options, const char* name,
                     const ort_abi::CustomOp* const* operators, std::size_t count);

}  // namespace ort_domain
