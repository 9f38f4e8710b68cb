// Task counts, and selection of the kernels for the scan's instruction set.
#include "fused.h"

#include <cstring>

#include "fused_tasks.h"
#include "scan.h"
#include "scan_tasks.h"

namespace vim_fused {

std::int64_t packed_size(WeightType type, std::int64_t depth, std::int64_t columns) {
  const std::int64_t width = blocks(columns, kPanelMultiple) * kPanelMultiple;
  switch (type) {
    case WeightType::kInt8: return width * (kInt8Rows + blocks(depth, kInt8Depth)) * kInt8Depth;
    case WeightType::kBFloat16: return width * blocks(depth, 2) * 2;
    default: return width * depth;
  }
}

std::int64_t task_count(const Norm& norm) { return blocks(norm.rows, kNormRows); }

std::int64_t task_count(const ConvPair& conv) { return conv.batch * blocks(conv.length, kConvTokens); }

std::int64_t task_count(const ScanPair& scan) {
  return scan.batch * vim_scan::channel_blocks(scan.channels, scan.length);
}

std::int64_t task_count(const Project& project) { return matmul_tasks(project.rows, project.weights.depth); }

std::int64_t task_count(const NormProject& norm) {
  const std::int64_t before = norm.before.panels != nullptr ? norm.before.depth : 0;
  return matmul_tasks(norm.rows, before > norm.size ? before : norm.size);
}

std::int64_t task_count(const ConvProject& conv) {
  return conv.conv.batch * matmul_tasks(conv.conv.length, conv.conv.channels);
}

const Kernels& kernels() {
  static const Kernels* const all[] = {
#if defined(VIM_SCAN_AVX512)
      &kAvx512BFloat16, &kAvx512Vnni, &kAvx512,
#endif
#if defined(VIM_SCAN_AVX_VNNI)
      &kAvx2Vnni,
#endif
#if defined(VIM_SCAN_AVX2)
      &kAvx2,
#endif
#if defined(VIM_SCAN_NEON)
      &kNeonBFloat16, &kNeon,
#endif
      &kPortable,
  };
  const char* wanted = vim_scan::instruction_set();
  for (const Kernels* candidate : all)
    if (std::strcmp(wanted, candidate->name) == 0) return *candidate;
  return kPortable;
}

}  // namespace vim_fused
