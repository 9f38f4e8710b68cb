// Eight lanes with the dot product instruction for bytes; compiled like fused_avx2.cpp, and with -mavxvnni.
#include "lanes_avx2.h"
#include "fused_kernel.h"
#include "dot_avx2.h"

namespace vim_fused {

constexpr Kernels kAvx2Vnni = kernels_of<vim_scan::Avx2, BFloat16<vim_scan::Avx2>, Int8Dot<DotAvx2>>("avx2_vnni");

}  // namespace vim_fused
