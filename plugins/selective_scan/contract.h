// The operator's names and version, as in README.md.
#pragma once

#include <cstdint>

namespace vim_contract {

constexpr char kDomain[] = "vim_deploy";
constexpr char kName[] = "SelectiveScan";
constexpr std::int32_t kVersion = 1;

}  // namespace vim_contract
