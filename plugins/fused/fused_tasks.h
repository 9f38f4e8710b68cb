// How the work is cut into tasks, and the kernels to choose from; private to the kernels' own files.
#pragma once

#include "fused.h"

namespace vim_fused {

constexpr std::int64_t kNormRows = 32;    // rows of one task
constexpr std::int64_t kConvTokens = 16;  // tokens of one task; with its neighbours they stay in the nearest cache

static constexpr std::int64_t blocks(std::int64_t size, std::int64_t block) { return (size + block - 1) / block; }

// Each is safe to use only where its instruction set is supported.
extern const Kernels kPortable;
extern const Kernels kAvx2;
extern const Kernels kAvx512;

}  // namespace vim_fused
