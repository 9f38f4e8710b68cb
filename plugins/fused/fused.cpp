// Counts tasks and chooses the kernels of the scan's instruction set.
#include "fused.h"

#include <cstring>

#include "fused_tasks.h"
#include "scan.h"
#include "scan_tasks.h"

namespace vim_fused {

std::int64_t task_count(const Norm& norm) { return blocks(norm.rows, kNormRows); }

std::int64_t task_count(const ConvPair& conv) { return conv.batch * blocks(conv.length, kConvTokens); }

std::int64_t task_count(const ScanPair& scan) { return scan.batch * vim_scan::channel_blocks(scan.channels); }

const Kernels& kernels() {
  const char* wanted = vim_scan::instruction_set();
#if defined(VIM_SCAN_AVX512)
  if (std::strcmp(wanted, kAvx512.name) == 0) return kAvx512;
#endif
#if defined(VIM_SCAN_AVX2)
  if (std::strcmp(wanted, kAvx2.name) == 0) return kAvx2;
#endif
  (void)wanted;
  return kPortable;
}

}  // namespace vim_fused
