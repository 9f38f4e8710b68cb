// The fused kernels that run on this CPU: of every width without special instructions, and of every instruction set.
#pragma once

#include <cstring>
#include <vector>

#include "fused_kernel.h"
#include "scan.h"

namespace vim_test {

#if defined(VIM_TEST_AVX2)
// Eight lanes with the dot product instruction in the encoding of AVX-512, for CPUs that lack the one of avx2_vnni.
extern const vim_fused::Kernels kEightLanesDot;
#endif

namespace {

template <int W>
struct Plain : vim_scan::Lanes<W, Plain<W>> {};

template <class M>
vim_fused::Kernels kernels_named(const char* name) {
  return vim_fused::kernels_of<M>(name);
}

// Packed weights as README.md specifies them, in lanes of 32 bits: panels of 48 columns, the last one of 16, 32 or 48.
struct PackedLayout {
  std::int64_t rows;  // of a panel
  std::int64_t columns;

  std::size_t size() const { return static_cast<std::size_t>(rows * ((columns + 15) / 16 * 16)); }
  std::size_t at(std::int64_t row, std::int64_t column) const {
    const std::int64_t first = column / 48 * 48, left = columns - first;
    const std::int64_t width = left > 32 ? 48 : left > 16 ? 32 : 16;
    return static_cast<std::size_t>(first * rows + row * width + column % 48);
  }
};

inline std::vector<vim_fused::Kernels> kernels_here() {
  std::vector<vim_fused::Kernels> kernels = {kernels_named<Plain<4>>("4 lanes"), kernels_named<Plain<8>>("8 lanes"),
                                             kernels_named<Plain<16>>("16 lanes"), vim_fused::kPortable};
  [[maybe_unused]] const char* usable = vim_scan::usable_instruction_sets();
#if defined(VIM_SCAN_AVX2)
  if (std::strstr(usable, "avx2") != nullptr) kernels.push_back(vim_fused::kAvx2);
#if defined(VIM_SCAN_AVX_VNNI)
  if (std::strstr(usable, "avx2_vnni") != nullptr) kernels.push_back(vim_fused::kAvx2Vnni);
#endif
  if (std::strstr(usable, "avx512") != nullptr) kernels.push_back(vim_fused::kAvx512);
  if (std::strstr(usable, "avx512_vnni") != nullptr) kernels.push_back(vim_fused::kAvx512Vnni);
#if defined(VIM_TEST_AVX2)
  if (std::strstr(usable, "avx512_vnni") != nullptr) kernels.push_back(kEightLanesDot);
#endif
  if (std::strstr(usable, "avx512_bf16") != nullptr) kernels.push_back(vim_fused::kAvx512BFloat16);
#endif
#if defined(VIM_SCAN_NEON)
  kernels.push_back(vim_fused::kNeon);
  if (std::strstr(usable, "neon_bf16") != nullptr) kernels.push_back(vim_fused::kNeonBFloat16);
#endif
  return kernels;
}

}  // namespace
}  // namespace vim_test
