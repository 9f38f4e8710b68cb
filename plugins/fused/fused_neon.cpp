// Four lanes with the instructions of all 64-bit Arm CPUs.
#include "lanes_neon.h"
#include "fused_kernel.h"

namespace vim_fused {

constexpr Kernels kNeon = kernels_of<vim_scan::Neon>("neon");

}  // namespace vim_fused
