// Eight lanes; compiled with -mavx2 -mfma.
#include "lanes_avx2.h"
#include "fused_kernel.h"

namespace vim_fused {

constexpr Kernels kAvx2 = kernels_of<vim_scan::Avx2>("avx2");

}  // namespace vim_fused
