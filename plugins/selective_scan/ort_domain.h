// Handing operators to ONNX Runtime.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ort_abi.h"

namespace ort_domain {

// The runtime's table of that version; null with a status that names the version that is needed.
const ort_abi::ApiTable* table_of(const ort_abi::ApiBase* base, std::uint32_t version, ort_abi::Status** failure);

// Adds a domain with these operators to the options. The options and the sessions made from them keep a bare
// pointer to the domain and never say when they are done with it, so its few hundred bytes live as long as the
// process.
ort_abi::Status* add(const ort_abi::Api& api, ort_abi::SessionOptions* options, const char* name,
                     const ort_abi::CustomOp* const* operators, std::size_t count);

}  // namespace ort_domain
