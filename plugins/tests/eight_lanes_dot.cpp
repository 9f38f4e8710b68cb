// Compiled with -mavx2 -mfma -mavx512vnni -mavx512vl; see all_kernels.h.
#include "lanes_avx2.h"
#include "fused_kernel.h"
#include "dot_avx2.h"

namespace vim_test {

extern const vim_fused::Kernels kEightLanesDot;
const vim_fused::Kernels kEightLanesDot =
    vim_fused::kernels_of<vim_scan::Avx2, vim_fused::BFloat16<vim_scan::Avx2>, vim_fused::Int8Dot<vim_fused::DotAvx2>>(
        "8 lanes with dot product");

}  // namespace vim_test
