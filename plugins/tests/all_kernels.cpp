// Separate from the tests: the kernels of three widths take longer to compile than all tests.
#include "all_kernels.h"

#include <cstring>

#include "fused_kernel.h"
#include "scan.h"

namespace vim_test {
namespace {

template <int W>
struct Plain : vim_scan::Lanes<W, Plain<W>> {};

template <class M>
vim_fused::Kernels kernels_named(const char* name) {
  return vim_fused::kernels_of<M>(name);
}

}  // namespace

std::vector<vim_fused::Kernels> kernels_here() {
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

}  // namespace vim_test
