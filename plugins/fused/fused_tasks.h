// How the work is cut into tasks, and the kernels to choose from; private to the kernels' own files.
#pragma once

#include "fused.h"

namespace vim_fused {

constexpr std::int64_t kNormRows = 32;    // rows of one task
constexpr std::int64_t kConvTokens = 16;  // tokens of one task; with its neighbours they stay in the nearest cache

constexpr std::int64_t kProductRows = 32;          // of a task with a product, at most
constexpr std::int64_t kProductRowsOfLargest = 8;  // with a depth of kLargestDepth
constexpr std::int64_t kScratchFloats = 32 * 770;  // a task's rows, to be multiplied; each may have one more number
static_assert(kScratchFloats >= kProductRowsOfLargest * (kLargestDepth + 1), "");

static constexpr std::int64_t blocks(std::int64_t size, std::int64_t block) { return (size + block - 1) / block; }

// How many tasks `rows` rows of a product make. A multiple of four keeps two and four threads equally busy; tasks of
// a few rows would do little between two readings of the weights.
static constexpr std::int64_t product_tasks(std::int64_t rows, std::int64_t depth) {
  const std::int64_t fitting = kScratchFloats / (depth + 1);
  const std::int64_t most = fitting < kProductRows ? fitting : kProductRows;
  const std::int64_t tasks = blocks(blocks(rows, most), 4) * 4;
  const std::int64_t useful = blocks(rows, kProductRowsOfLargest);
  return tasks < useful ? tasks : useful;
}

// Each is safe to use only where its instruction set is supported.
extern const Kernels kPortable;
extern const Kernels kAvx2;
extern const Kernels kAvx512;
extern const Kernels kAvx512Bfloat16;

}  // namespace vim_fused
