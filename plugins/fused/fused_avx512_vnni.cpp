// Sixteen lanes with the dot product instruction for bytes; compiled like fused_avx512.cpp, and with -mavx512vnni.
#include "lanes_avx512.h"
#include "fused_kernel.h"
#include "dot_avx512.h"

namespace vim_fused {

constexpr Kernels kAvx512Vnni =
    kernels_of<vim_scan::Avx512, BFloat16<vim_scan::Avx512>, Int8Dot<DotAvx512>>("avx512_vnni");

}  // namespace vim_fused
