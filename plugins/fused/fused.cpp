// Task counts, and selection of the kernels for the scan's instruction set.
#include "fused.h"

#include <cstring>

#include "fused_tasks.h"
#include "scan.h"
#include "scan_tasks.h"

namespace vim_fused {

std::int64_t task_count(const Norm& norm) { return blocks(norm.rows, kNormRows); }

std::int64_t task_count(const ConvPair& conv) { return conv.batch * blocks(conv.length, kConvTokens); }

std::int64_t task_count(const ScanPair& scan) {
  return scan.batch * vim_scan::channel_blocks(scan.channels, scan.length);
}

std::int64_t task_count(const NormProject& norm) {
  const std::int64_t before = norm.before.panels != nullptr ? norm.before.depth : 0;
  return matmul_tasks(norm.rows, before > norm.size ? before : norm.size);
}

std::int64_t task_count(const ConvProject& conv) {
  return conv.conv.batch * matmul_tasks(conv.conv.length, conv.conv.channels);
}

const Kernels& kernels() {
  const char* wanted = vim_scan::instruction_set();
#if defined(VIM_SCAN_AVX512)
  if (std::strcmp(wanted, kAvx512BFloat16.name) == 0) return kAvx512BFloat16;
  if (std::strcmp(wanted, kAvx512.name) == 0) return kAvx512;
#endif
#if defined(VIM_SCAN_AVX2)
  if (std::strcmp(wanted, kAvx2.name) == 0) return kAvx2;
#endif
#if defined(VIM_SCAN_NEON)
  if (std::strcmp(wanted, kNeonBFloat16.name) == 0) return kNeonBFloat16;
  if (std::strcmp(wanted, kNeon.name) == 0) return kNeon;
#endif
  (void)wanted;
  return kPortable;
}

}  // namespace vim_fused
