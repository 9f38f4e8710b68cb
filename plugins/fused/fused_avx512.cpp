// Sixteen lanes; compiled with -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma.
#include "lanes_avx512.h"
#include "fused_kernel.h"

namespace vim_fused {

constexpr Kernels kAvx512 = kernels_of<vim_scan::Avx512>("avx512");

}  // namespace vim_fused
