// The division of work into tasks, and the kernels of each instruction set; private to the kernels' files.
#pragma once

#include "fused.h"

namespace vim_fused {

constexpr std::int64_t kNormRows = 32;    // rows per task
constexpr std::int64_t kConvTokens = 16;  // tokens per task; with their neighbors they fit into the L1 cache

constexpr std::int64_t kMatmulRows = 32;           // maximum rows per task with a matmul
constexpr std::int64_t kMinMatmulRows = 8;         // rows per task at a depth of kMaxDepth
constexpr std::int64_t kScratchFloats = 32 * 770;  // the inputs of a task's matmul; each row may be padded by one
static_assert(kScratchFloats >= kMinMatmulRows * (kMaxDepth + 1), "");

static constexpr std::int64_t blocks(std::int64_t size, std::int64_t block) { return (size + block - 1) / block; }

// The width of the next panel if `columns` are left.
static constexpr std::int64_t panel_width(std::int64_t columns) {
  return columns < kPanel ? blocks(columns, kPanelMultiple) * kPanelMultiple : kPanel;
}

// The number of tasks of a matmul with `rows` rows. A multiple of four balances two and four threads; tasks of very few
// rows would spend their time on reading the weights.
static constexpr std::int64_t matmul_tasks(std::int64_t rows, std::int64_t depth) {
  const std::int64_t fitting = kScratchFloats / (depth + 1);
  const std::int64_t rows_per_task = fitting < kMatmulRows ? fitting : kMatmulRows;
  const std::int64_t tasks = blocks(blocks(rows, rows_per_task), 4) * 4;
  const std::int64_t limit = blocks(rows, kMinMatmulRows);
  return tasks < limit ? tasks : limit;
}

// Each may only be used if the CPU supports its instruction set.
extern const Kernels kPortable;
extern const Kernels kAvx2;
extern const Kernels kAvx2Vnni;
extern const Kernels kAvx512;
extern const Kernels kAvx512Vnni;
extern const Kernels kAvx512BFloat16;
extern const Kernels kNeon;
extern const Kernels kNeonBFloat16;

}  // namespace vim_fused
